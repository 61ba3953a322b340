"""What folders and tables call the roles of images: in any case, with the usual synonyms."""

import re
import unicodedata
from typing import Literal

Given = Literal["", "unlabeled", "validation", "test"]
"""The role that a file has by its place; "" where the split decides."""
FOLDERS: dict[str, Given] = {
    "labeled": "",
    "labelled": "",
    "train": "",
    "training": "",
    "unlabeled": "unlabeled",
    "unlabelled": "unlabeled",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Name of a folder in the root, or a manifest's role → role; see :func:`role_of`."""
SUFFIXES = ("", "set", "data", "images")
"""What may follow such a name."""


def role_of(name: str) -> Given | None:
    """The role that a name stands for ("Test", "train_set", "VALIDATION images"); None: it is no role's name."""
    word = re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())
    for suffix in SUFFIXES:
        role = FOLDERS.get(word.removesuffix(suffix))
        if role is not None:
            return role
    return None


def looks_like_role(name: str) -> bool:
    """Is a role's name, or a part of this one, such as that of "seg_train" or "test2017"?"""
    return role_of(name) is not None or any(role_of(word) is not None for word in re.split(r"[\W\d_]+", name))
