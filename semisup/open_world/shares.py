"""Which share of a pool each class has, from a classifier's predictions and a few held-out images with labels."""

from dataclasses import dataclass
from math import log
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semisup.system.threads import one_thread

Floats: TypeAlias = NDArray[np.floating[Any]]
Labels: TypeAlias = NDArray[np.integer[Any]]
LOWEST_PROBABILITY = 1e-30
"""Stands for 0, whose logarithm would not be finite."""
BIAS_PRECISION, SCALE_PRECISION = 0.3, 0.1
"""Of the normal priors of the biases and of log 1/T: with five images a class, they hold what chance would decide."""
RESAMPLES = 100
LEVEL = 0.95
PSEUDO_IMAGES = 1.0
"""Of each class, beside the images of the pool. A share of 0 would forbid the class, and no pool shows that there is
not one image of it. What it costs in a pool of hundreds is in docs/results/methods.md."""
MOST_STEPS, SETTLED = 1_000, 1e-6
"""Of the EM algorithm, which ends where the shares move by less in all."""


@dataclass(frozen=True, eq=False)
class Shares:
    """Estimated shares of C classes in a pool, each with its interval."""

    estimate: NDArray[np.float64]
    """(C,), of sum 1."""
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    """Ends of the 95 % intervals, (C,), of each class for itself."""
    held_out: int
    """Images with labels behind it."""
    pool: int
    """Images of the pool behind it."""

    def shown(self, label: int) -> str:
        """A class's share and its interval, such as "31.0% (27.1% to 34.8%)"."""
        return f"{self.estimate[label]:.1%} ({self.low[label]:.1%} to {self.high[label]:.1%})"

    def far_from(self, shares: Floats, distance: float) -> int | None:
        """The class whose share (C,) is furthest from the estimate, where the shares are far from it; else None.

        Far: the total variation distance exceeds `distance`, and the share of some class is outside its interval.
        """
        outside = (shares < self.low) | (shares > self.high)
        if np.abs(shares - self.estimate).sum() / 2 <= distance or not outside.any():
            return None
        return int(np.where(outside, np.abs(shares - self.estimate), -1.0).argmax())


def estimate_shares(held_out: Floats, labels: Labels, pool: Floats, rng: np.random.Generator) -> Shares:
    """Class shares of a pool with log-probabilities (N, C), by n held-out images with log-probabilities and labels.

    Held-out images calibrate the predictions, with a temperature and a bias for each class. The shares are then those
    under which the calibrated predictions are likeliest, by EM, with one image more of each class: none is below
    1 / (N + C). Held-out images may have other shares than the pool; within a class they have to be like it, and that
    is not tested here. The intervals are percentiles of a bootstrap over both samples, with these images and without
    (the wider end counts), and rather too narrow (`benchmarks/pools/long_tails.py`). They know nothing of classes that
    nobody has labeled, nor of a classifier that learned from the pool: it is surer of these images than of held-out
    ones, and its own mistakes look like shares. A class that it hardly ever predicts gets next to no share and a narrow
    interval, even where it is frequent.

    Raises:
        ValueError: there are no held-out images, or no pool.
    Source: Saerens et al. 2002 (Neural Computation 14), section 2.2 (EM); Alexandari et al. 2020 (arXiv 1901.06852),
    bias-corrected temperature scaling. The inverted confusion matrix of Lipton et al. 2018 (BBSE, arXiv 1802.03916)
    knows less: on digits and MNIST with long tails its estimates were further from the truth in the mean.
    """
    if not (len(held_out) and len(pool)):
        raise ValueError(f"{len(held_out)} held-out images and {len(pool)} of the pool; some of both are needed")
    held_out, pool = (np.maximum(table.astype(np.float64), log(LOWEST_PROBABILITY)) for table in (held_out, pool))
    estimate = _with_and_without(held_out, labels, pool)[0]
    found = np.empty((RESAMPLES, 2, pool.shape[1]))
    for both in found:
        again, of_pool = (rng.integers(count, size=count) for count in (len(held_out), len(pool)))
        both[:] = _with_and_without(held_out[again], labels[again], pool[of_pool])
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    low, high = np.minimum(low.min(axis=0), estimate), np.maximum(high.max(axis=0), estimate)
    return Shares(estimate, low, high, len(held_out), len(pool))


def _with_and_without(held_out: Floats, labels: Labels, pool: Floats) -> NDArray[np.float64]:
    """Shares (2, C) with pseudo-images and without."""
    scale, biases = fit_biases(held_out, labels)
    num_classes = pool.shape[1]
    # Half an image more of each class: of one without any, nothing would say that it can be there.
    counts = np.bincount(labels, minlength=num_classes) + 0.5
    calibrated, source = _softmax(pool * scale + biases), counts / counts.sum()
    likeliest = em_shares(calibrated, source)
    return np.stack([likeliest, em_shares(calibrated, source, 0.0, likeliest)])


@one_thread()
def fit_biases(log_probabilities: Floats, labels: Labels) -> tuple[float, NDArray[np.float64]]:
    """(1/T, b (C,)) by which softmax(log p / T + b) explains labels (n,) best, for log p (n, C), under weak priors.

    It is the maximum a posteriori, with log 1/T and each b normal around 0.
    """
    from scipy.optimize import minimize

    rows = np.arange(len(labels))

    def cost(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scale, biases = np.exp(values[0]), values[1:]
        errors = _softmax(log_probabilities * scale + biases)
        loss = -np.log(np.maximum(errors[rows, labels], LOWEST_PROBABILITY)).sum()
        loss += (SCALE_PRECISION * values[0] ** 2 + BIAS_PRECISION * (biases**2).sum()) / 2
        errors[rows, labels] -= 1
        of_scale = (errors * log_probabilities).sum() * scale + SCALE_PRECISION * values[0]
        return loss, np.concatenate([[of_scale], errors.sum(axis=0) + BIAS_PRECISION * biases])

    found = minimize(cost, np.zeros(1 + log_probabilities.shape[1]), jac=True, method="L-BFGS-B").x
    return float(np.exp(found[0])), found[1:]


def em_shares(
    probabilities: Floats, source: Floats, pseudo_images: float = PSEUDO_IMAGES, start: Floats | None = None
) -> NDArray[np.float64]:
    """The likeliest class shares (C,) of images whose probabilities (N, C) are right where the shares are `source`.

    From `start` (None: `source`) on: π_k ← (Σ_i r_ik + a) / (N + a·C), where r_ik is p_ik · π_k / source_k, divided by
    its sum over k. It is the maximum a posteriori with a Dirichlet prior of parameters 1 + a; a is `pseudo_images`.

    Source: Saerens et al. 2002, section 2.2 (without a prior: a = 0).
    """
    shares = np.asarray(source if start is None else start, dtype=np.float64)
    total = len(probabilities) + pseudo_images * len(shares)
    for _ in range(MOST_STEPS):
        weighted = probabilities * (shares / source)
        counts = (weighted / weighted.sum(axis=1, keepdims=True)).sum(axis=0)
        after: NDArray[np.float64] = (counts + pseudo_images) / total
        if np.abs(after - shares).sum() < SETTLED:
            return after
        shares = after
    return shares


def _softmax(logits: Floats) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)
