"""The section about the data: which images there are, in which roles, what was left out, what people annotated."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import pandas as pd

from semisup import plots
from semisup.data.roles.split import REMOVED
from semisup.report.artifacts import Artifacts, LeftOut
from semisup.report.text import UNKNOWN
from semisup.wording import counted

MOST_SHOWN = 10
"""Files in a list; a page is no table."""
ANNOTATIONS = {
    "joined": "Unlabeled images labeled",
    "corrected": "Labels corrected",
    "confirmed": "Labels confirmed",
    "discarded": "Images left out of training",
    "held_out": "Not used: held out, or left out",
    "missing": "Not used: test image, or gone",
}
ROLE_NAMES = {role: name.lower() for role, name in plots.ROLES.items()} | {REMOVED: "none"}
"""An image that was held out by an earlier run and lies now where it would be learned from has no role."""


def context(artifacts: Artifacts) -> dict[str, Any]:
    """What the templates say of it."""
    return {
        "data": _sentence(artifacts),
        "counts_heads": [plots.ROLES[role] for role in artifacts.class_counts()],
        "counts_table": _counts_table(artifacts),
        "broken": _broken(artifacts.left_out),
        "copies": _copies(artifacts.left_out),
        "same_group": _same_group(artifacts.left_out),
        "annotations": _annotations(artifacts.annotations),
    }


def _sentence(artifacts: Artifacts) -> str:
    dataset, (channels, height, width) = artifacts.dataset, artifacts.dataset["image_shape"]
    color = {1: "gray", 3: "RGB"}.get(channels, f"{channels}-channel")
    return (
        f"{dataset['name']}: {counted(dataset['pool_size'], 'image')} to learn from and "
        f"{counted(dataset['test_size'], 'test image')}, "
        f"{counted(len(dataset['class_names']), 'class')}, {color}, {height}\u00a0×\u00a0{width}\u00a0pixels."
    )


def _counts_table(artifacts: Artifacts) -> list[list[str]]:
    """Class, then its images per role; the last row has the totals."""
    counts = artifacts.class_counts()
    rows = [
        [name, *(UNKNOWN if values is None else f"{values[index]:,}" for values in counts.values())]
        for index, name in enumerate(artifacts.class_names)
    ]
    return [*rows, ["All", *(f"{artifacts.roles[role]:,}" for role in counts)]]


def _broken(left_out: LeftOut) -> dict[str, Any] | None:
    """Files that cannot be used, the first ones by name; None where there are none."""
    files = left_out.broken
    kinds = _counted(reason.partition(":")[0] for reason in files["reason"])
    sentence = f"{counted(len(files), 'file')} cannot be used: {kinds}. Nothing is learned from them."
    return _first(files, sentence, lambda shown: shown[["path", "reason"]].to_numpy().tolist(), "broken_files.csv")


def _copies(left_out: LeftOut) -> dict[str, Any] | None:
    """Images that are copies of held-out ones, the first ones by name; None where there are none."""
    copies = left_out.copies
    kinds = _of_roles("of", copies["copy_of_role"])
    are = "is a copy or near duplicate" if len(copies) == 1 else "are copies or near duplicates"
    fate = (
        "Nothing is learned from them" if left_out.copies_removed else "They are used all the same, and flatter figures"
    )
    sentence = f"{counted(len(copies), 'image')} {are} of held-out images ({kinds}). {fate} (data.duplicates)."
    return _first(copies, sentence, partial(_pairs, other="copy_of"), "duplicates.csv")


def _same_group(left_out: LeftOut) -> dict[str, Any] | None:
    """Images of the groups of held-out ones, the first ones by name; None where there are none."""
    apart = left_out.same_group
    kinds = _of_roles("with", apart["group_with_role"])
    share = "shares its" if len(apart) == 1 else "share their"
    sentence = (
        f"{counted(len(apart), 'image')} {share} group with held-out images ({kinds}), which a model could know by "
        "them. Nothing is learned from them (data.group)."
    )
    return _first(apart, sentence, partial(_pairs, other="group_with"), "same_group.csv")


def _first(
    left_out: pd.DataFrame, sentence: str, rows: Callable[[pd.DataFrame], list[list[str]]], file: str
) -> dict[str, Any] | None:
    """A sentence, the first ones in `rows` of a table, and where all of them are; None where there are none."""
    if left_out.empty:
        return None
    shown = left_out.head(MOST_SHOWN)
    more = len(left_out) - len(shown)
    where = f"{f'… and {more:,} more; all' if more else 'All'} are in {file} among the artifacts of the split."
    return {"sentence": sentence, "table": rows(shown), "more": where}


def _pairs(shown: pd.DataFrame, other: str) -> list[list[str]]:
    """An image and the one that it was left out for, which the column `other` names, each with its role."""
    rows = zip(shown["id"], shown["role"], shown[other], shown[f"{other}_role"], strict=True)
    return [[_named(image, role), _named(its, of)] for image, role, its, of in rows]


def _annotations(applied: Mapping[str, int]) -> dict[str, Any] | None:
    """What became of the annotations in `data.annotations`; None where there are none."""
    if not applied:
        return None
    total = sum(applied.values())
    images = counted(total, "image")
    corrections = counted(applied["corrected"], "annotation") if applied["corrected"] else "no annotation"
    return {
        "sentence": f"People have annotated {images} (data.annotations); {corrections} corrected a label.",
        "table": [[words, f"{applied[key]:,}"] for key, words in ANNOTATIONS.items() if applied[key]],
    }


def _counted(names: Iterable[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in Counter(names).most_common())


def _of_roles(word: str, roles: Iterable[str]) -> str:
    """ "3 of test images, 1 of a validation image"."""
    return ", ".join(
        counted(count, f"{word} a {ROLE_NAMES[role]} image", f"{word} {ROLE_NAMES[role]} images")
        for role, count in Counter(roles).most_common()
    )


def _named(image: str, role: str) -> str:
    return f"{image.rpartition('@')[0]} ({ROLE_NAMES[role]})"
