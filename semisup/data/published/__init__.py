"""Readers of published data sets, a module for each kind of file."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "test"]


class Arrays(NamedTuple):
    """What the files hold, in the official order."""

    images: NDArray[np.uint8]
    """(N, C, H, W)."""
    labels: NDArray[np.integer]
    """(N,)."""
    ids: tuple[str, ...]


def numbered(split: Split, count: int) -> tuple[str, ...]:
    """Ids of images that have no name but their position in the official order."""
    return tuple(f"{split}/{position:05d}" for position in range(count))
