"""`python -m semisup`: the command that was installed with this package, which it does not import itself."""

from importlib.metadata import distribution

if __name__ == "__main__":
    (command,) = distribution("semisup").entry_points.select(group="console_scripts", name="semisup")
    command.load()()
