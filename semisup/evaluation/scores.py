"""What a test set can and cannot say: intervals, per-class figures and the paired comparison of two models.

Plain numpy in, frozen dataclasses out. Labels are integers in [0, num_classes); every rate is a fraction in [0, 1].
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Labels: TypeAlias = NDArray[np.integer[Any]]

CONFIDENCE_LEVEL = 0.95
SIGNIFICANCE_LEVEL = 0.05


@dataclass(frozen=True)
class Interval:
    """An estimate with the two ends of its confidence interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class PerClass:
    """One figure per class: precision, recall and F1 float64 (C,), support (images of that class) int64 (C,)."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]


@dataclass(frozen=True)
class McNemar:
    """The images on which two models differ, and how surprising their split would be between equal models."""

    only_first_right: int
    only_second_right: int
    p_value: float


def renumbered(labels: Labels, classes: Sequence[str], now: Sequence[str]) -> NDArray[np.int64]:
    """Labels that count `classes` as the same names count in `now`, and −1 where a name is not among those.

    A class that is added to one's own images moves the numbers of those behind it; names stay.
    """
    place = {name: number for number, name in enumerate(now)}
    return np.array([place.get(name, -1) for name in classes], dtype=np.int64)[labels]


def accuracy_interval(correct: int, total: int, level: float = CONFIDENCE_LEVEL) -> Interval:
    """correct / total with its exact (Clopper–Pearson) interval, which covers the truth at least `level` of the time.

    Raises:
        ValueError: total below 1, correct outside [0, total], or level outside (0, 1).
    Source: Clopper & Pearson 1934.
    """
    if total < 1:
        raise ValueError(f"total={total}: an accuracy needs at least one image")
    if not 0 <= correct <= total:
        raise ValueError(f"correct={correct} is outside [0, total={total}]")
    _check_level(level)
    from scipy.stats import binomtest

    interval = binomtest(int(correct), int(total)).proportion_ci(confidence_level=level, method="exact")
    return Interval(correct / total, float(interval.low), float(interval.high))


def classification_report(truth: Labels, predicted: Labels, num_classes: int) -> PerClass:
    """Precision, recall and F1 of every class; 0 where a class was never predicted or never occurs.

    Raises:
        ValueError: no labels, differing lengths, or a label outside [0, num_classes).
    """
    counts = confusion(truth, predicted, num_classes)
    right, guessed, support = counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)
    return PerClass(_share(right, guessed), _share(right, support), _share(2 * right, guessed + support), support)


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


def macro_f1(truth: Labels, predicted: Labels) -> float:
    """The plain mean of F1 over the classes that occur in the truth or among the predictions.

    A class in neither is left out (scikit-learn's own convention): it would count as a failure that nobody made.

    Raises:
        ValueError: no labels, or differing lengths.
    """
    _check_labels(None, truth=truth, predicted=predicted)
    names, labels = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    numbered = labels[: len(truth)], labels[len(truth) :]
    return float(classification_report(*numbered, len(names)).f1.mean())


def confusion(truth: Labels, predicted: Labels, num_classes: int) -> NDArray[np.int64]:
    """Counts, int64 (C, C): true class by predicted class.

    Raises:
        ValueError: no labels, differing lengths, or a label outside [0, num_classes).
    """
    _check_labels(num_classes, truth=truth, predicted=predicted)
    cells = truth.astype(np.int64) * num_classes + predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def mcnemar(truth: Labels, first: Labels, second: Labels) -> McNemar:
    """The exact two-sided test that two models are right equally often, on the same images.

    Only the images on which exactly one model is right carry information: under equality each is a fair coin,
    so p = min(1, 2 · P(Binomial(b + c, ½) ≤ min(b, c))), and p = 1 where there are none.

    Raises:
        ValueError: no labels, or differing lengths.
    Source: McNemar 1947, with the binomial in place of its chi-squared approximation.
    """
    only_first, only_second, _ = _discordant(truth, first, second)
    discordant = only_first + only_second
    from scipy.stats import binomtest

    p_value = float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return McNemar(only_first, only_second, p_value)


def paired_difference(truth: Labels, first: Labels, second: Labels, level: float = CONFIDENCE_LEVEL) -> Interval:
    """The second model's accuracy minus the first's on the same images, with an interval for paired proportions.

    The estimate is (c − b) / n, where b images are right with the first model only and c with the second only. Its
    interval is Wald's after ½ is added to each of the four cells: with b' = b + ½, c' = c + ½ and n' = n + 2,

        d' ± z · sqrt((b' + c') / n' − d'²) / sqrt(n'),   d' = (c' − b') / n',

    clipped to [−1, 1]. Unlike plain Wald it keeps a width where the models never differ.

    Raises:
        ValueError: no labels, differing lengths, or level outside (0, 1).
    Source: Agresti & Min 2005.
    """
    _check_level(level)
    only_first, only_second, total = _discordant(truth, first, second)
    padded_total = total + 2
    center = (only_second - only_first) / padded_total
    variance = ((only_first + only_second + 1) / padded_total - center**2) / padded_total
    from scipy.special import ndtri

    half_width = float(ndtri((1 + level) / 2)) * sqrt(variance)
    estimate = (only_second - only_first) / total
    return Interval(estimate, max(-1.0, center - half_width), min(1.0, center + half_width))


def compare_right(
    baseline_right: NDArray[np.bool_], other_right: NDArray[np.bool_], other: str = "student"
) -> dict[str, Any]:
    """The paired comparison of two models on the same N images, as plain JSON values; is each right, bool (N,)?

    Keys, for the other model's name `other`: mcnemar {only_baseline_right, only_OTHER_right, p_value}; difference
    {estimate, low, high}, other minus baseline; verdict, "OTHER better", "baseline better" or "no difference shown".
    The verdict follows the exact test alone, at the 0.05 level: where test and interval disagree by a hair, the more
    cautious one speaks.

    Raises:
        ValueError: no images, or differing lengths.
    """
    first, second = baseline_right.astype(np.int64), other_right.astype(np.int64)
    right = np.ones_like(first)
    test = mcnemar(right, first, second)
    return {
        "mcnemar": {
            "only_baseline_right": test.only_first_right,
            f"only_{other}_right": test.only_second_right,
            "p_value": test.p_value,
        },
        "difference": asdict(paired_difference(right, first, second)),
        "verdict": _verdict(test, other),
    }


def evaluate_models(
    truth: Labels, baseline_label: Labels, student_label: Labels, class_names: Sequence[str]
) -> dict[str, Any]:
    """Everything that is said about the two models on the test set, as plain JSON values.

    Keys: total, confidence_level, significance_level, class_names; baseline and student, each with accuracy
    {estimate, low, high}, macro_f1, per_class [{name, precision, recall, f1, support}] and confusion (true by
    predicted); and those of :func:`compare_right`.

    Raises:
        ValueError: no labels, differing lengths, or a label outside [0, len(class_names)).
    """
    _check_labels(len(class_names), truth=truth, baseline_label=baseline_label, student_label=student_label)
    return {
        "total": len(truth),
        "confidence_level": CONFIDENCE_LEVEL,
        "significance_level": SIGNIFICANCE_LEVEL,
        "class_names": list(class_names),
        "baseline": _summarize(truth, baseline_label, class_names),
        "student": _summarize(truth, student_label, class_names),
        **compare_right(baseline_label == truth, student_label == truth),
    }


def _summarize(truth: Labels, predicted: Labels, class_names: Sequence[str]) -> dict[str, Any]:
    report = classification_report(truth, predicted, len(class_names))
    return {
        "accuracy": asdict(accuracy_interval(int((truth == predicted).sum()), len(truth))),
        "macro_f1": macro_f1(truth, predicted),
        "per_class": [
            {
                "name": name,
                "precision": float(report.precision[index]),
                "recall": float(report.recall[index]),
                "f1": float(report.f1[index]),
                "support": int(report.support[index]),
            }
            for index, name in enumerate(class_names)
        ],
        "confusion": confusion(truth, predicted, len(class_names)).tolist(),
    }


def _verdict(test: McNemar, other: str) -> str:
    if test.p_value >= SIGNIFICANCE_LEVEL:
        return "no difference shown"
    return f"{other} better" if test.only_second_right > test.only_first_right else "baseline better"


def _discordant(truth: Labels, first: Labels, second: Labels) -> tuple[int, int, int]:
    """How many images only the first and only the second model gets right, and how many there are in all."""
    _check_labels(None, truth=truth, first=first, second=second)
    first_right, second_right = first == truth, second == truth
    return int((first_right & ~second_right).sum()), int((second_right & ~first_right).sum()), len(truth)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level={level} is outside (0, 1); 0.95 is the usual one")


def _check_labels(num_classes: int | None, **labels: Labels) -> None:
    """Every array is one-dimensional, integer, of one length and not empty; labels are in range where C is given."""
    (first_name, first), *_ = labels.items()
    if first.size == 0:
        raise ValueError(f"{first_name} is empty: there is nothing to evaluate")
    for name, values in labels.items():
        if values.shape != (first.size,):
            raise ValueError(f"{name} has shape {values.shape}, but {first_name} has shape {first.shape}")
        if not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"{name} has dtype {values.dtype}; labels are integers")
        if num_classes is not None and (values.min() < 0 or values.max() >= num_classes):
            raise ValueError(f"{name} holds labels {values.min()}..{values.max()}, outside [0, {num_classes})")
