"""The certified threshold: the lowest one whose pseudo-labels are proven right often enough."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log

import numpy as np

from semisup.calibration.measures import Bools, Floats, Labels, error_bound

SHARES = np.arange(1, 101) / 100
"""Of the pool, the most confident: where the thresholds to be tested lie."""
USUAL = {"target_precision": 0.95, "level": 0.95, "fdr": 0.05}
LIKELY_ENOUGH = 0.9
MOST_IMAGES = 100_000
ROUNDING = 1e-12  # of a bound that equals the target, as with 2 images, none wrong, target 0.5 and level 0.75


@dataclass(frozen=True)
class WalkStep:
    """One threshold that was tested."""

    share: float
    """Of the pool, accepted."""
    threshold: float
    accepted: int
    """Calibration images."""
    errors: int
    """Wrong ones among them."""
    upper_bound: float
    """On the error rate."""


@dataclass(frozen=True)
class Certificate:
    """What :func:`certify` found. Figures are those of the threshold certified or, without one, of the one tried."""

    certified: bool
    threshold: float | None
    """Accept confidence >= this: the exact float64 image of a confidence of the pool, in the pool's own precision."""
    accepted: int
    errors: int
    upper_bound: float
    share: float
    target_precision: float
    level: float
    images: int
    """Calibration images in all."""
    fewest: int
    """Images that must be accepted, all of them right, before anything can be certified."""
    labels_needed: int | None
    """Where nothing is certified: how many calibration images would do with probability 0.9 if errors come as the
    confidence says; None where 100,000 would not, for even the most confident are expected to err too often."""
    path: tuple[WalkStep, ...]
    """The thresholds tested, strict to loose; all but the last passed, and the last one, too, if it is the pool's."""


@dataclass(frozen=True)
class ClassCertificate:
    """What calibration images certify of the labels of one class."""

    label: int
    images: int
    """Calibration images that are given this label."""
    threshold: float | None
    """Of its labels at least the target is right from here up; None: nothing is certified of them."""
    accepted: int
    errors: int
    """Among the calibration images given this label, from the threshold up; all of them without one."""
    share: float
    """Of the pool's images given this label, accepted."""


def fewest_accepted(target_precision: float, level: float) -> int:
    """How many images, all of them right, certify anything at all: the least n with p^n ≤ 1 − level."""
    return ceil(log(1 - level) / log(target_precision) - ROUNDING)


def certify(
    confidence: Floats, correct: Bools, pool_confidence: Floats, target_precision: float, level: float
) -> Certificate:
    """The lowest threshold τ whose labels, those with confidence >= τ, are right in at least `target_precision`.

    With probability `level` over the draw of the calibration images (confidence, correct: (n,)) the precision at the
    threshold returned is at least the target. It is the precision among all images that such images come from: a
    pool (N,) has it up to its own chance, and single classes may have less. The calibration images must be drawn like
    the pool's, and seen by neither training, early stopping nor the temperature's fit.

    Thresholds are tested in a fixed order, strict to loose: a test passes if the upper bound of Clopper and Pearson on
    the error rate of the accepted images is within 1 − target, and the first failure ends the walk. A false
    certificate must pass the first threshold in that order that is really too low, and that one test is wrong with
    probability 1 − level at most; so no correction is due, however many are tested. This needs thresholds and order
    fixed before correctness and confidence of any calibration image is looked at. The thresholds therefore are
    confidences of the pool, those that accept its most confident 1 %, 2 % … 100 %.

    Where the walk begins is fixed beforehand, too. Too strict a threshold accepts too few images to pass; so it begins
    where passing is likeliest if errors come as often as 1 − confidence says in the pool (at the strictest of equals,
    which over-confidence harms least). Where the model's confidence is wrong, power is lost, not validity.

    Raises:
        ValueError: no images, differing lengths or precisions, or target or level outside (0, 1).
    Source: Clopper & Pearson 1934; fixed-sequence testing: Maurer et al. 1995; for models: Angelopoulos et al. 2021.
    """
    check_comparable(confidence, correct, pool_confidence, target_precision=target_precision, level=level)
    thresholds, shares, claimed_errors = grid_of(pool_confidence)
    begin = int(_chance(len(confidence), shares, claimed_errors, target_precision, level).argmax())
    path: list[WalkStep] = []
    passed = 0
    for share, threshold in zip(shares[begin:], thresholds[begin:], strict=True):
        accepted = confidence >= threshold
        total, errors = int(accepted.sum()), int((accepted & ~correct).sum())
        bound = float(error_bound(errors, total, level))
        path.append(WalkStep(float(share), float(threshold), total, errors, bound))
        if bound > 1 - target_precision + ROUNDING:
            break
        passed += 1
    last = path[max(passed - 1, 0)]
    return Certificate(
        certified=passed > 0,
        threshold=last.threshold if passed else None,
        accepted=last.accepted,
        errors=last.errors,
        upper_bound=last.upper_bound,
        share=last.share,
        target_precision=target_precision,
        level=level,
        images=len(confidence),
        fewest=fewest_accepted(target_precision, level),
        labels_needed=None if passed else _labels_needed(shares, claimed_errors, target_precision, level),
        path=tuple(path),
    )


def certify_classes(
    label: Labels,
    confidence: Floats,
    correct: Bools,
    pool: tuple[Labels, Floats],
    *,
    num_classes: int,
    target_precision: float,
    level: float,
) -> list[ClassCertificate]:
    """For each class the lowest threshold from which enough of the labels of this class are right.

    The same as :func:`certify`, with the calibration images (n,) and those of the pool, label and confidence (N,), that
    are given the label of the class. Each class's certificate is true with probability `level`, for itself: of twenty
    at 0.95, one is false in the mean.
    """
    pool_label, pool_confidence = pool
    fewest = fewest_accepted(target_precision, level)
    found = []
    for number in range(num_classes):
        known, unknown = label == number, pool_label == number
        images, share, threshold = int(known.sum()), 0.0, None
        accepted, errors = images, int((known & ~correct).sum())
        if images >= fewest and unknown.any():
            walked = certify(confidence[known], correct[known], pool_confidence[unknown], target_precision, level)
            if walked.certified:
                threshold, accepted, errors, share = walked.threshold, walked.accepted, walked.errors, walked.share
        found.append(ClassCertificate(number, images, threshold, accepted, errors, share))
    return found


def grid_of(pool_confidence: Floats) -> tuple[Floats, Floats, Floats]:
    """Thresholds in falling order, the share of the pool that each accepts, and the mean of 1 − confidence over it."""
    falling = np.sort(pool_confidence)[::-1]
    places = np.ceil(SHARES * len(falling) - ROUNDING).astype(np.int64) - 1
    thresholds = np.unique(falling[places])[::-1]
    accepted = len(falling) - np.searchsorted(falling[::-1], thresholds, side="left")
    claimed = np.cumsum(1 - falling.astype(np.float64).clip(max=1))[accepted - 1] / accepted
    return thresholds, accepted / len(falling), claimed


def _chance(images: int, shares: Floats, error_rates: Floats, target_precision: float, level: float) -> Floats:
    """Probability (S,) that a threshold passes which accepts each of `images` with probability share (S,).

    How many are accepted is random, too: twenty quantiles of that number stand for its distribution.
    """
    from scipy.stats import binom

    accepted = binom.ppf((np.arange(20) + 0.5) / 20, images, shares[:, None])
    totals, place = np.unique(accepted, return_inverse=True)
    allowed = binom.ppf(1 - level, totals, 1 - target_precision)
    allowed -= binom.cdf(allowed, totals, 1 - target_precision) > 1 - level  # most errors that pass; −1: never
    chance: Floats = binom.cdf(allowed[place], accepted, error_rates[:, None]).mean(axis=1)
    return chance


def _labels_needed(shares: Floats, error_rates: Floats, target_precision: float, level: float) -> int | None:
    few = slice(None, None, 5)  # an estimate to two digits needs no finer grid

    def enough(images: int) -> bool:
        return bool(_chance(images, shares[few], error_rates[few], target_precision, level).max() >= LIKELY_ENOUGH)

    return fewest_images(enough)


def fewest_images(enough: Callable[[int], bool]) -> int | None:
    """By bisection to within 2 %: more images always help but for the jumps of whole numbers. None: 100,000 do not."""
    if not enough(MOST_IMAGES):
        return None
    too_few, images = 1, MOST_IMAGES
    while images > 1.02 * too_few + 1:
        middle = round((too_few * images) ** 0.5)
        too_few, images = (too_few, middle) if enough(middle) else (middle, images)
    return images


def check_comparable(confidence: Floats, correct: Bools, pool_confidence: Floats, **shares: float) -> None:
    """Can calibration images be held against a pool, and a promise be made of such `shares`?

    Raises:
        ValueError: there are no images, lengths or precisions differ, or a share is outside (0, 1).
    """
    for name, value in shares.items():
        if not 0 < value < 1:
            raise ValueError(f"{name}={value} is outside (0, 1); {USUAL[name]} is a usual one")
    if len(confidence) == 0 or len(pool_confidence) == 0:
        raise ValueError("confidence and pool_confidence need at least one image each")
    if len(confidence) != len(correct):
        raise ValueError(f"{len(confidence)} confidences, but {len(correct)} words on whether they are right")
    if confidence.dtype != pool_confidence.dtype:
        raise ValueError(
            f"confidence is {confidence.dtype}, pool_confidence {pool_confidence.dtype}; rounded differently, "
            "equal values would compare as different"
        )
