"""Images of one's own before they are decoded: which there are, of which class and role, and where their bytes lie."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

NEVER_SURE = 2**62
"""As a time of change: in the future, so that nobody trusts that what was read stays."""


class Contents(Protocol):
    """Where the bytes of listed images lie. Several threads read at once."""

    @property
    def distant(self) -> bool:
        """Does every read wait for a network?"""
        ...

    def read(self, number: int) -> bytes:
        """The encoded image of one row.

        Raises:
            OSError: it cannot be read.
        """
        ...

    def file(self, number: int) -> str | None:
        """The file that holds this image and nothing else; None: it lies among others."""
        ...


@dataclass(frozen=True, eq=False)
class Files:
    """Images that are one file each, below a root."""

    root: str
    paths: Sequence[str]
    distant: ClassVar[bool] = False

    def read(self, number: int) -> bytes:
        """As in `Contents`."""
        with open(self.file(number), "rb") as file:  # noqa: PTH123 -- there may be a million: a Path each takes longer
            return file.read()

    def file(self, number: int) -> str:
        """As in `Contents`."""
        return os.path.join(self.root, self.paths[number])  # noqa: PTH118 -- as above


@dataclass(frozen=True, eq=False)
class Listing:
    """Images below a root, in an order that stays.

    Attributes:
        place: the folder or file without links on the way to it, or the URL; what is known of its files is found by it.
        paths: relative to the root, with slashes; what names the images.
        labels: int64 (N,), positions in `class_names`, or UNLABELED.
        roles: (N,) of `Given`.
        sizes: int64 (N,), in bytes, of the image or of what holds it; -1 where it is not there.
        changed: int64 (N,), modification times in nanoseconds; below 0: what stands for the version of an object.
        contents: where their bytes lie.
        notes: what was passed over, one line each.
    """

    place: str
    paths: list[str]
    labels: NDArray[np.int64]
    roles: NDArray[np.object_]
    sizes: NDArray[np.int64]
    changed: NDArray[np.int64]
    class_names: tuple[str, ...]
    contents: Contents
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)
