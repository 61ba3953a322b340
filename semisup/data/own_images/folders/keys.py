"""A bucket's objects as folders of images: what a slash ends is a folder."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from semisup.data.listing import Contents
from semisup.data.own_images.folders.tree import Stamps, perhaps_image
from semisup.data.own_images.remote.bucket import Bucket, Object


@dataclass
class Keys:
    """A tree of objects."""

    bucket: Bucket
    passed_over: Counter[str] = field(default_factory=Counter)

    @property
    def said(self) -> str:
        """As in `Tree`."""
        return f"data.url={self.bucket.url}"

    @property
    def name(self) -> str:
        """As in `Tree`."""
        return self.place.rpartition("/")[2]

    @property
    def place(self) -> str:
        """As in `Tree`."""
        return self.bucket.url

    @cached_property
    def objects(self) -> dict[str, Object]:
        """By their paths, sorted."""
        return {of.path: of for of in self.bucket.objects()}

    def folders(self, place: str) -> list[str]:
        """As in `Tree`."""
        below = f"{place}/" if place else ""
        inner = (path.removeprefix(below) for path in self.objects if path.startswith(below))
        return sorted({path.partition("/")[0] for path in inner if "/" in path})

    def images(self, place: str) -> Iterator[str]:
        """As in `Tree`."""
        below = f"{place}/" if place else ""
        for path in self.objects:
            if path.startswith(below) and perhaps_image(os.path.basename(path), self.passed_over):
                yield path.removeprefix(below)

    def stamps(self, paths: Sequence[str]) -> Stamps:
        """As in `Tree`."""
        found = [self.objects.get(path) for path in paths]
        return (
            np.array([-1 if of is None else of.size for of in found], dtype=np.int64),
            np.array([0 if of is None else of.changed for of in found], dtype=np.int64),
        )

    def contents(self, paths: Sequence[str]) -> Contents:
        """As in `Tree`."""
        there = (self.objects.get(path) for path in paths)
        keys = (f"{self.bucket.base}/{path}" if of is None else of.key for path, of in zip(paths, there, strict=True))
        return Objects(self.bucket, list(keys))


@dataclass(frozen=True, eq=False)
class Objects:
    """Images that are one object each."""

    bucket: Bucket
    keys: Sequence[str]
    distant: ClassVar[bool] = True

    def read(self, number: int) -> bytes:
        """As in `Contents`."""
        return self.bucket.read(self.keys[number])

    def file(self, number: int) -> None:
        """As in `Contents`: it lies on no disk."""
