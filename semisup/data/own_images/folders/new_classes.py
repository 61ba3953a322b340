"""New classes of a folder of images: a folder for each, with copies of the images that a person says are of it."""

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from semisup.config import DataConfig, PipelineConfig, resolve_base
from semisup.config.sections.base import LONGEST_NAME
from semisup.data.own_images.folders.class_names import class_names
from semisup.data.own_images.folders.listing import class_places
from semisup.data.own_images.folders.roles import role_of
from semisup.data.own_images.folders.tree import Walk
from semisup.errors import UserError
from semisup.system.own_files import aside

FIELD = "--import"
MOST_SHOWN = 60
"""Letters of a name in a message."""


def takes_new_classes(config: PipelineConfig) -> bool:
    """Can a class be added by a folder beside those of the others?

    Not to published data sets, manifests, containers and buckets, nor where no folder but those of classes has images:
    these have a class already.
    """
    root = _root(config.data)
    try:
        return root is not None and "" not in class_places(Walk(str(root)))
    except (UserError, OSError):
        return False


@dataclass(frozen=True)
class Added:
    """What was added to a folder of images."""

    files: Sequence[Path]
    """Copies."""
    made: Sequence[Path]
    """Folders that were not there."""

    @property
    def images(self) -> Mapping[Path, int]:
        """Folder of a class → its copies."""
        return Counter(file.parent for file in self.files)

    def take_back(self) -> None:
        """Delete the copies, and the folders made for them that hold nothing else."""
        for file in self.files:
            file.unlink(missing_ok=True)
        for folder in self.made:
            with suppress(OSError):
                folder.rmdir()


def add_classes(config: PipelineConfig, images: Mapping[str, Sequence[str]], known: Sequence[str]) -> Added:
    """Copies images, by their paths below the data set's root, into a folder for each new class.

    `known` are the classes that there are. What is there under the same name stays as it is: a copy gets another one.
    All copies are made before the first has its name.

    Raises:
        UserError: the data set takes no new class; a name is none for a class, or differs from another one by case or
            blanks only; an image lies in the folder of a class, is gone, or cannot be copied. Nothing is left then.
    """
    root = _root(config.data)
    if root is None:
        raise UserError(
            f"{FIELD}: {next(iter(images))!r} is said to be a new class, and a class can only be added to a folder of "
            "image files; give these images their class where your labels are kept, and leave the rows out"
        )
    places = class_places(Walk(str(root)))
    for name in images:
        _check_name(name)
        if (root / places[0] / name).is_file():
            raise UserError(f"{FIELD}: {root / places[0] / name} is a file; give the new class another name")
    class_names({*known, *images}, FIELD)
    for path in (path for paths in images.values() for path in paths):
        if path.partition("/")[0] in places or "" in places:
            raise UserError(
                f"{FIELD}: {path!r} lies in the folder of a class already; move it into that of its new class, and "
                "leave the row out"
            )
    pairs = [(root / path, root / places[0] / name) for name, paths in images.items() for path in paths]
    ready: list[tuple[Path, Path]] = []
    made: list[Path] = []
    files: list[Path] = []
    try:
        for source, folder in pairs:
            if not folder.exists():
                folder.mkdir()
                made.append(folder)
            unfinished = aside(folder / f"{len(ready)}-{source.name}")  # two may have the same name
            ready.append((unfinished, folder / source.name))
            shutil.copyfile(source, unfinished)
        for unfinished, file in ready:
            files.append(unfinished.replace(_free(file)))
    except OSError as error:
        for unfinished, _ in ready:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
        Added(files, made).take_back()
        reason = error.strerror or error
        raise UserError(
            f"{FIELD}: {source} cannot be copied into {folder}: {reason}; mend that, and try again"
        ) from None
    return Added(files, made)


def _root(data: DataConfig) -> Path | None:
    if data.name != "folder" or data.manifest is not None:
        return None
    base = resolve_base(data)
    return None if base is None or isinstance(base, str) else base.expanduser()


def _check_name(name: str) -> None:
    wrong = "/" in name or "\\" in name or name.startswith(".") or not name.isprintable()
    wrong = wrong or len(os.fsencode(name)) > LONGEST_NAME
    if wrong or role_of(name) is not None:
        what = "the name of a role" if not wrong else "no name of a folder"
        shown = name if len(name) <= MOST_SHOWN else f"{name[:MOST_SHOWN]}…"
        raise UserError(f"{FIELD}: the new class {shown!r} is {what}; give it another name")


def _free(file: Path) -> Path:
    """The file, or where there is one already, a name beside it that is not taken."""
    free, number = file, 1
    while free.exists():
        number += 1
        free = file.with_stem(f"{file.stem}-{number}")
    return free
