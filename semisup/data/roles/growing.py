"""Roles of images of one's own, drawn by content: what was added, renamed or moved changes no known image's role."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semisup.data.datasets import UNLABELED
from semisup.data.roles.known_roles import Contents, KnownRoles, Roles, column
from semisup.data.roles.seats import validation_seats
from semisup.data.roles.split import (
    PRECEDENCE,
    REMOVED,
    Split,
    among,
    calibration_takes_all,
    nothing_unlabeled,
    nothing_validates,
    too_few_labels,
)

MEMORY = "held_out.parquet"


def read_memory(folder: Path) -> KnownRoles:
    """All images that the split in a stage's folder knows, with those that it only remembers."""
    known = KnownRoles.of_table(pd.read_parquet(folder / "split.parquet", columns=["id", "role"]))
    if not (folder / MEMORY).exists():
        return known
    table = pd.read_parquet(folder / MEMORY)
    remembered = KnownRoles.of(column(table["content"]), table["role"].to_numpy(dtype=object))
    return remembered.updated(known)


def write_memory(known: KnownRoles, now: Split, folder: Path) -> None:
    """Leave what was held out of training and has no role `now`: it may come back, under another name or label.

    There is no file where there is nothing to remember.
    """
    gone = known.only(known.in_roles(PRECEDENCE) & ~KnownRoles.of_table(now.table).have(known.contents))
    if len(gone):
        names = [content.decode() for content in gone.contents]
        pd.DataFrame({"content": names, "role": gone.roles}).to_parquet(folder / MEMORY, index=False)


def draw_by_content(
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    contents: Contents,
    *,
    labeled_per_class: Sequence[int] | None,
    validation_per_class: int,
    calibration_images: int,
    seed: int,
    given: Roles,
    before: KnownRoles,
    units: Sequence[str] | None = None,
) -> Roles:
    """The role (N,) of every pool image with labels (N,), or UNLABELED, and contents (N,).

    An image's lot is a hash of its content and `seed`. Of each class the first ones validate, the next are labeled
    (with `labeled_per_class` None: all that are left); a class that has too few for both gives fewer, see
    :func:`validation_seats`; of the rest with a label, `calibration_images` by another lot
    calibrate. `given` (N,) are roles that the data set says itself, "" where it says none; where it gives validation
    images, none are drawn.

    `before` are the roles in the split before. What validated or calibrated goes on to do so, even where fewer are
    asked for by now; what was labeled is the first to be labeled; only seats that are empty are drawn for. An image
    that was held out and now lies where it would be learned from is REMOVED: so none ever passes from test, validation
    or calibration into training, whatever is added, moved or asked for.

    `units` (N,) name the groups of images that belong together. A group has one lot and is drawn whole, even where that
    gives more images than were asked for; those of its images that may not follow it are left for
    :func:`semisup.data.roles.split.find_leaks`.

    Raises:
        UserError: a class has no image left to learn from, none has one to validate with where such are asked for, or
            nothing would be left unlabeled.
    """
    was = before.roles_of(contents)
    roles = np.where(given == "", "unlabeled", given).astype(object)
    decided = (labels != UNLABELED) & (given == "")
    held_out = among(was, PRECEDENCE)
    roles[held_out & (given != "validation")] = REMOVED
    stays = held_out & decided & (was != "test")
    roles[stays] = was[stays]
    free = decided & ~held_out
    whole = _Whole.of(units, len(labels))
    drawn_by = contents if units is None else column(units)
    lots = _lots(drawn_by, free, f"{seed}:role")
    validation = 0 if (given == "validation").any() else validation_per_class
    roles[whole.with_some(roles == "validation") & free] = "validation"
    for label in range(len(class_names)):
        wanted = labeled_per_class[label] if labeled_per_class is not None else None
        members = np.flatnonzero(free & (labels == label) & (roles == "unlabeled"))
        validating = int(((roles == "validation") & (labels == label)).sum())
        seats = validation_seats(validation, wanted, len(members) + validating) - validating
        roles[_first(members, was[members] == "labeled", lots, max(seats, 0))] = "validation"
        roles[whole.with_some(roles == "validation") & free] = "validation"
    for label, name in enumerate(class_names):
        wanted = labeled_per_class[label] if labeled_per_class is not None else None
        left = np.flatnonzero(free & (labels == label) & (roles == "unlabeled"))
        if not len(left):
            raise too_few_labels(name, wanted, validation, int(((labels == label) & (given == "")).sum()))
        roles[_first(left, was[left] != "labeled", lots, wanted or 0)] = "labeled"
    if validation_per_class and not (roles == "validation").any():
        raise nothing_validates()
    may = free & (roles == "unlabeled") & ~whole.with_some(roles == "labeled")
    _calibrate(roles, may, was, _lots(drawn_by, free, f"{seed}:calibration"), calibration_images)
    roles[whole.with_some(roles == "calibration") & may] = "calibration"
    if labeled_per_class is None:
        roles[(roles == "unlabeled") & decided] = "labeled"
    if not (roles == "unlabeled").any():
        raise nothing_unlabeled(labeled_per_class, validation_per_class, len(labels))
    return roles


@dataclass(frozen=True, eq=False)
class _Whole:
    """Which images belong together, as numbers (N,); None: each is alone."""

    units: NDArray[np.int64] | None

    @classmethod
    def of(cls, units: Sequence[str] | None, images: int) -> "_Whole":
        if units is None:
            return cls(None)
        assert len(units) == images, "one name for each image"
        return cls(np.asarray(pd.factorize(np.array(units, dtype=object))[0], dtype=np.int64))

    def with_some(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The images (N,) that are in a group with one of those chosen (N,)."""
        return chosen if self.units is None else np.isin(self.units, self.units[chosen])


def _calibrate(roles: Roles, free: NDArray[np.bool_], was: Roles, lots: NDArray[np.uint64], images: int) -> None:
    seats = images - int((roles == "calibration").sum())
    left = np.flatnonzero(free & (roles == "unlabeled"))
    if seats > 0 and 0 < len(left) <= seats:
        raise calibration_takes_all(images, len(left))
    roles[_first(left, was[left] == "labeled", lots, max(seats, 0))] = "calibration"


def _first(
    rows: NDArray[np.int64], later: NDArray[np.bool_], lots: NDArray[np.uint64], count: int
) -> NDArray[np.int64]:
    """So many of the rows (n,), by their lots; those marked `later` (n,) only when no others are left."""
    return rows[np.lexsort((lots[rows], later))[:count]]


def _lots(contents: Contents, free: NDArray[np.bool_], purpose: str) -> NDArray[np.uint64]:
    """The lot (N,) of every image that takes part in a draw, and 0 of the others, which may be a million."""
    lots = np.zeros(len(contents), dtype=np.uint64)
    for row in np.flatnonzero(free).tolist():
        digest = hashlib.sha256(f"{purpose}:".encode() + bytes(contents[row])).digest()
        lots[row] = int.from_bytes(digest[:8], "big")
    return lots
