"""Ready-made configs: the project's `configs` folder, or the copy inside an installed package."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from semisup.errors import UserError, did_you_mean

SUFFIXES = (".yaml", ".yml")
KEYS = frozenset({"name", "seed", "recipe", "data", "split", "model", "baseline", "pseudo_label", "joint", "task"})
"""Some of which a config has, and hardly another YAML file."""
PACKED = frozenset({".tar", ".parquet", ".pq", ".npz"})
"""Files that hold images, and so are no configs."""


def find_config(name_or_path: str, say: Callable[[str], None] = lambda line: None) -> Path:
    """The file that a command line means: a path, the name of a ready-made config, or a folder of images, or a file
    that holds some, with a config beside it (:func:`config_beside`).

    Where a name could mean two things, `say` is told which it is taken for.

    Raises:
        UserError: there is none; or the config beside a folder is for other images.
    """
    if not name_or_path.strip():
        raise UserError(f"config {name_or_path!r} is no name; name a YAML file, or a ready-made config")
    path, ready_made = Path(name_or_path), config_folder() / f"{name_or_path}.yaml"
    if path.suffix in SUFFIXES:
        return path  # a missing file is reported by whoever reads it
    if not path.is_file() and ready_made.exists():
        if own := next(filter(Path.exists, (config_beside(path), path)), None):
            say(f"{name_or_path} is taken for the ready-made config; {_by_path(own)} is something else, and left alone")
        return ready_made
    if (place := place_of_images(name_or_path)) is not None:
        beside = config_beside(place)
        if not beside.exists():
            raise UserError(_way_from_images(place))
        if _is_for(beside, place):
            say(f"{name_or_path} is taken for {beside}, the config for these images")
        return beside
    if path.is_dir():
        such = next((f", such as {config}" for config in sorted(path.glob("*.y*ml")) if _values(config)), "")
        raise UserError(f"config {str(path)!r} is a folder; name a config in it{such}")
    if path.exists():
        return path  # whoever reads it says what it is
    names = [name for name, _ in list_configs()]
    here = {config.stem: config.name for suffix in SUFFIXES for config in sorted(Path().glob(f"*{suffix}"))}
    hint = did_you_mean(name_or_path, {name: name for name in names} | here, f"there are {', '.join(names)}")
    raise UserError(f"config {name_or_path!r} is neither a file nor a ready-made config; {hint}")


def is_config(name_or_path: str) -> bool:
    """Does :func:`find_config` know a config by that name?"""
    if Path(name_or_path).suffix in SUFFIXES or (config_folder() / f"{name_or_path}.yaml").exists():
        return True
    place = place_of_images(name_or_path)
    return place is not None and config_beside(place).exists()


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


def config_beside(place: Path) -> Path:
    """The config for a folder of images, or a file that holds them: NAME.yaml in the working folder, there or not."""
    named = place.resolve()
    return Path(f"{(named.stem if named.is_file() else named.name) or 'images'}.yaml")


def _is_for(config: Path, place: Path) -> bool:
    """Is it the config for these images? False of what is no config: whoever reads it says what it is.

    Raises:
        UserError: it is for others.
    """
    values = _values(config)
    if values is None:
        return False
    data = values.get("data")
    root = data.get("root") if isinstance(data, dict) else None
    if not isinstance(root, str) or Path(root).expanduser().resolve() != place.resolve():
        raise UserError(
            f"{config} is a config, but not for {place}; write another one: semisup init {shlex.quote(str(place))} "
            "--out FILE, and name that"
        )
    return True


def _values(config: Path) -> dict[str, Any] | None:
    """What a config says; None of a file that is none: it is no YAML, or has no key that configs have."""
    import yaml  # only now: whoever asks for help has no use for it

    try:
        values = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return values if isinstance(values, dict) and KEYS & set(values) else None


def _by_path(path: Path) -> str:
    return f"the {'folder' if path.is_dir() else 'file'} {path}"


def _way_from_images(place: Path) -> str:
    """What to type where a config was wanted, and there is none for these images."""
    config, there = shlex.quote(str(config_beside(place))), shlex.quote(str(place))
    holds = "is a folder; if it holds your images" if place.is_dir() else "holds images"
    then = f"type: semisup init {there} --out {config}, and then: semisup run {config}"
    return f"config {str(place)!r} {holds}, {then}" if place.is_dir() else f"config {str(place)!r} {holds}; {then}"


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
