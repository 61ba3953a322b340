"""May a student learn from these pseudo-labels? Images whose labels are known say beforehand how many are right."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semisup.evaluation.scores import Interval, accuracy_interval


@dataclass(frozen=True)
class Expected:
    """How right accepted pseudo-labels are by the judges: images with a known label, which the teacher labels as well.

    It has learned from none of them. But they may have chosen the epoch whose weights it has, and are then a little
    too kind; and they are drawn by class, which the pool may not be.
    """

    judges: int
    """Images that were asked."""
    accepted: int
    """Judges whose label by the teacher would be accepted."""
    right: int
    """Of these."""

    @classmethod
    def of(cls, labels: NDArray[np.int64], accepted: NDArray[np.bool_], truth: NDArray[np.int64]) -> "Expected":
        """By the teacher's labels (n,) of n judges, which of them would be accepted, and their true labels (n,)."""
        return cls(len(labels), int(accepted.sum()), int((labels == truth)[accepted].sum()))

    @property
    def precision(self) -> Interval | None:
        """Share that is right, with its 95 % interval; None where no judge's label is accepted."""
        return accuracy_interval(self.right, self.accepted) if self.accepted else None

    def are_too_few(self, least: float) -> bool:
        """Is the share that is right shown to be below `least`: is the whole interval?"""
        return self.precision is not None and self.precision.high < least
