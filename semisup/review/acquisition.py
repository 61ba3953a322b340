"""Which unlabeled images are most worth a label: doubtful ones, and not fifty copies of one doubtful case."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Method: TypeAlias = Literal["clusters", "spread", "gradients"]

TEACHER, ENSEMBLE, FLIPS = 0.5, 0.5, 0.5
"""What full disagreement of student and teacher, of an ensemble's members, and between all rounds counts beside full
doubt of the student, which counts 1. Set beforehand, not tuned."""
LARGEST_DEVIATION = 0.5
"""Of numbers in [0, 1]."""
ITERATIONS = 20
CHUNK = 8192


@dataclass(frozen=True)
class Signals:
    """What speaks for a look at each of N images; all within [0, 1]."""

    doubt: Floats
    """(N,) 1 - the margin between the student's two likeliest classes."""
    teacher_differs: NDArray[np.bool_]
    """(N,) The teacher's label is another than the student's."""
    disagreement: Floats
    """(N,) Of an ensemble's members, 1 for the largest that can be; 0 where there was no ensemble."""
    flips: Floats
    """(N,) Share of the later rounds in which the label changed; 0 where there was one round."""

    @property
    def worth(self) -> Floats:
        """(N,) Their weighted sum."""
        weighted: Floats = (
            self.doubt + TEACHER * self.teacher_differs + ENSEMBLE * self.disagreement + FLIPS * self.flips
        ).astype(np.float32)
        return weighted


def doubt(probabilities: Floats) -> Floats:
    """1 - (largest - second largest probability), (N,), of probabilities (N, C)."""
    two = np.partition(probabilities, -2, axis=1)[:, -2:]
    doubts: Floats = (1 - (two[:, 1] - two[:, 0])).astype(np.float32)
    return doubts


def choose_batch(
    worth: Floats, features: Floats, probabilities: Floats, budget: int, *, rng: np.random.Generator, method: Method
) -> NDArray[np.int64]:
    """Rows of at most `budget` different images, of N with worth (N,), features (N, D) and probabilities (N, C).

    "clusters": weighted k-means of the features, weights the worth, and of each cluster the worthiest of those near its
    center; the largest sum of worth first. "spread": D² sampling times worth, greedily. "gradients": D² sampling among
    the gradients of the last layer, (p - onehot(argmax p)) ⊗ features, whose length is the doubt; worth is not asked.

    Sources: Zhdanov 2019 (weighted k-means); Arthur & Vassilvitskii 2007 (D² sampling); Ash et al. 2020 (BADGE).
    """
    budget = min(budget, len(worth))
    if budget == len(worth):
        return np.argsort(-worth, kind="stable")
    match method:
        case "clusters":
            return _clusters(worth, unit_length(features), budget, rng)
        case "spread":
            return _sampled(np.ones((len(worth), 1), np.float32), unit_length(features), worth, budget, rng)
        case "gradients":
            errors = probabilities.copy()
            errors[np.arange(len(errors)), errors.argmax(axis=1)] -= 1
            return _sampled(errors, features, np.ones_like(worth), budget, rng)
        case _:
            assert_never(method)


def unit_length(features: Floats) -> Floats:
    """Each row (N, D) divided by its length: what an image shows, not how strongly."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    scaled: Floats = (features / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled


def _sampled(left: Floats, right: Floats, weights: Floats, budget: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows drawn one after another by weight times squared distance to the nearest one drawn.

    Points are the outer products left (N, A) ⊗ right (N, B), which are never made: their scalar products are those of
    their factors.
    """
    squares = (left**2).sum(axis=1) * (right**2).sum(axis=1)
    chosen = [int(np.argmax(weights * squares))]
    nearest = np.full(len(weights), np.inf)
    while len(chosen) < budget:
        last = chosen[-1]
        products = (left @ left[last]) * (right @ right[last])
        nearest = np.minimum(nearest, np.maximum(squares + squares[last] - 2 * products, 0))
        chance = (weights * nearest).astype(np.float64)
        chance[chosen] = 0
        if chance.sum() <= 0:  # only copies of what is chosen are left
            chance = np.ones(len(weights))
            chance[chosen] = 0
        chosen.append(int(rng.choice(len(weights), p=chance / chance.sum())))
    return np.array(chosen, dtype=np.int64)


def _clusters(worth: Floats, features: Floats, budget: int, rng: np.random.Generator) -> NDArray[np.int64]:
    weights = np.maximum(worth, 1e-6).astype(np.float32)
    ones = np.ones((len(worth), 1), np.float32)
    centers = features[_sampled(ones, features, weights, budget, rng)]
    for _ in range(ITERATIONS):
        assigned, _ = _nearest(features, centers)
        sums = np.zeros_like(centers)
        np.add.at(sums, assigned, weights[:, None] * features)
        mass = np.bincount(assigned, weights, minlength=budget).astype(np.float32)
        moved = np.where(mass[:, None] > 0, sums / np.maximum(mass, 1e-12)[:, None], centers)
        if np.allclose(moved, centers, atol=1e-5):
            break
        centers = moved
    assigned, distances = _nearest(features, centers)
    chosen = []
    for cluster in np.argsort(-np.bincount(assigned, weights, minlength=budget), kind="stable"):
        members = np.flatnonzero(assigned == cluster)
        if len(members):
            typical = distances[members] <= np.median(distances[members])
            chosen.append(int(members[typical][np.argmax(worth[members[typical]])]))
    left = np.setdiff1d(np.arange(len(worth)), chosen)  # empty clusters leave seats
    chosen += left[np.argsort(-worth[left], kind="stable")].tolist()[: budget - len(chosen)]
    return np.array(chosen, dtype=np.int64)


def _nearest(features: Floats, centers: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Of each row (N, D) the nearest center, and the squared distance to it."""
    assigned, distances = np.empty(len(features), np.int64), np.empty(len(features), np.float32)
    offsets = (centers**2).sum(axis=1)
    for start in range(0, len(features), CHUNK):
        part = features[start : start + CHUNK]
        table = offsets - 2 * (part @ centers.T)
        assigned[start : start + CHUNK] = table.argmin(axis=1)
        distances[start : start + CHUNK] = table.min(axis=1) + (part**2).sum(axis=1)
    return assigned, distances
