"""scikit-learn's digits: they come with the library, and the test split is drawn here."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from semisup.data.published import Arrays, Split

TEST_PER_CLASS = 50
TEST_SEED = 20240
"""Of its own: no config can move an image between pool and test split."""


def read_digits(split: Split) -> Arrays:
    """scikit-learn's 1,797 grey images of 8×8, their values 0..16 stretched to 0..255."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    ids = [f"digits/{position:04d}" for position in range(len(labels))]
    in_test = _test_positions(ids, labels)
    chosen = [position for position in range(len(ids)) if (position in in_test) == (split == "test")]
    return Arrays(images[chosen], labels[chosen], tuple(ids[position] for position in chosen))


def _test_positions(ids: list[str], labels: NDArray[np.int64]) -> set[int]:
    """Fifty positions of each class, drawn by a hash: no library's random numbers promise to stay as they are."""

    def draw(position: int) -> bytes:
        return hashlib.sha256(f"{TEST_SEED}/{ids[position]}".encode()).digest()

    chosen: set[int] = set()
    for label in range(10):
        chosen.update(sorted(np.flatnonzero(labels == label).tolist(), key=draw)[:TEST_PER_CLASS])
    return chosen
