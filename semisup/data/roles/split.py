"""Which image plays which role: picks per class, a random calibration sample, everything else unlabeled."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from pandas.api.extensions import ExtensionArray
from torch import Tensor

from semisup.data.datasets import UNLABELED
from semisup.errors import UserError
from semisup.wording import counted

Role = Literal["labeled", "validation", "calibration", "unlabeled", "test"]
ROLES: tuple[Role, ...] = ("labeled", "validation", "calibration", "unlabeled", "test")
ROLES_WITH_LABELS: tuple[Role, ...] = ("labeled", "validation", "calibration")
AT_A_TIME = 2**16
"""Ids that are compared at a time."""
REMOVED = "removed"
"""In place of a role: the image is used for nothing."""


def long_tail(largest: int, ratio: float, num_classes: int) -> list[int]:
    """Images per class of a long tail: class k of C gets largest · ratio^(−k/(C−1)), rounded; ratio 1: all alike.

    Raises:
        UserError: the last class would get none.
    Source: Cui et al. 2019, section 5.1.
    """
    counts = [round(largest * ratio ** (-k / max(num_classes - 1, 1))) for k in range(num_classes)]
    if min(counts) < 1:
        raise UserError(
            f"split.imbalance_ratio={ratio:g} leaves the last class no labeled image of "
            f"split.labeled_per_class={largest}; use a ratio below {2 * largest}, or more labels"
        )
    return counts


def draw_roles(
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    *,
    labeled_per_class: Sequence[int] | None,
    validation_per_class: int,
    calibration_images: int,
    rng: np.random.Generator,
) -> NDArray[np.object_]:
    """The role (N,) of every pool image with labels (N,), or UNLABELED, of a data set that never changes.

    Per class a shuffle, labeled picks first, then validation. Of all with a label that are left, `calibration_images`
    at random, whatever their class, so that they are a fair sample of what is unlabeled. What has no label is
    unlabeled. `labeled_per_class` None: validation is picked first, and all labels that are left are labeled images.

    Raises:
        UserError: a class has too few images, or nothing would be left unlabeled.
    """
    roles = np.full(len(labels), "unlabeled", dtype=object)
    for label, class_name in enumerate(class_names):
        members = rng.permutation(np.flatnonzero(labels == label))
        picked = labeled_per_class[label] if labeled_per_class is not None else 0
        wanted = picked + validation_per_class
        if len(members) < max(wanted, validation_per_class + 1):
            asked = picked if labeled_per_class is not None else None
            raise too_few_labels(class_name, asked, validation_per_class, len(members))
        roles[members[:picked]] = "labeled"
        roles[members[picked:wanted]] = "validation"
    left = np.flatnonzero((roles == "unlabeled") & (labels != UNLABELED))
    if calibration_images and 0 < len(left) <= calibration_images:
        raise calibration_takes_all(calibration_images, len(left))
    if calibration_images and len(left):
        roles[rng.choice(left, calibration_images, replace=False)] = "calibration"
    if labeled_per_class is None:
        roles[(roles == "unlabeled") & (labels != UNLABELED)] = "labeled"
    if not (roles == "unlabeled").any():
        raise nothing_unlabeled(labeled_per_class, validation_per_class, len(labels))
    return roles


def too_few_labels(class_name: str, labeled: int | None, validation: int, images: int) -> UserError:
    """A class has not enough images to pick from; `labeled` None: all that validation leaves."""
    asked = "all" if labeled is None else labeled
    return UserError(
        f"split.labeled_per_class={asked} and split.validation_per_class={validation} ask for "
        f"{max(labeled or 0, 1) + validation} labels of class {class_name!r}, which has only "
        f"{counted(images, 'image')}; ask for fewer"
    )


def nothing_validates() -> UserError:
    """No class has two labels."""
    return UserError(
        "no class has two images with a label, one to learn from and one to validate with; add some, or name "
        "validation images: validation/<class>/"
    )


def calibration_takes_all(images: int, left: int) -> UserError:
    """As many images, or more, are to calibrate as the other picks leave."""
    return UserError(
        f"split.calibration_images={images} takes all {left} images with a label that the others leave; use at most "
        f"{left - 1}, or nothing is left to learn from or to pseudo-label"
    )


def nothing_unlabeled(labeled_per_class: Sequence[int] | None, validation: int, images: int) -> UserError:
    """The picks take every image."""
    most = "all" if labeled_per_class is None else str(max(labeled_per_class))
    return UserError(
        f"split.labeled_per_class={most} and split.validation_per_class={validation} take all "
        f"{counted(images, 'image')}; leave some unlabeled, or there is nothing to pseudo-label"
    )


PRECEDENCE: tuple[Role, ...] = ("test", "validation", "calibration")
"""Roles that no copy may be outside of, the strongest first."""


def among(roles: NDArray[np.object_], names: Sequence[str]) -> NDArray[np.bool_]:
    """Which of the roles (N,) are among these names; as text of fixed width, a million would take 44 MB."""
    found: NDArray[np.bool_] = np.zeros(len(roles), dtype=bool)
    for name in names:
        found |= roles == name
    return found


def find_leaks(
    roles: NDArray[np.object_], groups: NDArray[np.int64], test_groups: NDArray[np.int64]
) -> dict[int, tuple[Role, int]]:
    """Pool images that are copies of one in a role that must not be known: row → (that role, row of its image).

    `groups` (N,) of the pool and `test_groups` (M,) of the test images number the groups of copies. Of a group, the
    images in its strongest role may stay, those in any weaker one may not. For "test" the row is that of a test image.
    """
    leaks: dict[int, tuple[Role, int]] = {}
    for strongest in PRECEDENCE:
        holders = test_groups if strongest == "test" else groups[roles == strongest]
        rows = np.arange(len(test_groups)) if strongest == "test" else np.flatnonzero(roles == strongest)
        holder_of = dict(zip(holders.tolist(), rows.tolist(), strict=True))
        weaker = np.isin(groups, holders) & ~among(roles, PRECEDENCE[: PRECEDENCE.index(strongest) + 1])
        for row in np.flatnonzero(weaker).tolist():
            leaks.setdefault(row, (strongest, holder_of[int(groups[row])]))
    return leaks


def _all_differ(ids: pd.Series) -> bool:
    """Is every id, a text, there once? As `is_unique`, which of a million texts makes objects and takes 170 MB."""
    texts = pa.array(ids.array, pa.string())
    order = pc.sort_indices(texts)
    pairs = (texts.take(order[start : start + AT_A_TIME + 1]) for start in range(0, len(texts), AT_A_TIME))
    return not any(pc.any(pc.equal(part[1:], part[:-1])).as_py() for part in pairs)


@dataclass(frozen=True)
class Split:
    """The table of roles: one row per image with id, index (row in its own array), label and role.

    The label is UNLABELED wherever a stage has no business knowing it: unlabeled and test images.
    """

    table: pd.DataFrame

    def __post_init__(self) -> None:
        hidden = ~self.table["role"].isin(ROLES_WITH_LABELS)
        assert _all_differ(self.table["id"]), "an image has two roles"
        assert self.table["role"].isin(ROLES).all(), "a role is unknown"
        assert ((self.table["label"] == UNLABELED) == hidden).all(), (
            "a hidden label is in the table, or a known one is not"
        )

    @classmethod
    def build(
        cls, pool_ids: Sequence[str], labels: NDArray[np.int64], roles: NDArray[np.object_], test_ids: Sequence[str]
    ) -> "Split":
        """The table of pool images with labels (N,) and roles (N,), and of test images, whose labels stay unread.

        Pool images whose role is REMOVED are not in it.
        """
        known = among(roles, ROLES_WITH_LABELS)
        pool = pd.DataFrame(
            {
                "id": pool_ids,
                "index": np.arange(len(labels)),
                "label": np.where(known, labels, UNLABELED),
                "role": roles,
            }
        )
        pool = pool[pool["role"] != REMOVED]
        test = pd.DataFrame({"id": test_ids, "index": np.arange(len(test_ids)), "label": UNLABELED, "role": "test"})
        return cls(pd.concat([pool, test], ignore_index=True))

    @classmethod
    def read(cls, path: Path) -> "Split":
        """The table that :meth:`write` left."""
        return cls(pd.read_parquet(path))

    def write(self, path: Path) -> None:
        """Save as Parquet."""
        self.table.to_parquet(path, index=False)

    def ids(self, role: Role) -> list[str]:
        """Ids of a role's images, in table order."""
        return self.table.loc[self.table["role"] == role, "id"].tolist()

    def id_column(self, role: Role) -> ExtensionArray:
        """Ids of a role's images, in table order, not copied into a list: of a million images that takes 100 MB."""
        column: ExtensionArray = self.table.loc[self.table["role"] == role, "id"].array
        return column

    def indices(self, role: Role) -> Tensor:
        """int64 indices (n,) of a role's images: rows of the pool, or for "test" of the test images."""
        return torch.from_numpy(self.table.loc[self.table["role"] == role, "index"].to_numpy(np.int64).copy())

    def labels(self, role: Literal["labeled", "validation", "calibration"]) -> Tensor:
        """int64 labels (n,), in the order of :meth:`indices`."""
        assert role in ROLES_WITH_LABELS, f"the labels of {role} images are hidden"
        return torch.from_numpy(self.table.loc[self.table["role"] == role, "label"].to_numpy(np.int64).copy())
