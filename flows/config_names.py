"""Ready-made configs: the project's `configs` folder, or the copy inside an installed package."""

from pathlib import Path

from semisup.errors import UserError


def find_config(name_or_path: str) -> Path:
    """The file that a command line means: a path, or the name of a ready-made config.

    Raises:
        UserError: neither exists.
    """
    path = Path(name_or_path)
    if path.is_file() or path.suffix in {".yaml", ".yml"}:
        return path  # a missing file is reported by whoever reads it
    ready_made = config_folder() / f"{name_or_path}.yaml"
    if ready_made.exists():
        return ready_made
    if path.exists():
        return path  # a folder; likewise
    names = ", ".join(name for name, _ in list_configs())
    raise UserError(f"config {name_or_path!r} is neither a file nor a ready-made config; there are {names}")


def list_configs() -> list[tuple[str, str]]:
    """(name, first comment line) of every ready-made config."""
    return [
        (path.stem, path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip())
        for path in sorted(config_folder().glob("*.yaml"))
    ]


def config_folder() -> Path:
    """Where the ready-made configs are."""
    package = Path(__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"
