"""Figures against scikit-learn, torch and worked examples; the certificate against simulations of known precision."""

from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta, binom, binomtest
from sklearn.metrics import log_loss

from semisup.calibration.certificate import Certificate, certify
from semisup.calibration.measures import (
    adaptive_calibration_error,
    brier_score,
    error_bound,
    expected_calibration_error,
    fit_temperature,
    measure,
    negative_log_likelihood,
    reliability,
    temper,
)
from semisup.calibration.words import calibration_sentence, calibration_warnings
from tests.calibration.simulated import SPLITS, World, cliff, honest, over_confident, seen_cliff, tight

Array = NDArray[Any]


def drawn(images: int, classes: int, sharpness: float = 1.0, seed: int = 0) -> tuple[Array, Array]:
    """(log-probabilities, labels): labels are drawn from softmax(z), the model says softmax(sharpness · z)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (images, classes))
    truth = torch.from_numpy(logits).softmax(dim=1).numpy()
    labels = (truth.cumsum(axis=1) < rng.random((images, 1))).sum(axis=1).clip(max=classes - 1)
    return torch.from_numpy(sharpness * logits).log_softmax(dim=1).numpy(), labels


# --- temperature ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_at_the_temperature_the_slope_of_torchs_cross_entropy_is_nothing(sharpness):
    """One minimum, for it is convex in 1/T."""
    table, labels = drawn(500, 5, sharpness)
    log_temperature = torch.tensor(np.log(fit_temperature(table, labels)), requires_grad=True)
    scaled = torch.from_numpy(table) / log_temperature.exp()
    loss = torch.nn.functional.cross_entropy(scaled, torch.from_numpy(labels))
    (slope,) = torch.autograd.grad(loss, log_temperature)
    assert float(slope) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("sharpness", [0.5, 2.0, 4.0])
def test_the_temperature_undoes_the_sharpness_of_a_model_that_was_calibrated_before(sharpness):
    table, labels = drawn(20_000, 4, sharpness)
    assert fit_temperature(table, labels) == pytest.approx(sharpness, rel=0.05)


def test_a_constant_added_to_each_images_logits_changes_no_temperature():
    table, labels = drawn(200, 3, 2.0)
    shifted = table + np.random.default_rng(1).normal(0, 50, (200, 1))
    assert fit_temperature(shifted, labels) == pytest.approx(fit_temperature(table, labels), rel=1e-5)


def test_where_every_image_is_right_the_temperature_is_the_lowest_and_where_every_one_is_wrong_the_highest():
    table = np.log(np.array([[0.6, 0.4], [0.3, 0.7]]))
    assert fit_temperature(table, np.array([0, 1])) == 0.05
    assert fit_temperature(table, np.array([1, 0])) == 20.0
    assert fit_temperature(table[:1], np.array([0])) == 0.05


def test_votes_of_no_member_make_no_nan():
    votes = np.zeros((40, 10), dtype=np.float32)
    votes[:, 0] = 1
    labels = np.arange(40) // 39  # one image of 40 is of a class that nobody votes for
    with np.errstate(divide="ignore"):
        table = np.log(votes)
    temperature = fit_temperature(table, labels)
    # The least cross-entropy is where the confidence is the accuracy.
    np.testing.assert_allclose(temper(table, temperature).max(axis=1), 39 / 40, rtol=1e-4)
    assert 0.05 < temperature < 20
    assert np.isfinite(temper(table, temperature)).all()
    assert np.isfinite(negative_log_likelihood(temper(table, 1.0), labels))


@given(
    rows=st.lists(st.lists(st.floats(-104, 0, width=32), min_size=3, max_size=3), min_size=1, max_size=5),
    temperature=st.floats(0.05, 20),
)
def test_tempering_keeps_every_label_and_makes_probabilities(rows, temperature):
    table = np.array(rows, dtype=np.float32)
    probabilities = temper(table, temperature)
    assert probabilities.dtype == np.float32
    assert probabilities.argmax(axis=1).tolist() == table.argmax(axis=1).tolist()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


def test_tempering_keeps_the_label_of_two_classes_a_hair_apart():
    near = np.float32(np.log(0.5))
    table = np.array([[near, np.nextafter(near, np.float32(0))]], dtype=np.float32)
    assert temper(table, 20.0).argmax(axis=1).tolist() == [1]


def test_tempering_is_torchs_softmax_of_the_divided_logits():
    table, _ = drawn(50, 6)
    expected = (torch.from_numpy(table) / 1.7).softmax(dim=1).numpy()
    np.testing.assert_allclose(temper(table, 1.7), expected, rtol=1e-6)


def test_tempering_tells_what_it_cannot_use():
    with pytest.raises(ValueError, match="temperature=0"):
        temper(np.zeros((1, 2)), 0)
    with pytest.raises(ValueError, match="NaN"):
        temper(np.array([[np.nan, 0.0]]), 1.0)
    with pytest.raises(ValueError, match="outside"):
        fit_temperature(np.zeros((1, 2)), np.array([2]))
    with pytest.raises(ValueError, match="at least one"):
        fit_temperature(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))


# --- figures ----------------------------------------------------------------------------------------------------------


def test_the_calibration_errors_of_a_case_worked_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.65])
    correct = np.array([True, True, True, False, True, False])
    # Bins: (0.5, 0.6] 1 image, gap 0.45; (0.6, 0.7] 1, gap 0.65; (0.9, 1] 4, gap 0.2.
    assert expected_calibration_error(confidence, correct) == pytest.approx((0.45 + 0.65 + 4 * 0.2) / 6)
    # Two bins of equal mass: ranks 0 to 2 would split the four equal ones, which stay together with their first.
    assert adaptive_calibration_error(confidence, correct, bins=2) == pytest.approx(abs(4 - 0.55 - 0.65 - 4 * 0.95) / 6)
    # Of distinct confidences each bin takes three.
    apart = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    expected = (abs(3 - 2.4) + abs(1 - 1.5)) / 6
    assert adaptive_calibration_error(apart, np.arange(6) < 4, bins=2) == pytest.approx(expected)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below_it():
    table = reliability(np.array([0.0, 0.1, 0.5, 1.0]), np.array([True] * 4))
    assert table["count"].tolist() == [2, 0, 0, 0, 1, 0, 0, 0, 0, 1]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.randoms())
def test_the_order_of_the_images_changes_no_calibration_error(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    for error in (expected_calibration_error, adaptive_calibration_error):
        first, second = (error(*(np.array(column) for column in zip(*rows, strict=True))) for rows in (pairs, shuffled))
        assert first == pytest.approx(second, abs=1e-12)


def test_likelihood_and_brier_score_are_those_of_scikit_learn_and_of_the_formula():
    table, labels = drawn(300, 4)
    probabilities = np.exp(table)
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(log_loss(labels, probabilities))
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(labels), 4).numpy()
    by_hand = np.mean([sum((row - truth) ** 2) for row, truth in zip(probabilities, one_hot, strict=True)])
    assert brier_score(probabilities, labels) == pytest.approx(by_hand)


def test_reliability_counts_every_image_once_and_its_ends_are_scipys():
    table, labels = drawn(300, 4, 2.0)
    probabilities = np.exp(table)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    rows = reliability(confidence, correct)
    assert rows["count"].sum() == 300
    for row in rows.itertuples():
        members = (confidence > row.low) & (confidence <= row.high)
        assert row.count == members.sum()
        if not members.any():
            assert np.isnan([row.accuracy, row.confidence, row.accuracy_low, row.accuracy_high]).all()
            continue
        interval = binomtest(int(correct[members].sum()), int(members.sum())).proportion_ci(method="exact")
        assert (row.accuracy_low, row.accuracy_high) == pytest.approx((interval.low, interval.high))
        assert row.accuracy == pytest.approx(correct[members].mean())
        assert row.confidence == pytest.approx(confidence[members].mean())


@pytest.mark.parametrize(
    ("sharpness", "verdict"), [(3.0, "over-confident"), (1.0, "neither"), (0.3, "under-confident")]
)
def test_the_verdict_names_over_and_under_confidence_and_neither_without_evidence(sharpness, verdict):
    table, labels = drawn(1_000, 5, sharpness)
    measured = measure(np.exp(table), labels)
    assert measured["verdict"] == verdict
    assert measured["accuracy"] == (table.argmax(axis=1) == labels).mean()


# --- the certificate: single cases ------------------------------------------------------------------------------------


def all_right(images: int, pool: int = 1_000) -> tuple[Array, Array, Array]:
    return np.ones(images, dtype=np.float32), np.ones(images, dtype=bool), np.ones(pool, dtype=np.float32)


@given(st.integers(0, 50), st.integers(0, 500), st.floats(0.01, 0.99))
def test_the_bound_is_scipys_one_sided_exact_interval(errors, right, level):
    if errors + right == 0:
        assert error_bound(0, 0, level) == 1
        return
    test = binomtest(errors, errors + right, alternative="less")  # the interval of this side is [0, upper]
    expected = test.proportion_ci(confidence_level=level, method="exact").high
    assert error_bound(errors, errors + right, level) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("target", "level", "fewest"), [(0.99, 0.95, 299), (0.95, 0.95, 59), (0.5, 0.75, 2)])
def test_without_an_error_the_fewest_images_are_just_enough(target, level, fewest):
    enough = certify(*all_right(fewest), target, level)
    assert enough.fewest == fewest
    assert (enough.certified, enough.share) == (True, 1.0)
    one_less = certify(*all_right(fewest - 1), target, level)
    assert (one_less.certified, one_less.threshold) == (False, None)


def test_the_last_threshold_that_passed_before_the_first_failure_is_kept():
    rng = np.random.default_rng(0)
    pool = rng.random(5_000)
    confidence = rng.random(2_000)
    # Right above 0.6, wrong in (0.5, 0.6], right again below: a walk that went on after its failure could pass again.
    correct = (confidence > 0.6) | (confidence <= 0.5)
    found = certify(confidence, correct, pool, 0.95, 0.95)
    assert found.certified
    assert [step.upper_bound <= 0.05 for step in found.path] == [True] * (len(found.path) - 1) + [False]
    assert found.threshold == found.path[-2].threshold
    assert 0.55 < found.path[-1].threshold < 0.6


def test_a_certificates_figures_are_counted_from_the_images_and_its_thresholds_are_the_pools():
    rng = np.random.default_rng(1)
    pool, confidence = rng.beta(8, 1, 3_000).astype(np.float32), rng.beta(8, 1, 600).astype(np.float32)
    correct = rng.random(600) < 0.9 + 0.1 * confidence
    found = certify(confidence, correct, pool, 0.9, 0.95)
    assert found.certified
    for step in found.path:
        accepted = confidence >= step.threshold
        assert (step.accepted, step.errors) == (accepted.sum(), (accepted & ~correct).sum())
        assert step.upper_bound == pytest.approx(beta.ppf(0.95, step.errors + 1, step.accepted - step.errors))
        assert step.share == (pool >= np.float32(step.threshold)).mean()
        assert np.float32(step.threshold) in pool
        assert float(np.float32(step.threshold)) == step.threshold
    thresholds = [step.threshold for step in found.path]
    assert thresholds == sorted(set(thresholds), reverse=True)
    assert (found.images, found.target_precision, found.level) == (600, 0.9, 0.95)


def test_thresholds_and_their_order_depend_on_nothing_that_the_calibration_images_say():
    pool = np.random.default_rng(2).beta(5, 1, 2_000)
    certain = certify(np.ones(300), np.ones(300, dtype=bool), pool, 0.9, 0.95)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        other = certify(rng.random(300), rng.random(300) < 0.95, pool, 0.9, 0.95)
        tested = [(step.share, step.threshold) for step in other.path]
        assert tested == [(step.share, step.threshold) for step in certain.path[: len(tested)]]


def test_equal_confidences_are_accepted_together():
    pool = np.repeat(np.array([1.0, 0.5], dtype=np.float32), [600, 400])
    confidence = np.repeat(np.array([1.0, 0.5], dtype=np.float32), [300, 200])
    found = certify(confidence, confidence == 1, pool, 0.95, 0.95)
    assert (found.threshold, found.share, found.accepted, found.errors) == (1.0, 0.6, 300, 0)
    assert len(found.path) == 2


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_level_outside_0_and_1_is_rejected(level):
    with pytest.raises(ValueError, match="level="):
        certify(*all_right(60), 0.95, level)


def test_confidences_of_two_precisions_are_rejected():
    confidence, correct, pool = all_right(60)
    with pytest.raises(ValueError, match="float64"):
        certify(confidence.astype(np.float64), correct, pool, 0.95, 0.95)
    with pytest.raises(ValueError, match="at least one"):
        certify(confidence[:0], correct[:0], pool, 0.95, 0.95)


# --- the certificate: simulated splits --------------------------------------------------------------------------------

MOST_BAD = int(binom.ppf(0.999, SPLITS, 0.05))
"""Of 200 certificates at 95 % not more may be false than chance explains."""


@cache
def certificates(world: World, images: int) -> list[tuple[Certificate, float]]:
    """(certificate, true precision at its threshold) of 200 splits; u, uniform, ranks the images by confidence."""
    fine = (np.arange(200_000) + 0.5) / 200_000
    confidence_at, right_at = world(fine)
    precision = np.cumsum(right_at) / np.arange(1, len(fine) + 1)
    results = []
    for seed in range(SPLITS):
        rng = np.random.default_rng(seed)
        pool, u = rng.random(2_000), rng.random(images)
        confidence, right = world(u)
        found = certify(confidence, rng.random(images) < right, world(pool)[0], 0.95, 0.95)
        accepted = int((confidence_at >= found.threshold).sum()) if found.threshold is not None else 0
        results.append((found, float(precision[accepted - 1]) if accepted else 1.0))
    return results


@pytest.mark.parametrize("world", [honest, over_confident, cliff, seen_cliff, tight])
def test_a_certificate_is_false_no_more_often_than_it_says(world):
    results = certificates(world, 400)
    assert sum(precision < 0.95 for _, precision in results) <= MOST_BAD


def test_certificates_at_a_target_that_is_just_missed_come_near_the_error_they_admit():
    """Where all is wrong by a hair the test is as sharp as it can be: without it, no failure could be seen."""
    false = sum(found.certified for found, _ in certificates(tight, 400))
    assert 1 <= false <= MOST_BAD


@pytest.mark.parametrize(
    ("world", "often", "share"), [(honest, 0.8, 0.5), (over_confident, 0.5, 0.5), (seen_cliff, 0.8, 0.5)]
)
def test_most_splits_certify_a_good_share_where_there_is_one(world, often, share):
    results = [found for found, _ in certificates(world, 400)]
    certified = [found.share for found in results if found.certified]
    assert len(certified) >= often * SPLITS
    assert np.median(certified) >= share


def test_as_many_images_as_are_said_to_be_needed_certify_nine_times_in_ten():
    pool = honest(np.random.default_rng(0).random(4_000))[0]
    few = certify(pool[:30], np.ones(30, dtype=bool), pool, 0.95, 0.95)
    assert few.labels_needed is not None
    passed = [found.certified for found, _ in certificates(honest, few.labels_needed)]
    # Not below 0.9 beyond chance, and 0.9 is not reached by many fewer.
    assert sum(passed) >= binom.ppf(0.001, SPLITS, 0.9)
    assert sum(found.certified for found, _ in certificates(honest, few.labels_needed // 2)) < 0.9 * SPLITS


def test_no_number_of_images_is_enough_where_even_the_most_confident_err_too_often():
    pool = np.full(500, 0.9)
    assert certify(pool[:50], np.ones(50, dtype=bool), pool, 0.99, 0.95).labels_needed is None


# --- in words ---------------------------------------------------------------------------------------------------------


def values_of(certificate: Certificate | None, **changes: Any) -> dict[str, Any]:
    table, labels = drawn(400, 5, 3.0)
    values = {
        "method": "temperature",
        "temperature": 1.5,
        "threshold": certificate.threshold if certificate else None,
        "fallback": None,
        "certificate": asdict(certificate) if certificate else None,
        "certified": bool(certificate and certificate.certified),
        "fdr_control": None,
        "fdr_controlled": False,
        "compared": None,
        "calibration_images_needed": None,
        "strict": True,
        "caveats": [],
        "before": measure(np.exp(table), labels),
        "after": measure(temper(table, 3.0), labels),
        "images": 400,
        "temperature_images": 100,
        "temperature_errors": 7,
    }
    return values | changes


def test_the_sentence_names_over_confidence_the_temperature_and_what_is_certified():
    sentence = calibration_sentence(values_of(certify(*all_right(400), 0.99, 0.95)))
    for part in (
        "over-confident",
        "temperature 1.5",
        "at least 99% of its labels right, 95% sure",
        "0 errors among 400",
    ):
        assert part in sentence
    assert calibration_warnings(values_of(certify(*all_right(400), 0.99, 0.95))) == []
    assert "certified" not in calibration_sentence(values_of(None))


def test_the_sentence_says_why_a_certificate_is_not_strict():
    values = values_of(certify(*all_right(400), 0.99, 0.95), strict=False, caveats=["the teacher saw them"])
    assert calibration_sentence(values).endswith("not strictly so, for the teacher saw them")


def test_where_the_pool_is_another_the_words_say_so_and_that_an_audit_would_help():
    found = certify(*all_right(400), 0.99, 0.95)
    compared = {"p_value": 0.00012, "calibration_images": 400, "pool_images": 2000}
    values = values_of(found, certified=False, threshold=0.99, fallback=0.99, strict=False, compared=compared)
    assert "no threshold is certified" in calibration_sentence(values)
    (warning,) = calibration_warnings(values)
    for part in ("p = 0.0001 on 400 and 2,000 images", "--audit", "fallback threshold 0.99 applies"):
        assert part in warning


@pytest.mark.parametrize(
    ("needed", "said"), [(812, "of about 820"), (None, "more calibration images"), (450, "should have passed")]
)
def test_the_warning_says_what_would_help_and_which_fallback_applies(needed, said):
    nothing = certify(*all_right(200), 0.99, 0.95)
    values = values_of(nothing, threshold=0.97, fallback=0.97, calibration_images_needed=needed)
    (warning,) = calibration_warnings(values)
    assert said in warning
    assert "fallback threshold 0.97 applies" in warning
    assert "target_precision=0.99" in warning
    assert "\n" not in warning


def test_a_temperature_that_its_images_could_not_fit_is_warned_of():
    assert "are right" in calibration_warnings(values_of(None, temperature_errors=0, temperature=1.0))[0]
    assert "at the end" in calibration_warnings(values_of(None, temperature=20.0))[0]
    assert calibration_warnings(values_of(None, method="none", temperature=1.0, temperature_errors=0)) == []
