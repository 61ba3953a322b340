"""Digits of which few have a label, as vectors and as images, in sizes that take a moment."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

CLASSES = 4


@dataclass(frozen=True)
class Digits:
    """The first four digits: 8×8 values of 0 to 16, as scikit-learn has them."""

    vectors: NDArray[np.float64]
    """(N, 64)."""
    truth: NDArray[np.int64]
    """(N,)."""
    partly: NDArray[np.int64]
    """(N,), -1 but for eight of each class."""

    @property
    def images(self) -> NDArray[np.uint8]:
        """(N, 8, 8)."""
        return np.round(self.vectors.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)


@pytest.fixture(scope="session")
def digits() -> Digits:
    vectors, truth = load_digits(n_class=CLASSES, return_X_y=True)
    vectors, truth = vectors[:240], truth[:240].astype(np.int64)
    partly = np.full_like(truth, -1)
    for label in range(CLASSES):
        known = np.flatnonzero(truth == label)[:8]
        partly[known] = label
    return Digits(vectors, truth, partly)
