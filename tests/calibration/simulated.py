"""Simulated models: how sure they are of an image of rank u in confidence, and how often they are right there."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
World: TypeAlias = Callable[[Array], tuple[Array, Array]]
"""(confidence, probability to be right) of images; u, uniform in [0, 1], ranks them, the surest first."""
SPLITS = 200
"""Draws of calibration images and a pool, of each world."""


def honest(u: Array) -> tuple[Array, Array]:
    """Errors come as often as the confidence says."""
    return 1 - 0.2 * u**2, 1 - 0.2 * u**2


def over_confident(u: Array) -> tuple[Array, Array]:
    """Five times as many errors as the confidence says."""
    return 1 - 0.04 * u**2, 1 - 0.2 * u**2


def cliff(u: Array) -> tuple[Array, Array]:
    """Nearly always right up to the most confident 60 %, then never, and the confidence hardly moves."""
    return 1 - 0.02 * u, np.where(u < 0.6, 0.999, 0.0)


def seen_cliff(u: Array) -> tuple[Array, Array]:
    """The same, but the confidence falls to 90 % there."""
    return np.where(u < 0.6, 1 - 0.02 * u, 0.9 - 0.02 * u), np.where(u < 0.6, 0.999, 0.0)


def tight(u: Array) -> tuple[Array, Array]:
    """The precision of every share lies a hair below the target: whatever is certified is false."""
    return 1 - 0.05 * u, np.full_like(u, 0.9499)
