"""Are new images like those that were known before, in the eyes of a model that has learned from neither's labels?"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEWEST = 20
"""Images on either side; fewer show no drift that one could tell from chance."""
SIGNIFICANCE_LEVEL = 0.01


@dataclass(frozen=True)
class Drift:
    """How far a model's answers for new images are from those for known ones."""

    new: int
    known: int
    new_confidence: float
    """Mean, as is `known_confidence`."""
    known_confidence: float
    confidence_distance: float
    """Largest difference of the two distributions of confidence, in [0, 1] (Kolmogorov and Smirnov)."""
    class_distance: float
    """Total variation of the shares of predicted classes, in [0, 1]: what share would have to be another class."""
    log_probability_distance: float
    """Root mean square over the classes of the difference of mean log-probabilities, in their standard deviations."""
    p_value: float
    """That one of the first two distances is as large by chance; corrected for asking twice."""

    def beyond(self, limit: float) -> bool:
        """Is one of the first two distances larger than this, and more than chance?"""
        return max(self.confidence_distance, self.class_distance) > limit and self.p_value < SIGNIFICANCE_LEVEL


def measure_drift(tables: Iterable[NDArray[np.floating[Any]]], new: NDArray[np.bool_]) -> Drift | None:
    """The drift of the images marked `new` (N,) against the others; None: too few of either.

    `tables` are probabilities (n, C) of all N images, part by part. A drift in what is seen is not one in what is
    right: that needs labels. And where nothing is seen, much may differ.
    """
    if min(new.sum(), (~new).sum()) < FEWEST:
        return None
    confidences, classes, start = [], [], 0
    moments = {True: _Moments(), False: _Moments()}
    for probabilities in tables:
        of_part = new[start : start + len(probabilities)]
        start += len(probabilities)
        confidences.append(probabilities.max(axis=1))
        classes.append(probabilities.argmax(axis=1))
        logs = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
        for side, of_side in moments.items():
            of_side.add(logs[of_part == side])
    confidence, labels = np.concatenate(confidences), np.concatenate(classes)
    counts = np.stack([np.bincount(labels[side], minlength=probabilities.shape[1]) for side in (new, ~new)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    from scipy.stats import chi2_contingency, ks_2samp

    of_confidence = ks_2samp(confidence[new], confidence[~new], method="asymp")
    seen = counts[:, counts.sum(axis=0) > 0]
    of_classes = float(chi2_contingency(seen).pvalue) if seen.shape[1] > 1 else 1.0
    return Drift(
        new=int(new.sum()),
        known=int((~new).sum()),
        new_confidence=float(confidence[new].mean()),
        known_confidence=float(confidence[~new].mean()),
        confidence_distance=float(of_confidence.statistic),
        class_distance=float(np.abs(shares[0] - shares[1]).sum() / 2),
        log_probability_distance=_standardized(moments[True], moments[False]),
        p_value=min(1.0, 2 * min(float(of_confidence.pvalue), of_classes)),
    )


@dataclass
class _Moments:
    """Mean and variance (C,) of rows that come part by part; parts are put together as by Chan et al. 1979."""

    count: int = 0
    mean: NDArray[np.float64] | float = 0.0
    squares: NDArray[np.float64] | float = 0.0
    """Sum of squared differences from the mean."""

    def add(self, rows: NDArray[np.float64]) -> None:
        if not len(rows):
            return
        count, mean = self.count + len(rows), rows.mean(axis=0)
        apart = mean - self.mean
        self.squares = self.squares + ((rows - mean) ** 2).sum(axis=0) + apart**2 * (self.count * len(rows) / count)
        self.mean, self.count = self.mean + apart * (len(rows) / count), count


def _standardized(new: _Moments, known: _Moments) -> float:
    deviation = np.sqrt(np.asarray(known.squares) / known.count)
    apart = np.asarray(new.mean) - np.asarray(known.mean)
    there = deviation > 1e-12
    return float(np.sqrt(np.mean((apart[there] / deviation[there]) ** 2))) if there.any() else 0.0
