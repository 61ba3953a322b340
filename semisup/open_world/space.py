"""Features in which classes that labels tell apart lie apart, and how far images are from the labeled ones there."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semisup.system.threads import one_thread

Floats: TypeAlias = NDArray[np.floating[Any]]
Labels: TypeAlias = NDArray[np.integer[Any]]
DIMENSIONS = 128
SHRINKAGE = 0.5
"""How much of the covariance within the classes gives way to a multiple of the identity: labels are few."""
NEAREST = 3
ROWS_AT_A_TIME = 4_096


@dataclass(frozen=True, eq=False)
class Space:
    """Square roots of features, their principal components, whitened within the classes, scaled to length 1.

    Attributes:
        mean: (D,), of the rooted features.
        projection: (D, d).
    """

    mean: Floats
    projection: Floats

    def __call__(self, features: Floats) -> NDArray[np.float32]:
        """float32 (N, d) of features (N, D)."""
        return unit_length((_rooted(features) - self.mean) @ self.projection)


@one_thread()
def fit_space(features: Floats, labeled: Floats, labels: Labels, seed: int) -> Space:
    """The space whose components are those of features (M, D), whitened by labeled features (n, D) of labels (n,).

    Raises:
        ValueError: a feature is NaN or infinite.
    Source: whitening within the classes as in Fisher's discriminant analysis, shrunk as by Friedman 1989.
    """
    from sklearn.decomposition import PCA

    if not (np.isfinite(features).all() and np.isfinite(labeled).all()):
        raise ValueError("features hold NaN or infinity; the model's weights are broken")
    rooted = _rooted(features)
    mean = rooted.mean(axis=0)
    kept = max(min(DIMENSIONS, len(features) - 1, features.shape[1]), 1)
    model = PCA(kept, svd_solver="randomized", random_state=seed).fit(rooted)
    components = model.components_.T
    points = (_rooted(labeled) - mean) @ components
    _, places = np.unique(labels, return_inverse=True)
    sums = np.zeros((places.max() + 1, kept), points.dtype)
    np.add.at(sums, places, points)
    within = points - (sums / np.bincount(places)[:, None])[places]
    covariance = within.T @ within / len(within)
    size = float(np.trace(covariance)) / kept
    if size <= np.finfo(np.float32).tiny:  # a label a class says nothing of how a class varies
        return Space(mean, components)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * size * np.eye(kept, dtype=covariance.dtype)
    values, vectors = np.linalg.eigh(shrunk)
    return Space(mean, (components @ (vectors / np.sqrt(values))).astype(np.float32))


def distance_to_nearest(points: Floats, labeled: Floats) -> NDArray[np.float32]:
    """Mean of 1 − cosine to the NEAREST nearest of labeled points (n, d), (N,), of points (N, d) of length 1."""
    count = min(NEAREST, len(labeled))
    found = np.empty(len(points), np.float32)
    for start in range(0, len(points), ROWS_AT_A_TIME):
        cosines = points[start : start + ROWS_AT_A_TIME] @ labeled.T
        nearest = np.partition(cosines, len(labeled) - count, axis=1)[:, -count:]
        found[start : start + ROWS_AT_A_TIME] = 1 - nearest.mean(axis=1)
    return found


def unit_length(rows: Floats) -> NDArray[np.float32]:
    """Each row (N, d) divided by its length; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled


def _rooted(features: Floats) -> NDArray[np.float32]:
    """Signed square roots, rows scaled to length 1: few large features would decide every cosine."""
    return unit_length(np.sign(features) * np.sqrt(np.abs(features)))
