"""Are calibration images and the pool drawn alike? What is certified on the ones holds for the others only then."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from semisup.open_world.space import Floats, Labels, distance_to_nearest, fit_space
from semisup.system.threads import one_thread

FALSE_ALARMS = 0.01
"""Of samples that are drawn alike, the share at most that is said to differ."""
FEWEST = 20
"""Images on either side, without which nothing is tested."""
COMPONENTS = 32
STRENGTH = 0.1
"""C of the logistic regression that tries to tell the two apart."""


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found."""

    p_value: float
    """Bonferroni's: the smallest of `p_values` times their number, at most 1."""
    p_values: Mapping[str, float]
    """Of the tests by themselves."""
    told_apart: float
    """Probability that the classifier finds a random image of the pool more like the pool than a calibration image, on
    images that it has not seen: 0.5 where the two are alike."""
    calibration_images: int
    pool_images: int

    @property
    def differ(self) -> bool:
        """Is it shown that they are not drawn alike?"""
        return self.p_value <= FALSE_ALARMS


def compare(
    scores: Mapping[str, tuple[Floats, Floats]],
    features: tuple[Floats, Floats],
    rng: np.random.Generator,
) -> Comparison | None:
    """Tests whether calibration images and images of the pool come from one distribution; None: too few of either.

    If they do, `differ` is true with probability FALSE_ALARMS at most, whatever the distribution: each test is exact or
    conservative, and together they are Bonferroni's.

    - of each score, numbers ((n,), (N,)) that are computed without either of the two samples: Kolmogorov and Smirnov's;
    - of features ((n, D), (N, D)) a classifier two-sample test: a logistic regression learns on one half of both to
      tell them apart, and is held against the other half, which it has not seen, by Mann and Whitney's; and the other
      way round.

    Raises:
        ValueError: samples of different sizes, or a number that is not finite.
    Source: Lopez-Paz & Oquab 2017, section 3 (classifier two-sample tests).
    """
    calibration, pool = (np.asarray(table, dtype=np.float64) for table in features)
    for name, (ones, others) in scores.items():
        if (len(ones), len(others)) != (len(calibration), len(pool)):
            raise ValueError(f"score {name!r} is of {len(ones)} and {len(others)} images, not {len(calibration)} and …")
    if not (np.isfinite(calibration).all() and np.isfinite(pool).all()):
        raise ValueError("features hold NaN or infinity; the model's weights are broken")
    if min(len(calibration), len(pool)) < FEWEST:
        return None
    from scipy.stats import ks_2samp  # a second of a command's start

    p_values = {name: float(ks_2samp(ones, others).pvalue) for name, (ones, others) in scores.items()}
    told_apart = []
    for number, (p_value, share) in enumerate(_classifier_tests(calibration, pool, rng), start=1):
        p_values[f"classifier, half {number}"] = p_value
        told_apart.append(share)
    least = min(1.0, len(p_values) * min(p_values.values()))
    return Comparison(least, p_values, float(np.mean(told_apart)), len(calibration), len(pool))


def compare_as_seen(
    labeled: tuple[Floats, Labels],
    calibration: tuple[Floats, Floats],
    pool: tuple[Floats, Floats],
    rng: np.random.Generator,
) -> Comparison | None:
    """:func:`compare` by what a network makes of images, to which calibration images and pool are alike.

    It has learned from neither, or from the images of both without their labels.

    Args:
        labeled: features (m, D) and labels (m,) of images that it has learned from.
        calibration: features (n, D) and log-probabilities (n, C).
        pool: the same, (N, D) and (N, C).
        rng: draws the halves of the classifier test.
    """
    space = fit_space(labeled[0], *labeled, int(rng.integers(2**31)))
    known = space(labeled[0])
    return compare(
        {
            "confidence": (calibration[1].max(axis=1), pool[1].max(axis=1)),
            "distance to labeled images": (
                distance_to_nearest(space(calibration[0]), known),
                distance_to_nearest(space(pool[0]), known),
            ),
        },
        (np.concatenate(calibration, axis=1), np.concatenate(pool, axis=1)),
        rng,
    )


@one_thread()
def _classifier_tests(calibration: Floats, pool: Floats, rng: np.random.Generator) -> list[tuple[float, float]]:
    """(p-value, area under the curve) of each half of the images, by a classifier that learned on the other half."""
    from scipy.stats import mannwhitneyu
    from sklearn.linear_model import LogisticRegression

    # The same for both samples: it does not know which image is of which.
    points = _principal_components(np.concatenate([calibration, pool]), int(rng.integers(2**31)))
    is_pool = np.repeat([False, True], [len(calibration), len(pool)])
    half = np.zeros(len(points), dtype=bool)
    for rows in (np.flatnonzero(~is_pool), np.flatnonzero(is_pool)):
        half[rng.permutation(rows)[: len(rows) // 2]] = True
    found = []
    for learned in (half, ~half):
        model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000)
        said = model.fit(points[learned], is_pool[learned]).decision_function(points[~learned])
        ones, others = said[~is_pool[~learned]], said[is_pool[~learned]]
        test = mannwhitneyu(others, ones, alternative="greater")
        found.append((float(test.pvalue), float(test.statistic) / (len(ones) * len(others))))
    return found


def _principal_components(table: Floats, seed: int) -> Floats:
    """The first ones (N, ≤ COMPONENTS) of standardized columns, each of variance 1."""
    from sklearn.decomposition import PCA

    deviations = table.std(axis=0)
    varying = deviations > 0
    centered = (table[:, varying] - table[:, varying].mean(axis=0)) / deviations[varying]
    if not varying.any():
        return np.zeros((len(table), 1))
    kept = min(COMPONENTS, *centered.shape)
    model = PCA(kept, whiten=True, svd_solver="randomized", random_state=seed)
    projected: Floats = model.fit_transform(centered)
    return projected
