"""From what a container holds to a listing, and how containers of all kinds say roles and labels."""

import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from semisup.data.datasets import UNLABELED
from semisup.data.listing import Contents, Listing
from semisup.data.own_images.folders.class_names import class_names
from semisup.data.own_images.folders.roles import Given, role_of
from semisup.data.own_images.remote.bucket import Bucket
from semisup.errors import UserError
from semisup.wording import counted

NO_LABELS = frozenset({"", "-1"})
"""What a label is written as where there is none, in formats whose labels are numbers."""


def role_in(path: str) -> Given:
    """The role that a file's path says: by a folder on the way ("test/0.tar"), or by a word of its name
    ("train-00000-of-00002.parquet"); "" where it says none, or that it is to learn from.
    """
    *folders, name = path.split("/")
    for part in (*folders, *re.split(r"[\W\d_]+", Path(name).stem)):
        if part and (role := role_of(part)) is not None:
            return role
    return ""


class SeveralClassesError(Exception):
    """An image is of several classes at once."""


def label_text(value: Any, names: Sequence[str] = ()) -> str | None:
    """A label as a class's name; None where there is none: nothing, "", a NaN, -1. A list of one is what is in it.

    Raises:
        LookupError: a number that none of the `names` has, or what is neither text nor a number.
        SeveralClassesError: a list of several.
    """
    if isinstance(value, list):
        if len(value) > 1:
            raise SeveralClassesError
        return label_text(value[0], names) if value else None
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise LookupError("a label that is no UTF-8") from None
    if not isinstance(value, str | int | float | None):
        raise LookupError(f"a label of type {type(value).__name__}, which is neither text nor a number")
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    if text in NO_LABELS:
        return None
    if names and re.fullmatch(r"\d+", text):
        if int(text) >= len(names):
            raise LookupError(f"label {text} of {counted(len(names), 'class')}, which count from 0")
        return names[int(text)].strip()
    return text


@dataclass
class Found:
    """What containers hold, as columns: there may be millions of images."""

    said: str
    """The key that names where they lie, and its value."""
    place: str
    """As in `Listing`."""
    paths: list[str] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    """Classes."""
    roles: list[Given] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def pass_over_several(self) -> None:
        """One more image is of several classes."""
        self.passed_over["images of several classes"] += 1

    @classmethod
    def below(cls, root: Path) -> "Found":
        """Of a folder or a file of the disk."""
        return cls(f"data.root={root}", os.path.realpath(root))

    @classmethod
    def in_bucket(cls, bucket: Bucket) -> "Found":
        """Of what lies below a prefix."""
        return cls(f"data.url={bucket.url}", bucket.url)

    def add(self, path: str, name: str | None, role: Given, *, size: int, changed: int) -> bool:
        """One more image; False, and it is passed over, where it is one to test or validate with and has no label."""
        if name is None and role in {"test", "validation"}:
            self.passed_over[f"{role} images without a label"] += 1
            return False
        self.paths.append(path)
        self.names.append(None if role == "unlabeled" else name)
        self.roles.append("unlabeled" if name is None else role)
        self.sizes.append(size)
        self.changed.append(changed)
        return True

    def listing(self, contents: Contents) -> Listing:
        """In the order in which they were added, which is that in which they lie.

        Raises:
            UserError: there are none, two of one name, or no two classes.
        """
        notes = tuple(f"passed over {count:,} {what}" for what, count in sorted(self.passed_over.items()))
        if not self.paths:
            why = f" ({'; '.join(notes)})" if notes else ""
            raise UserError(f"{self.said} holds no images{why}; name another file or folder")
        if len(set(self.paths)) < len(self.paths):
            ((path, count),) = Counter(self.paths).most_common(1)
            raise UserError(f"{self.said}: {count} images are called {path!r}; rename all but one")
        names = class_names({name for name in self.names if name is not None}, self.said)
        place: dict[str | None, int] = {name: position for position, name in enumerate(names)}
        return Listing(
            place=self.place,
            paths=self.paths,
            labels=np.array([place.get(name, UNLABELED) for name in self.names], dtype=np.int64),
            roles=np.array(self.roles, dtype=object),
            sizes=np.array(self.sizes, dtype=np.int64),
            changed=np.array(self.changed, dtype=np.int64),
            class_names=names,
            contents=contents,
            notes=(*notes, *self.notes),
        )
