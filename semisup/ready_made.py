"""Ready-made configs: the project's `configs` folder, or the copy inside an installed package."""

import shlex
from pathlib import Path

from semisup.errors import UserError, did_you_mean

PACKED = frozenset({".tar", ".parquet", ".pq", ".npz"})
"""Files that hold images, and so are no configs."""


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
    if path.is_dir():
        raise UserError(_way_from_folder(path))
    if path.exists():
        return path  # whoever reads it says what it is
    names = [name for name, _ in list_configs()]
    hint = did_you_mean(name_or_path, names, f"there are {', '.join(names)}")
    raise UserError(f"config {name_or_path!r} is neither a file nor a ready-made config; {hint}")


def place_of_images(name_or_path: str) -> Path | None:
    """The folder or packed file that a command line means by itself: no ready-made config has its name, and none lies
    in it.
    """
    path = Path(name_or_path)
    if path.is_file() and path.suffix.lower() in PACKED:
        return path
    if (config_folder() / f"{name_or_path}.yaml").exists() or not path.is_dir() or any(path.glob("*.y*ml")):
        return None
    return path


def _way_from_folder(folder: Path) -> str:
    """What to type where a config was wanted: the config that lies in the folder, or the way to one."""
    configs = sorted(str(path) for path in folder.glob("*.y*ml"))
    if configs:
        return f"config {str(folder)!r} is a folder; name a config in it, such as {configs[0]}"
    name, there = folder.resolve().name or "images", shlex.quote(str(folder))
    config = shlex.quote(f"{name}.yaml")
    return (
        f"config {str(folder)!r} is a folder; if it holds your images, type: semisup init {there} --out {config}, and "
        f"then: semisup run {config}"
    )


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
