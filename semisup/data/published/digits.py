"""scikit-learn's digits: they come with the library, and the test split is drawn here."""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semisup.data.published import Arrays, Split

TEST_PER_CLASS = 50
TEST_SEED = 20240
"""Of its own: no config can move an image between pool and test split."""


def read_digits(split: Split) -> Arrays:
    """scikit-learn's 1,797 gray images of 8×8, their values 0..16 stretched to 0..255."""
    table = _table()
    images = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = table[:, 64].astype(np.int64)
    ids = [f"digits/{position:04d}" for position in range(len(labels))]
    in_test = _test_positions(ids, labels)
    chosen = [position for position in range(len(ids)) if (position in in_test) == (split == "test")]
    return Arrays(images[chosen], labels[chosen], tuple(ids[position] for position in chosen))


@cache
def _table() -> NDArray[np.float64]:
    """A row for each image: 64 values, label. Kept, as a pipeline asks ten times and it takes a tenth of a second."""
    table = np.loadtxt(_file(), delimiter=",")
    table.setflags(write=False)
    return table


def _file() -> Path:
    """The library's own file, found without importing the library, which would take a second."""
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _test_positions(ids: list[str], labels: NDArray[np.int64]) -> set[int]:
    """Fifty positions of each class, drawn by a hash: no library's random numbers promise to stay as they are."""

    def draw(position: int) -> bytes:
        return hashlib.sha256(f"{TEST_SEED}/{ids[position]}".encode()).digest()

    chosen: set[int] = set()
    for label in range(10):
        chosen.update(sorted(np.flatnonzero(labels == label).tolist(), key=draw)[:TEST_PER_CLASS])
    return chosen
