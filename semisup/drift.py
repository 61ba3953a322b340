"""Are new images like those that were known before, in the eyes of a model that has learnt from neither's labels?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, ks_2samp

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


def measure_drift(probabilities: NDArray[np.floating[Any]], new: NDArray[np.bool_]) -> Drift | None:
    """The drift of the images marked `new` (N,) against the others, by probabilities (N, C); None: too few of either.

    A drift in what is seen is not one in what is right: that needs labels. And where nothing is seen, much may differ.
    """
    if min(new.sum(), (~new).sum()) < FEWEST:
        return None
    confidence, labels = probabilities.max(axis=1), probabilities.argmax(axis=1)
    counts = np.stack([np.bincount(labels[side], minlength=probabilities.shape[1]) for side in (new, ~new)])
    shares = counts / counts.sum(axis=1, keepdims=True)
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
        log_probability_distance=_standardized(probabilities, new),
        p_value=min(1.0, 2 * min(float(of_confidence.pvalue), of_classes)),
    )


def _standardized(probabilities: NDArray[np.floating[Any]], new: NDArray[np.bool_]) -> float:
    logs = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
    deviation = logs[~new].std(axis=0)
    apart = logs[new].mean(axis=0) - logs[~new].mean(axis=0)
    there = deviation > 0
    return float(np.sqrt(np.mean((apart[there] / deviation[there]) ** 2))) if there.any() else 0.0
