"""What several seeds say: mean and spread, paired differences, and how many labels pseudo-labeling saves.

Plain numbers in, frozen dataclasses out. Accuracies are fractions in [0, 1]. Every interval and test here is over seeds
(other splits, other initial weights), not over test images: `semisup.evaluation.scores` is about the images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, isnan, log, sqrt
from statistics import mean, stdev

from semisup.evaluation.scores import CONFIDENCE_LEVEL


@dataclass(frozen=True)
class Spread:
    """One figure over seeds."""

    mean: float
    std: float | None
    """Of a sample (n − 1 in the denominator); None for one seed, as are the ends."""
    low: float | None
    """Ends of the t-interval of the mean; None where all values are equal, too."""
    high: float | None
    worst: float
    worst_seed: int


@dataclass(frozen=True)
class PairedDifference:
    """Second minus first, seed by seed."""

    mean: float
    low: float | None
    """Ends of the t-interval of the mean difference; None for one seed, or equal differences: they tell no spread."""
    high: float | None
    p_value: float | None
    wins: int
    """Seeds with which the second is strictly better."""
    ties: int
    seeds: int


@dataclass(frozen=True)
class SavedLabels:
    """At one number of labels: how many supervised training needs to be as good as the student."""

    labels: int
    supervised: float
    student: float
    """Mean accuracies over seeds."""
    as_good_with: float | None
    """That number, at least `labels`; None where the student is worse, or better than the whole curve."""
    more_than: int | None
    """The largest number of labels on the curve, where even that one is not enough."""


def spread(values: Sequence[float], seeds: Sequence[int], level: float = CONFIDENCE_LEVEL) -> Spread:
    """Mean, standard deviation and t-interval of a figure over seeds, and its lowest value (of the first such seed).

    Raises:
        ValueError: no values, differing lengths, or a value that is not a number.
    """
    _check(values, seeds)
    worst = min(range(len(values)), key=values.__getitem__)
    std = stdev(values) if len(values) > 1 else None
    low, high = _t_interval(values, level)
    return Spread(mean(values), std, low, high, values[worst], seeds[worst])


def paired_over_seeds(
    first: Sequence[float], second: Sequence[float], level: float = CONFIDENCE_LEVEL
) -> PairedDifference:
    """Second minus first, by the paired t-test over n seeds: d ± t(n − 1) · s / √n, and its two-sided p.

    Where all differences are equal, as with few seeds and few test images, there is no interval and no p: s is 0 by
    chance, and the law's limit would be a proof of anything.

    Raises:
        ValueError: no values, differing lengths, or a value that is not a number.
    Source: Student 1908.
    """
    _check(first, second)
    differences = [b - a for a, b in zip(first, second, strict=True)]
    low, high = _t_interval(differences, level)
    wins, ties = sum(d > 0 for d in differences), sum(d == 0 for d in differences)
    return PairedDifference(mean(differences), low, high, _t_test(differences), wins, ties, len(differences))


def saved_labels(labels: Sequence[int], supervised: Sequence[float], student: Sequence[float]) -> list[SavedLabels]:
    """For each number of labels, with how many supervised training is as good as the student's mean accuracy there.

    The supervised curve runs in straight lines over log(labels). From a number of labels on it is followed to the
    right until it first reaches the student's accuracy; where it falls again later, that does not matter.

    Raises:
        ValueError: no values, differing lengths, a value that is not a number, or labels that do not rise from 1 on.
    """
    _check(supervised, student)
    _check(labels, supervised)
    if labels[0] < 1 or any(b <= a for a, b in pairwise(labels)):
        raise ValueError(f"labels={list(labels)} must rise, from 1 or more")
    return [_saved(labels, supervised, student, index) for index in range(len(labels))]


def _saved(labels: Sequence[int], supervised: Sequence[float], student: Sequence[float], index: int) -> SavedLabels:
    wanted = student[index]

    def result(as_good_with: float | None = None, more_than: int | None = None) -> SavedLabels:
        return SavedLabels(labels[index], supervised[index], wanted, as_good_with, more_than)

    if wanted < supervised[index]:
        return result()
    if wanted == supervised[index]:
        return result(as_good_with=float(labels[index]))
    for before in range(index, len(labels) - 1):
        low, high = supervised[before], supervised[before + 1]
        if high >= wanted:
            share = (wanted - low) / (high - low)
            return result(as_good_with=exp((1 - share) * log(labels[before]) + share * log(labels[before + 1])))
    return result(more_than=labels[-1])


def _equal(values: Sequence[float]) -> bool:
    """But for rounding."""
    return max(values) - min(values) <= 1e-9 * max(map(abs, values))


def _t_interval(values: Sequence[float], level: float) -> tuple[float, float] | tuple[None, None]:
    if len(values) < 2 or _equal(values):
        return None, None
    from scipy.special import stdtrit  # whoever draws a picture imports this module, and has no use for scipy

    half_width = float(stdtrit(len(values) - 1, (1 + level) / 2)) * stdev(values) / sqrt(len(values))
    return mean(values) - half_width, mean(values) + half_width


def _t_test(differences: Sequence[float]) -> float | None:
    if len(differences) < 2 or _equal(differences):
        return None
    from scipy.special import stdtr

    error = stdev(differences) / sqrt(len(differences))
    return float(2 * stdtr(len(differences) - 1, -abs(mean(differences)) / error))


def _check(first: Sequence[float], second: Sequence[float]) -> None:
    if not first:
        raise ValueError("there are no values to compare")
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values cannot be paired with {len(second)}")
    if any(isnan(value) for value in (*first, *second)):
        raise ValueError("a value is not a number")
