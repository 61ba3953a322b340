"""Is an image of none of the classes? A score by labels and pool, and a threshold with a stated rate of errors."""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semisup.open_world.space import Floats, Labels, Space, distance_to_nearest, fit_space
from semisup.system.threads import one_thread

NEIGHBORS = 10
STRENGTH = 1.0
"""C of the logistic regression of labeled images against the pool."""
ROWS_AT_A_TIME = 4_096
NOT_AMONG_THEM = -1


@dataclass(frozen=True, eq=False)
class Detector:
    """Scores images by their neighbors in a part of the pool: an unknown class comes in numbers, and lies together.

    Attributes:
        space: where images are near each other.
        points: float32 (M, d), of the part of the pool that is known to it, the reference.
        scores: (M,), of each the mean over its neighbors of what speaks for an unknown class.
    """

    space: Space
    points: NDArray[np.float32]
    scores: Floats

    def __call__(self, features: Floats, places: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Scores (N,) of features (N, D), high for unknown classes; `places` (N,): rows of the reference that they are.

        Of an image that is not in the reference the place is NOT_AMONG_THEM. None is its own neighbor.
        """
        return _over_neighbors(self.space(features), self.points, self.scores, places)


@one_thread()
def fit_detector(labeled: Floats, labels: Labels, pool: Floats, seed: int) -> Detector:
    """The detector that labeled features (n, D) with labels (n,) and a part of the pool (M, D), M above 10, make.

    Two things speak for an unknown class: the distance to the nearest labeled images, in a space that is whitened
    within the classes, and a logistic regression that learns to tell the pool from the labeled images: where only the
    pool is, no label is. Both are scaled to the same spread, added, and averaged twice over the nearest images of the
    pool. Images that shall be judged as the pool's are have to be among it.

    Source: nearest neighbors for other classes: Sun et al. 2022; labeled against unlabeled: Elkan & Noto 2008.
    """
    from sklearn.linear_model import LogisticRegression

    space = fit_space(np.concatenate([labeled, pool]), labeled, labels, seed)
    known, points = space(labeled), space(pool)
    model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000)
    model.fit(np.concatenate([known, points]), np.repeat([0, 1], [len(known), len(points)]))
    raw = _standardized(distance_to_nearest(points, known)) + _standardized(model.decision_function(points))
    rows = np.arange(len(points))
    return Detector(space, points, _over_neighbors(points, points, raw, rows))


def held_out_scores(
    labeled: Floats,
    labels: Labels,
    pool: Floats,
    *,
    folds: int,
    rng: np.random.Generator,
    units: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Scores (n,) of labeled images, each by a detector that takes it for one of the pool's, without its label.

    Images of one unit, numbers (n,) from 0, are held out together.
    """
    units = np.arange(len(labeled)) if units is None else units
    fold, seed = (rng.permutation(int(units.max()) + 1) % folds)[units], int(rng.integers(2**31))
    scores = np.empty(len(labeled), np.float32)
    for number in range(folds):
        out = fold == number
        detector = fit_detector(labeled[~out], labels[~out], np.concatenate([labeled[out], pool]), seed)
        scores[out] = detector(labeled[out], np.arange(int(out.sum())))
    return scores


def threshold_of(held_out: Floats, false_alarms: float) -> float:
    """The least score that is called unknown: of images like those held out (n,), at most this share reaches it.

    Infinite where there are too few of them: with n images no share below 1 / (n + 1) can be promised.

    Source: split conformal prediction, Vovk et al. 2005.
    """
    place = ceil((len(held_out) + 1) * (1 - false_alarms))
    if place > len(held_out):
        return float("inf")
    return float(np.nextafter(np.sort(held_out)[place - 1].astype(np.float32), np.float32(np.inf)))


def share_at_least(flagged: int, images: int, held_out: int, false_alarms: float, level: float = 0.95) -> float:
    """Of how many of the pool's images it is shown that they are of none of the classes, as a share from 0 to 1.

    What is flagged beyond the false alarms is unknown; how many unknown images are not flagged nobody knows, so that
    there is no upper end. The threshold's own rate of false alarms is random: that of an order statistic among
    `held_out` images, Beta distributed. Both halves of 1 − level go to one of the two.

    Source: Clopper & Pearson 1934; order statistics as in Vovk 2012, proposition 2a.
    """
    from scipy.stats import beta

    place = ceil((held_out + 1) * (1 - false_alarms))
    if place > held_out or not flagged:
        return 0.0
    half = (1 - level) / 2
    rate = float(beta.ppf(1 - half, held_out + 1 - place, place))
    least = float(beta.ppf(half, flagged, images - flagged + 1))
    return max(0.0, (least - rate) / (1 - rate))


def _over_neighbors(
    points: NDArray[np.float32], reference: NDArray[np.float32], values: Floats, places: NDArray[np.int64] | None
) -> NDArray[np.float32]:
    """Mean (N,) of the values (M,) of the NEIGHBORS nearest of the reference, (M, d), weighted by their cosine."""
    found = np.empty(len(points), np.float32)
    for start in range(0, len(points), ROWS_AT_A_TIME):
        cosines = points[start : start + ROWS_AT_A_TIME] @ reference.T
        if places is not None:
            own = places[start : start + ROWS_AT_A_TIME]
            there = np.flatnonzero(own != NOT_AMONG_THEM)
            cosines[there, own[there]] = -2
        count = min(NEIGHBORS, len(reference) - 1)
        nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        weights = np.maximum(np.take_along_axis(cosines, nearest, axis=1), 1e-3)
        found[start : start + ROWS_AT_A_TIME] = (weights * values[nearest]).sum(axis=1) / weights.sum(axis=1)
    return found


def _standardized(values: Any) -> Floats:
    centered: Floats = np.asarray(values, np.float64) - np.mean(values)
    return centered / max(float(centered.std()), 1e-12)
