"""How right accepted labels are, by a random sample of them that a person has looked at, however many that were."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import log

import numpy as np

LEVEL = 0.95
PRIOR_RIGHT, PRIOR_WRONG = 4.5, 0.5
"""Of a beta-binomial: accepted labels are mostly right. Intervals are short where that is so, and valid everywhere."""


@dataclass(frozen=True)
class Audited:
    """What a sample of accepted labels says of all of them."""

    looked_at: int
    right: int
    wrong: int
    unsure: int
    """Looked at without a word on the class: right for the upper end, wrong for the lower one."""
    accepted: int
    """Labels that the sample is of."""
    precision: float | None
    """Of those that somebody could tell; None where there are none."""
    low: float
    high: float
    """With probability LEVEL both ends hold at every number of labels that is looked at, in the order of the sample."""


def audited(right: int, wrong: int, unsure: int, accepted: int) -> Audited:
    """What these annotations about a random sample, drawn without replacement, say of `accepted` labels.

    Raises:
        ValueError: more annotations than labels, a negative number, or no label.
    """
    if min(right, wrong, unsure) < 0 or accepted < 1 or right + wrong + unsure > accepted:
        raise ValueError(f"{right} right, {wrong} wrong and {unsure} unsure of {accepted} labels")
    low = interval(right, wrong + unsure, accepted)[0]
    high = interval(right + unsure, wrong, accepted)[1]
    told = right + wrong
    return Audited(told + unsure, right, wrong, unsure, accepted, right / told if told else None, low, high)


def interval(right: int, wrong: int, accepted: int) -> tuple[float, float]:
    """(low, high) of the share of right labels among all that are accepted, from 0 to 1.

    All of the numbers K of right labels stay for which the sample is at least (1 − LEVEL) times as likely as on
    average over the prior: the ratio of prior to posterior at the truth is a martingale, so that with probability LEVEL
    it is below 1 / (1 − LEVEL) at every size of the sample. One may stop when the bound is met, or look on.

    Source: Waudby-Smith & Ramdas 2020, "Confidence sequences for sampling without replacement", section 2.
    """
    from scipy.stats import betabinom, hypergeom

    seen = right + wrong
    if not seen:
        return 0.0, 1.0
    least = log(1 - LEVEL) + float(betabinom.logpmf(right, seen, PRIOR_RIGHT, PRIOR_WRONG))

    def stays(count: int) -> bool:
        return float(hypergeom.logpmf(right, accepted, count, seen)) >= least

    # Likelihood rises up to the share of the sample, and falls from there.
    likeliest = int(np.clip(right * accepted // seen, right, accepted - wrong))
    return (
        _first(stays, right, likeliest) / accepted,
        (accepted - _first(lambda count: stays(accepted - count), wrong, accepted - likeliest)) / accepted,
    )


def _first(stays: Callable[[int], bool], low: int, high: int) -> int:
    """The least whole number from low to high that stays; all above it do, and high does."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if stays(middle) else (middle + 1, high)
    return low


@lru_cache
def most_wrong(target: float, accepted: int, most: int) -> tuple[int, ...]:
    """For 0 to `most` annotations: how many may be wrong, with the lower end at the target or above; −1: none may."""
    allowed, found = -1, []
    for seen in range(min(most, accepted) + 1):
        while allowed + 1 <= seen and interval(seen - allowed - 1, allowed + 1, accepted)[0] >= target:
            allowed += 1
        found.append(allowed)
    return tuple(found)
