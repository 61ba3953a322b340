"""A threshold by the false discovery rate: of the labels accepted at most a share is wrong, on average over draws."""

from dataclasses import dataclass

import numpy as np

from semisup.calibration.certificate import LIKELY_ENOUGH, ROUNDING, check_comparable, fewest_images, grid_of
from semisup.calibration.measures import Bools, Floats


@dataclass(frozen=True)
class FdrControl:
    """What :func:`control_fdr` found. Figures are of the threshold or, without one, of that which came nearest."""

    found: bool
    threshold: float | None
    """Accept confidence >= this: the exact float64 image of a confidence of the pool, in the pool's own precision."""
    estimate: float
    """What is held against `fdr`: (1 + errors) / (n + 1), over the share of the pool that is accepted."""
    accepted: int
    """Calibration images."""
    errors: int
    """Wrong ones among them."""
    share: float
    """Of the pool, accepted."""
    fdr: float
    images: int
    """Calibration images in all, n."""
    fewest: int
    """Without any error, as many calibration images control the rate where the whole pool is accepted."""
    labels_needed: int | None
    """Where no threshold is found: how many calibration images would do with probability 0.9 if errors come as the
    confidence says; None where 100,000 would not."""


def control_fdr(confidence: Floats, correct: Bools, pool_confidence: Floats, fdr: float) -> FdrControl:
    """The lowest threshold whose labels have a false discovery rate of at most `fdr`.

    The rate is the expectation, over the draw of n calibration images (confidence, correct: (n,)) and of the pool (N,),
    of the share of wrong labels among those accepted, 0 where none is. A single pool may have more: it is a promise
    about the mean, weaker than a certificate's about one draw, and met with fewer images. The two have to be drawn
    alike, and calibration images seen by neither training, early stopping nor the temperature's fit.

    Each image of the pool has a conformal p-value, (1 + the wrong calibration images at least as sure) / (n + 1), and
    Benjamini and Hochberg's procedure rejects that it is labeled wrongly. As the p-value falls with confidence, that is
    a threshold: the lowest confidence t of the pool with (1 + errors from t up) / (n + 1) ≤ fdr × (share of the pool
    from t up).

    Raises:
        ValueError: no images, differing lengths or precisions, or `fdr` outside (0, 1).
    Source: Jin & Candès 2023 (arXiv 2210.01408), conformal selection; Benjamini & Hochberg 1995.
    """
    check_comparable(confidence, correct, pool_confidence, fdr=fdr)
    images, rising = len(confidence), np.sort(pool_confidence)
    thresholds, places = np.unique(rising, return_index=True)
    shares = (len(rising) - places) / len(rising)
    wrong = np.sort(confidence[~correct])
    errors = len(wrong) - np.searchsorted(wrong, thresholds, side="left")
    estimates = (1 + errors) / (images + 1) / shares
    passed = np.flatnonzero(estimates <= fdr + ROUNDING)
    place = int(passed[0]) if len(passed) else int(estimates.argmin())
    return FdrControl(
        found=len(passed) > 0,
        threshold=float(thresholds[place]) if len(passed) else None,
        estimate=float(estimates[place]),
        accepted=int((confidence >= thresholds[place]).sum()),
        errors=int(errors[place]),
        share=float(shares[place]),
        fdr=fdr,
        images=images,
        fewest=fewest_for(fdr),
        labels_needed=None if len(passed) else _labels_needed(pool_confidence, fdr),
    )


def fewest_for(fdr: float) -> int:
    """Calibration images, all right, that control the rate where the whole pool is accepted: 1/(n + 1) ≤ fdr."""
    return int(np.ceil(1 / fdr - ROUNDING)) - 1


def _labels_needed(pool_confidence: Floats, fdr: float) -> int | None:
    from scipy.stats import binom

    _, shares, claimed = grid_of(pool_confidence)

    def enough(images: int) -> bool:
        most = np.floor(fdr * shares * (images + 1) + ROUNDING) - 1  # errors that pass
        return bool(binom.cdf(most, images, shares * claimed).max() >= LIKELY_ENOUGH)

    return fewest_images(enough)
