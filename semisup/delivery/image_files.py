"""Image files that a person names: files, folders, or a table of paths; one after another, never all in memory."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from semisup.data.own_images.folders.manifest import read_manifest
from semisup.data.own_images.folders.tree import Walk
from semisup.data.own_images.reading.decode import EXTENSIONS
from semisup.errors import UserError

TABLES = frozenset({".csv", ".parquet", ".pq"})


class ImageFile(NamedTuple):
    """One file: what a table calls it, and where it is."""

    name: str
    path: str


@dataclass(frozen=True)
class ImageFiles:
    """All image files below some paths, in the order in which the paths are named, those of a folder sorted by name."""

    paths: Sequence[Path]
    passed_over: Counter[str] = field(default_factory=Counter)
    """What was left out in the last going through, and how often."""

    @classmethod
    def of(cls, paths: Sequence[Path]) -> "ImageFiles":
        """The files of paths that a person names.

        Raises:
            UserError: a path does not exist, a table cannot be used, or there is no image file at all.
        """
        for path in paths:
            if not path.exists():
                raise UserError(f"{path} does not exist; name image files, folders, or a table with a column 'path'")
        files = cls(paths)
        if next(iter(files), None) is None:
            kinds = " ".join(sorted(EXTENSIONS))
            raise UserError(f"{' '.join(map(str, paths))}: there are no image files ({kinds}); name another folder")
        return files

    def __iter__(self) -> Iterator[ImageFile]:
        self.passed_over.clear()
        for path in self.paths:
            if path.is_dir():
                root = str(path.resolve())
                walk = Walk(root, self.passed_over)
                for entry in walk.files(str(path), (root,)):
                    yield ImageFile(_printable(entry.path), entry.path)
            elif path.suffix.lower() in TABLES:
                for name in read_manifest(path, str(path), needed=["path"])["path"]:
                    yield ImageFile(name, str(path.parent / name))
            else:
                yield ImageFile(_printable(str(path)), str(path))

    def count(self) -> int:
        """How many there are; they are gone through once more."""
        return sum(1 for _ in self)


def _printable(path: str) -> str:
    """A name whose bytes are no text, as files may have, is written with their numbers."""
    return path.encode("utf-8", "backslashreplace").decode()
