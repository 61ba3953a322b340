"""Drift: nothing where both sides are alike, and what a formula says where they are not."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from semisup.evaluation.drift import FEWEST, measure_drift


def answers(rng, count: int, sharpness: float = 1.0, shares=(1, 1, 1)) -> np.ndarray:
    return rng.dirichlet(sharpness * np.asarray(shares), count).astype(np.float32)


def test_alike_images_are_beyond_a_limit_as_rarely_as_the_level_says():
    rng = np.random.default_rng(0)
    new = np.arange(300) < 60
    alarms = sum(measure_drift([answers(rng, 300)], new).beyond(0.0) for _ in range(300))
    assert alarms <= 9  # Binomial(300, 0.01): more than that has probability 0.001


def test_distances_are_what_the_definitions_say():
    known = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]] * 10)
    new = np.array([[0.55, 0.45], [0.6, 0.4]] * 10)
    drift = measure_drift([np.r_[known, new]], np.arange(60) >= 40)
    assert (drift.new, drift.known) == (20, 40)
    assert drift.known_confidence == pytest.approx((0.9 + 0.8 + 0.7 + 0.6) / 4)
    assert drift.new_confidence == pytest.approx(0.575)
    assert drift.class_distance == pytest.approx(0.5)  # (1, 0) against (1/2, 1/2)
    assert drift.confidence_distance == pytest.approx(0.75)  # at 0.6: all against a quarter
    logs = np.log(known)
    apart = (np.log(new).mean(axis=0) - logs.mean(axis=0)) / logs.std(axis=0)
    assert drift.log_probability_distance == pytest.approx(np.sqrt((apart**2).mean()))
    assert drift.beyond(0.7)
    assert not drift.beyond(0.8)


def test_the_same_answers_on_both_sides_are_no_distance_at_all():
    table = answers(np.random.default_rng(1), 40)
    drift = measure_drift([np.r_[table, table]], np.arange(80) >= 40)
    assert (drift.confidence_distance, drift.class_distance, drift.p_value) == (0, 0, 1)
    assert drift.log_probability_distance == pytest.approx(0)


def test_the_more_another_mixture_of_classes_the_further():
    rng = np.random.default_rng(2)
    new = np.arange(2000) >= 1000
    known, found, expected = answers(rng, 1000, 0.3), [], []
    for weight in (1, 2, 5, 20):
        others = answers(rng, 1000, 0.3, (weight, 1, 1))
        found.append(measure_drift([np.r_[known, others]], new).class_distance)
        shares = [np.bincount(part.argmax(axis=1), minlength=3) for part in (known, others)]
        expected.append(jensenshannon(*shares))
    assert np.argsort(found).tolist() == np.argsort(expected).tolist() == [0, 1, 2, 3]


def test_too_few_images_say_nothing_and_one_class_is_no_mistake():
    table = answers(np.random.default_rng(3), 100)
    assert measure_drift([table], np.arange(100) < FEWEST - 1) is None
    assert measure_drift([table], np.arange(100) >= FEWEST - 1) is None
    one = np.tile([0.9, 0.1], (60, 1))
    assert measure_drift([one], np.arange(60) < 30).class_distance == 0
