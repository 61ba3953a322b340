"""Temperature scaling, and how far a confidence is from the accuracy that it promises."""

from math import exp, log
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Labels: TypeAlias = NDArray[np.integer[Any]]
Bools: TypeAlias = NDArray[np.bool_]

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
LOWEST_PROBABILITY = float(np.finfo(np.float32).tiny)
"""Stands for a probability of 0, as a vote of few members gives: its logarithm must stay finite."""
CONFIDENCE_LEVEL = 0.95


def fit_temperature(log_probabilities: Floats, labels: Labels) -> float:
    """T = argmin of the mean cross-entropy of softmax(log p / T) over [0.05, 20]; log p (N, C), labels (N,).

    The cross-entropy is convex in 1/T, so a bounded search over log T finds the one minimum. Where every image is
    right there is none: the smaller T, the better, and 0.05 is returned, which says that the images were too few or
    too easy, not that confidence should be 1. Logits do as well as logarithms of probabilities.

    Raises:
        ValueError: no images, differing lengths, a label outside [0, C), or NaN.
    Source: Guo et al. 2017, section 4.2.
    """
    logits = _finite_logits(log_probabilities)
    _check_labels(logits, labels)
    rows = np.arange(len(labels))

    def cross_entropy(log_temperature: float) -> float:
        scaled = logits / exp(log_temperature)
        return float((logsumexp(scaled, axis=1) - scaled[rows, labels]).mean())

    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    low, high = log(LOWEST_TEMPERATURE), log(HIGHEST_TEMPERATURE)
    found = minimize_scalar(cross_entropy, bounds=(low, high), method="bounded", options={"xatol": 1e-7})
    # The search comes near an end of the interval but never tries it.
    best = min((cross_entropy(low), low), (cross_entropy(high), high), (float(found.fun), float(found.x)))[1]
    return {low: LOWEST_TEMPERATURE, high: HIGHEST_TEMPERATURE}.get(best, exp(best))


def temper(log_probabilities: Floats, temperature: float) -> NDArray[np.float32]:
    """softmax(log p / T), float32 (N, C), of log p (N, C); the argmax of each row stays what it is.

    Raises:
        ValueError: temperature not above 0, or NaN.
    Source: Guo et al. 2017, section 4.2.
    """
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} is not above 0; 1 changes nothing")
    # Rows are short: torch reduces them several times as fast as numpy, and its own softmax is several times as slow.
    powers = (torch.from_numpy(_finite_logits(log_probabilities)) / temperature).exp_()
    probabilities: NDArray[np.float32] = powers.div_(powers.sum(dim=1, keepdim=True)).float().numpy()
    labels = log_probabilities.argmax(axis=1)
    # Rounding may draw level what was a hair apart; the label must not turn on that.
    level = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    probabilities[level, labels[level]] = np.nextafter(probabilities[level].max(axis=1), np.float32(1))
    return probabilities


def _finite_logits(log_probabilities: Floats) -> NDArray[np.float64]:
    """float64 with the largest of each row 0 and none below that of LOWEST_PROBABILITY."""
    if np.isnan(log_probabilities).any():
        raise ValueError("log_probabilities holds NaN; the model's weights are broken")
    logits = torch.from_numpy(np.asarray(log_probabilities, dtype=np.float64))
    finite: NDArray[np.float64] = (logits - logits.amax(dim=1, keepdim=True)).clamp(min=log(LOWEST_PROBABILITY)).numpy()
    return finite


def expected_calibration_error(confidence: Floats, correct: Bools, bins: int = 10) -> float:
    """Mean of |accuracy − mean confidence| over bins of equal width (a, b], weighted by their images.

    Source: Naeini et al. 2015; Guo et al. 2017, equation 3.
    """
    return _mean_gap(confidence, correct, _equal_width(confidence, bins), bins)


def adaptive_calibration_error(confidence: Floats, correct: Bools, bins: int = 10) -> float:
    """The same over bins of equally many images, which no crowd near 1 leaves empty; equal confidences share a bin.

    Source: Nixon et al. 2019, section 3.2, for the top label.
    """
    from scipy.stats import rankdata

    rank = rankdata(confidence, method="min").astype(np.int64) - 1
    return _mean_gap(confidence, correct, rank * bins // len(confidence), bins)


def negative_log_likelihood(probabilities: Floats, labels: Labels) -> float:
    """Mean of −log p of the true class, in nats; p (N, C) of 0 counts as float32's smallest normal number."""
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(true, LOWEST_PROBABILITY)).mean())


def brier_score(probabilities: Floats, labels: Labels) -> float:
    """Mean over the images of Σ_k (p_k − [k is the truth])², from 0 to 2; p (N, C), labels (N,).

    Source: Brier 1950.
    """
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities.astype(np.float64) - truth) ** 2).sum(axis=1).mean())


def measure(probabilities: Floats, labels: Labels) -> dict[str, Any]:
    """What there is to say of p (N, C) for images of known labels (N,), as plain JSON values.

    Keys: accuracy, confidence (its mean), ece, adaptive_ece, nll, brier, verdict. The verdict is "over-confident" or
    "under-confident" where the mean confidence lies outside the exact 95 % interval of the accuracy, else "neither".

    Raises:
        ValueError: no images, differing lengths, or a label outside [0, C).
    """
    _check_labels(probabilities, labels)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    mean = float(confidence.mean(dtype=np.float64))
    low, high = (float(end) for end in accuracy_ends(correct.sum(), len(correct)))
    verdict = "over-confident" if mean > high else "under-confident" if mean < low else "neither"
    return {
        "accuracy": float(correct.mean()),
        "confidence": mean,
        "ece": expected_calibration_error(confidence, correct),
        "adaptive_ece": adaptive_calibration_error(confidence, correct),
        "nll": negative_log_likelihood(probabilities, labels),
        "brier": brier_score(probabilities, labels),
        "verdict": verdict,
    }


def reliability(confidence: Floats, correct: Bools, bins: int = 10) -> pd.DataFrame:
    """One row per bin (low, high] of equal width: low, high, count, confidence (mean), accuracy and its exact ends.

    The last four (with accuracy_low and accuracy_high, 95 %) are NaN where a bin is empty.
    """
    index = _equal_width(confidence, bins)
    count = np.bincount(index, minlength=bins)
    right = np.bincount(index, weights=correct, minlength=bins)
    total = np.bincount(index, weights=confidence, minlength=bins)
    low, high = accuracy_ends(right, count)
    filled = np.where(count > 0, 1.0, np.nan)
    edges = np.arange(bins + 1) / bins
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "count": count,
            "confidence": total / np.maximum(count, 1) * filled,
            "accuracy": right / np.maximum(count, 1) * filled,
            "accuracy_low": low * filled,
            "accuracy_high": high * filled,
        }
    )


def accuracy_ends(right: Any, total: Any, level: float = CONFIDENCE_LEVEL) -> tuple[Floats, Floats]:
    """(low, high) of the exact two-sided interval of right / total, elementwise; 0 and 1 where total is 0.

    Source: Clopper & Pearson 1934.
    """
    right, total = np.asarray(right), np.asarray(total)
    side = (1 + level) / 2
    return 1 - error_bound(total - right, total, side), error_bound(right, total, side)


def error_bound(errors: Any, accepted: Any, level: float) -> Floats:
    """One-sided upper bound of the error rate, elementwise: above the truth with probability at least `level`.

    1 where nothing is accepted. Source: Clopper & Pearson 1934.
    """
    from scipy.special import betaincinv  # a sixth of a second of a command's start that most do not need

    errors, right = np.asarray(errors), np.asarray(accepted) - np.asarray(errors)
    bound: Floats = np.where(right > 0, betaincinv(errors + 1, np.maximum(right, 1), level), 1.0)
    return bound


def _equal_width(confidence: Floats, bins: int) -> NDArray[np.int64]:
    if len(confidence) == 0:
        raise ValueError("confidence is empty: there is nothing to measure")
    return np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)


def _mean_gap(confidence: Floats, correct: Bools, index: NDArray[np.int64], bins: int) -> float:
    gaps = np.bincount(index, weights=correct.astype(np.float64) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def _check_labels(table: Floats, labels: Labels) -> None:
    if len(labels) == 0 or len(labels) != len(table):
        raise ValueError(f"{len(labels)} labels for {len(table)} images; one each is needed, and at least one")
    if labels.min() < 0 or labels.max() >= table.shape[1]:
        raise ValueError(f"labels are {labels.min()}..{labels.max()}, outside [0, {table.shape[1]})")
