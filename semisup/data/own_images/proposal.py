"""How many labels a config for a folder should use, by what is in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from semisup.data.roles.seats import validation_seats
from semisup.errors import UserError

MOST_VALIDATION = 50


@dataclass(frozen=True)
class SplitProposal:
    """The keys of the section `split`."""

    labeled_per_class: int | Literal["all"]
    validation_per_class: int


def propose_split(
    images: Sequence[int], *, unlabeled: int, named_validation: bool, validates: bool = True
) -> SplitProposal:
    """What suits classes with so many images to learn from, each at least one.

    A quarter of the labels of the usual class validate; rare classes give fewer. Where some images are `unlabeled`,
    all other labels are learned from. Where none are, some labels have to be hidden: at most half of them. Without
    `validates`, no image is held out of training at all.

    Raises:
        UserError: there is no image without a label, and no label that could be hidden.
    """
    validation = min(max(round(median(images) / 4), 1), MOST_VALIDATION) if validates else 0
    if unlabeled:
        return SplitProposal("all", validation)
    left = [
        count - (0 if named_validation or not validates else validation_seats(validation, None, count))
        for count in images
    ]
    if max(left) < 2:
        raise UserError(
            "every image has a label, and no class has images enough to hide the labels of some; put images into "
            "unlabeled/, or add some to the classes"
        )
    labeled = next(labeled for labeled in range(1, max(left)) if 2 * _used(left, labeled) >= sum(left))
    return SplitProposal(labeled, validation)


def _used(left: Sequence[int], labeled: int) -> int:
    return sum(min(count, labeled) for count in left)
