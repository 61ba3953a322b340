"""What the test rows say: MAE, RMSE and R² with intervals, and the paired comparison of two models."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy.stats import bootstrap

from semisup.evaluation.scores import CONFIDENCE_LEVEL, Interval
from semisup.regression.rows import FloatArray
from semisup.system.randomness import numpy_generator

Figure: TypeAlias = Literal["mae", "rmse", "r2"]

RESAMPLES = 9_999
FEWEST_TEST_ROWS = 10  # with fewer, a resample may hold one value alone, and R² no meaning


def mean_absolute_error(truth: FloatArray, predicted: FloatArray, axis: int = -1) -> FloatArray:
    """MAE along an axis, in the target's units."""
    return np.asarray(np.abs(truth - predicted).mean(axis=axis))


def root_mean_squared_error(truth: FloatArray, predicted: FloatArray, axis: int = -1) -> FloatArray:
    """RMSE along an axis, in the target's units."""
    return np.asarray(np.sqrt(((truth - predicted) ** 2).mean(axis=axis)))


def r_squared(truth: FloatArray, predicted: FloatArray, axis: int = -1) -> FloatArray:
    """R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)² along an axis; 0 is what the mean of these very rows would reach."""
    spread = ((truth - truth.mean(axis=axis, keepdims=True)) ** 2).sum(axis=axis)
    return np.asarray(1 - ((truth - predicted) ** 2).sum(axis=axis) / spread)


STATISTICS: Mapping[Figure, Callable[..., FloatArray]] = {
    "mae": mean_absolute_error,
    "rmse": root_mean_squared_error,
    "r2": r_squared,
}


def score(truth: FloatArray, predicted: FloatArray, seed: int) -> dict[Figure, Interval]:
    """MAE, RMSE and R² of predictions (N,) of truth (N,), each with its 95 % bootstrap interval.

    Whole rows are drawn with replacement, truth and prediction together, and the interval is that of the percentiles.
    Equal seeds draw the same rows for any model. What the interval holds is the draw of the test rows, not of the
    training.

    Raises:
        ValueError: fewer than 10 rows, differing lengths, or all of the truth alike.
    Source: Efron & Tibshirani 1993, chapter 13.
    """
    _check(truth, predicted)
    return {name: _interval(statistic, truth, predicted, seed) for name, statistic in STATISTICS.items()}


def mae_difference(truth: FloatArray, first: FloatArray, second: FloatArray, seed: int) -> Interval:
    """MAE of the second model minus that of the first on the same rows, with its 95 % paired bootstrap interval.

    Below 0 the second is better. Rows are drawn with the errors of both models together, as in :func:`score`, whose
    errors it raises.
    """
    _check(truth, first)
    _check(truth, second)

    def difference(ours: FloatArray, theirs: FloatArray, axis: int = -1) -> FloatArray:
        return np.asarray(theirs.mean(axis=axis) - ours.mean(axis=axis))

    return _interval(difference, np.abs(truth - first), np.abs(truth - second), seed)


def evaluate_regression(truth: FloatArray, predictions: Mapping[str, FloatArray], seed: int) -> dict[str, Any]:
    """Everything that is said about the models on the test rows, as plain JSON values.

    `predictions` are those of "network" and of those it is held against. Keys: total, confidence_level, resamples;
    models: name → figure → {estimate, low, high}; differences: name of another model → {estimate, low, high} of the
    network's MAE minus its own, and a verdict, which follows the interval alone.

    Raises:
        ValueError: as in :func:`score`.
    """
    return {
        "total": len(truth),
        "confidence_level": CONFIDENCE_LEVEL,
        "resamples": RESAMPLES,
        "models": {
            name: {figure: asdict(interval) for figure, interval in score(truth, predicted, seed).items()}
            for name, predicted in predictions.items()
        },
        "differences": {
            name: _compared(name, mae_difference(truth, predicted, predictions["network"], seed))
            for name, predicted in predictions.items()
            if name != "network"
        },
    }


def _compared(other: str, difference: Interval) -> dict[str, Any]:
    verdict = "no difference shown"
    if difference.high < 0:
        verdict = "network better"
    elif difference.low > 0:
        verdict = f"{other} better"
    return {**asdict(difference), "verdict": verdict}


def _interval(statistic: Callable[..., FloatArray], first: FloatArray, second: FloatArray, seed: int) -> Interval:
    found = bootstrap(
        (first, second),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE_LEVEL,
        method="percentile",
        random_state=numpy_generator(seed, "bootstrap"),  # scipy 1.14 does not know its newer name, rng
    ).confidence_interval
    return Interval(float(statistic(first, second)), float(found.low), float(found.high))


def _check(truth: FloatArray, predicted: FloatArray) -> None:
    if len(truth) < FEWEST_TEST_ROWS:
        raise ValueError(f"{len(truth)} rows are too few for an interval; use at least {FEWEST_TEST_ROWS}")
    if truth.ndim != 1 or predicted.shape != truth.shape:
        raise ValueError(f"predictions have shape {predicted.shape}, but the truth has shape {truth.shape}")
    if np.ptp(truth) == 0:
        raise ValueError(f"all targets are {truth[0]}: R² has no meaning")
