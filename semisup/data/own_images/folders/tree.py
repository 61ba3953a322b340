"""A tree of folders with images, on the disk or elsewhere. No file is opened."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semisup.data.listing import Contents, Files
from semisup.data.own_images.reading.decode import EXTENSIONS, NEEDED

PERHAPS_IMAGES = EXTENSIONS | {""}
"""Extensions of files that are looked into."""
Stamps: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Sizes and changes (N,), as in `Listing`."""


class Tree(Protocol):
    """Folders with image files, wherever they lie."""

    passed_over: Counter[str]
    """What is no image, and how often."""

    @property
    def said(self) -> str:
        """As errors name its root."""
        ...

    @property
    def name(self) -> str:
        """That of the root itself."""
        ...

    @property
    def place(self) -> str:
        """As in `Listing`."""
        ...

    def folders(self, place: str) -> list[str]:
        """Names of the folders in one, sorted; "" is the root. Hidden ones are left out."""
        ...

    def images(self, place: str) -> Iterator[str]:
        """Paths of all image files below a folder, relative to it, with slashes; others are counted."""
        ...

    def stamps(self, paths: Sequence[str]) -> Stamps:
        """Of files below the root, as in `Listing`."""
        ...

    def contents(self, paths: Sequence[str]) -> Contents:
        """Of files below the root."""
        ...


def perhaps_image(name: str, passed_over: Counter[str]) -> bool:
    """May a file be an image, by its name? One that may not is counted."""
    extension = os.path.splitext(name)[1].lower()
    if extension in PERHAPS_IMAGES:
        return True
    passed_over[NEEDED.get(extension, "files with other extensions")] += 1
    return False


@dataclass
class Walk:
    """A tree on the disk."""

    root: str
    passed_over: Counter[str] = field(default_factory=Counter)

    @property
    def said(self) -> str:
        """As in `Tree`."""
        return f"data.root={self.root}"

    @property
    def name(self) -> str:
        """As in `Tree`."""
        return os.path.basename(self.root)

    def folders(self, place: str) -> list[str]:
        """As in `Tree`."""
        with os.scandir(self._start(place)) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))

    def images(self, place: str) -> Iterator[str]:
        """As in `Tree`."""
        start = self._start(place)
        below = len(os.path.join(start, ""))
        for entry in self.files(start, (os.path.realpath(start),)):
            yield entry.path[below:].replace(os.sep, "/")

    @cached_property
    def place(self) -> str:
        """As in `Tree`."""
        return os.path.realpath(self.root)

    def stamps(self, paths: Sequence[str]) -> Stamps:
        """As in `Tree`."""
        return stamps_below(self.root, paths)

    def contents(self, paths: Sequence[str]) -> Contents:
        """As in `Tree`."""
        return Files(self.place, paths)

    def _start(self, place: str) -> str:
        return os.path.join(self.root, place) if place else self.root

    def files(self, folder: str, above: tuple[str, ...] = ()) -> Iterator[os.DirEntry[str]]:
        """Image files below a folder, those of a folder sorted by name; hidden ones are left out."""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except PermissionError:
            self.passed_over["folders that may not be read"] += 1
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and not self._leads_inside(entry.path):
                self.passed_over["symbolic links that lead out of the root or nowhere"] += 1
            elif entry.is_dir():
                real = os.path.realpath(entry.path)
                if real in above:
                    self.passed_over["symbolic links that lead back to a folder above"] += 1
                else:
                    yield from self.files(entry.path, (*above, real))
            elif perhaps_image(entry.name, self.passed_over):
                yield entry

    def _leads_inside(self, path: str) -> bool:
        real = os.path.realpath(path)
        return os.path.exists(real) and os.path.commonpath([real, self.place]) == self.place


def stamps_below(root: str, paths: Sequence[str]) -> Stamps:
    """Those of files that may be gone."""
    sizes, changed = np.full(len(paths), -1), np.zeros(len(paths), dtype=np.int64)
    for row, path in enumerate(paths):
        try:
            stat = os.stat(os.path.join(root, path))
        except OSError:
            continue
        sizes[row], changed[row] = stat.st_size, stat.st_mtime_ns
    return sizes, changed
