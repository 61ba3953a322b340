"""Calibration images against the pool: how often alike samples are said to differ, and what is found elsewhere."""

import numpy as np
import pytest
from scipy.stats import binom, ks_2samp, mannwhitneyu

from semisup.open_world.exchangeability import FALSE_ALARMS, FEWEST, compare


def samples(rng, calibration=60, pool=150, *, unknown=0.0):
    """Scores and features of a Gaussian and, of a share of the pool, of another one beside it."""
    features = rng.normal(size=(calibration + pool, 12)) ** 3  # nothing normal about them
    features[calibration : calibration + round(unknown * pool), :3] += 6
    score = features[:, :3].sum(axis=1)
    return {"score": (score[:calibration], score[calibration:])}, (features[:calibration], features[calibration:])


def test_samples_drawn_alike_are_said_to_differ_no_more_often_than_stated():
    rng, runs = np.random.default_rng(0), 150
    alarms = sum(compare(*samples(rng), rng).differ for _ in range(runs))
    assert alarms <= binom.ppf(0.999, runs, FALSE_ALARMS)


def test_a_fifth_of_images_of_another_kind_is_found():
    rng = np.random.default_rng(1)
    assert all(compare(*samples(rng, 200, 600, unknown=0.2), rng).differ for _ in range(5))


def test_the_p_value_is_bonferronis_of_tests_that_scipy_confirms():
    rng = np.random.default_rng(2)
    scores, features = samples(rng)
    found = compare(scores, features, np.random.default_rng(3))
    assert found.p_values["score"] == ks_2samp(*scores["score"]).pvalue
    assert found.p_value == min(1, 3 * min(found.p_values.values()))
    assert set(found.p_values) == {"score", "classifier, half 1", "classifier, half 2"}
    assert (found.calibration_images, found.pool_images) == (60, 150)


def test_a_classifier_that_learns_nothing_tells_nothing_apart():
    rng = np.random.default_rng(4)
    shares = [compare(*samples(rng), rng).told_apart for _ in range(30)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert mannwhitneyu([1, 2], [1, 2]).statistic / 4 == 0.5  # what a share of one half means


def test_too_few_images_are_not_compared():
    rng = np.random.default_rng(5)
    assert compare(*samples(rng, FEWEST - 1, 100), rng) is None
    assert compare(*samples(rng, 100, FEWEST - 1), rng) is None
    assert compare(*samples(rng, FEWEST, FEWEST), rng) is not None


def test_features_that_never_vary_tell_nothing():
    rng = np.random.default_rng(6)
    found = compare({}, (np.ones((50, 4)), np.ones((70, 4))), rng)
    assert found.told_apart == 0.5
    assert not found.differ


def test_broken_features_and_samples_of_other_sizes_are_refused():
    rng = np.random.default_rng(7)
    with pytest.raises(ValueError, match="NaN"):
        compare({}, (np.full((50, 2), np.nan), np.ones((50, 2))), rng)
    with pytest.raises(ValueError, match="'score' is of 10"):
        compare({"score": (np.ones(10), np.ones(50))}, (np.ones((50, 2)), np.ones((50, 2))), rng)
