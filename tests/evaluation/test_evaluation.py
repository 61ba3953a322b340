"""Expectations come from the papers' formulas worked out by hand, from scipy's distributions and from scikit-learn."""

import json
from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta
from sklearn.metrics import f1_score, precision_score, recall_score

from semisup.evaluation.scores import (
    accuracy_interval,
    classification_report,
    compare_right,
    confusion,
    evaluate_models,
    macro_f1,
    mcnemar,
    paired_difference,
)

Arrays = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def counts_of_pairs(most: int) -> st.SearchStrategy[list[int]]:
    """How many images both models get right, the first alone, the second alone, and neither; never none at all."""
    return st.lists(st.integers(0, most), min_size=4, max_size=4).filter(any)


def paired(both: int, only_first: int, only_second: int, neither: int) -> Arrays:
    """Labels in which the four cells of the paired table have the given counts."""
    first = np.repeat([0, 0, 1, 1], [both, only_first, only_second, neither])
    second = np.repeat([0, 1, 0, 1], [both, only_first, only_second, neither])
    return np.zeros_like(first), first, second


@pytest.mark.parametrize(("correct", "total"), [(7, 10), (981, 1000), (1, 3)])
def test_accuracy_interval_is_the_pair_of_beta_quantiles(correct: int, total: int) -> None:
    interval = accuracy_interval(correct, total)
    assert interval.estimate == correct / total
    assert interval.low == pytest.approx(beta.ppf(0.025, correct, total - correct + 1))
    assert interval.high == pytest.approx(beta.ppf(0.975, correct + 1, total - correct))


def test_accuracy_interval_with_all_right_has_the_closed_form_lower_end() -> None:
    interval = accuracy_interval(20, 20)
    assert interval.high == 1.0
    assert interval.low == pytest.approx(0.025 ** (1 / 20))


def test_accuracy_interval_with_none_right_mirrors_all_right() -> None:
    none, every = accuracy_interval(0, 20), accuracy_interval(20, 20)
    assert none.low == 0.0
    assert none.high == pytest.approx(1 - every.low)


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (-1, 5), (6, 5)])
def test_accuracy_interval_rejects_impossible_counts(correct: int, total: int) -> None:
    with pytest.raises(ValueError, match="total="):
        accuracy_interval(correct, total)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_outside_0_and_1_is_rejected(level: float) -> None:
    with pytest.raises(ValueError, match=f"level={level}"):
        accuracy_interval(1, 2, level)


def test_classification_report_and_confusion_of_a_case_worked_by_hand() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 1, 0])
    report = classification_report(truth, predicted, 4)  # class 3 never occurs
    np.testing.assert_allclose(report.precision, [2 / 3, 2 / 3, 0, 0])
    np.testing.assert_allclose(report.recall, [2 / 3, 1, 0, 0])
    np.testing.assert_allclose(report.f1, [2 / 3, 4 / 5, 0, 0])
    np.testing.assert_array_equal(report.support, [3, 2, 1, 0])
    np.testing.assert_array_equal(
        confusion(truth, predicted, 4), [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    )
    assert macro_f1(truth, predicted) == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)  # class 3 is left out


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_per_class_figures_agree_with_the_confusion_matrix_and_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs).T
    counts = confusion(truth, predicted, 5)
    report = classification_report(truth, predicted, 5)
    assert counts.sum() == len(pairs)
    np.testing.assert_array_equal(counts.sum(axis=1), report.support)
    options = {"labels": np.arange(5), "average": None, "zero_division": 0}
    np.testing.assert_allclose(report.precision, precision_score(truth, predicted, **options))
    np.testing.assert_allclose(report.recall, recall_score(truth, predicted, **options))
    np.testing.assert_allclose(report.f1, f1_score(truth, predicted, **options))


def test_mcnemar_of_1_against_9_is_22_in_1024() -> None:
    result = mcnemar(*paired(50, 1, 9, 5))
    assert (result.only_first_right, result.only_second_right) == (1, 9)
    assert result.p_value == pytest.approx(2 * (comb(10, 0) + comb(10, 1)) / 2**10)


@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_is_the_doubled_binomial_tail_and_symmetric(only_first: int, only_second: int) -> None:
    discordant, smaller = only_first + only_second, min(only_first, only_second)
    tail = sum(comb(discordant, k) for k in range(smaller + 1)) / 2**discordant
    assert mcnemar(*paired(3, only_first, only_second, 2)).p_value == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(*paired(3, only_second, only_first, 2)).p_value == pytest.approx(min(1.0, 2 * tail))


def test_mcnemar_without_discordant_pairs_has_p_1() -> None:
    assert mcnemar(*paired(10, 0, 0, 3)).p_value == 1.0


def test_paired_difference_of_a_case_worked_by_hand() -> None:
    interval = paired_difference(*paired(80, 4, 12, 4))  # n = 100: b' = 4.5, c' = 12.5, n' = 102
    center, z = 8 / 102, 1.959963984540054
    half_width = z * sqrt((17 / 102 - center**2) / 102)
    assert interval.estimate == pytest.approx(0.08)
    assert interval.low == pytest.approx(center - half_width)
    assert interval.high == pytest.approx(center + half_width)


@given(counts_of_pairs(200))
def test_paired_difference_holds_its_estimate_and_turns_its_sign_with_the_order(counts: list[int]) -> None:
    both, only_first, only_second, neither = counts
    forward = paired_difference(*paired(both, only_first, only_second, neither))
    backward = paired_difference(*paired(both, only_second, only_first, neither))
    assert -1 <= forward.low <= forward.estimate <= forward.high <= 1
    assert forward.low < forward.high
    assert (forward.estimate, forward.low) == pytest.approx((-backward.estimate, -backward.high))


def test_paired_difference_covers_the_truth_at_about_its_level() -> None:
    generator = np.random.default_rng(0)
    cells = generator.multinomial(200, [0.85, 0.03, 0.08, 0.04], size=1000)
    hits = [paired_difference(*paired(*(int(cell) for cell in row))) for row in cells]
    coverage = np.mean([interval.low <= 0.05 <= interval.high for interval in hits])
    assert coverage == pytest.approx(0.95, abs=4 * sqrt(0.95 * 0.05 / 1000))  # four standard errors


@pytest.mark.parametrize(
    ("only_baseline", "only_student", "verdict"),
    [(1, 9, "student better"), (9, 1, "baseline better"), (2, 8, "no difference shown"), (0, 0, "no difference shown")],
)  # p = 0.021, 0.021, 0.109 and 1
def test_verdict_follows_the_exact_test(only_baseline: int, only_student: int, verdict: str) -> None:
    metrics = evaluate_models(*paired(50, only_baseline, only_student, 5), ["right", "wrong"])
    assert metrics["verdict"] == verdict
    assert metrics["mcnemar"]["only_baseline_right"] == only_baseline
    assert metrics["mcnemar"]["only_student_right"] == only_student


def test_evaluate_models_is_plain_json_and_agrees_with_its_parts() -> None:
    truth, baseline, student = np.array([0, 1, 2, 2]), np.array([0, 1, 1, 0]), np.array([0, 1, 2, 0])
    metrics = evaluate_models(truth, baseline, student, ["a", "b", "c"])
    assert json.loads(json.dumps(metrics)) == metrics
    assert metrics["total"] == 4
    assert metrics["baseline"]["accuracy"]["estimate"] == 0.5
    assert metrics["student"]["accuracy"]["estimate"] == 0.75
    assert metrics["difference"]["estimate"] == 0.25
    assert metrics["student"]["confusion"] == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert [row["name"] for row in metrics["student"]["per_class"]] == ["a", "b", "c"]
    assert metrics["student"]["per_class"][2] == pytest.approx(
        {"name": "c", "precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 2}
    )


@given(counts_of_pairs(30))
def test_the_comparison_needs_no_more_than_which_images_each_model_gets_right(pairs: list[int]) -> None:
    both, only_baseline, only_student, neither = pairs
    truth, baseline, student = paired(both, only_baseline, only_student, neither)
    metrics = evaluate_models(truth, baseline, student, ["right", "wrong"])
    comparison = compare_right(baseline == truth, student == truth)
    assert comparison == {key: metrics[key] for key in ("mcnemar", "difference", "verdict")}
    counts = comparison["mcnemar"]
    assert (counts["only_baseline_right"], counts["only_student_right"]) == (only_baseline, only_student)


def test_nothing_and_unequal_numbers_of_images_cannot_be_compared() -> None:
    right = np.array([True, False])
    with pytest.raises(ValueError, match="empty"):
        compare_right(right[:0], right[:0])
    with pytest.raises(ValueError, match=r"second has shape \(1,\)"):
        compare_right(right, right[:1])


def test_labels_that_cannot_be_evaluated_are_rejected_by_name() -> None:
    empty, labels = np.array([], dtype=np.int64), np.array([0, 1])
    with pytest.raises(ValueError, match="truth is empty"):
        mcnemar(empty, empty, empty)
    with pytest.raises(ValueError, match=r"second has shape \(1,\)"):
        mcnemar(labels, labels, labels[:1])
    with pytest.raises(ValueError, match=r"predicted holds labels 0..1, outside \[0, 1\)"):
        confusion(np.array([0, 0]), labels, 1)
    with pytest.raises(ValueError, match=r"truth holds labels -1..0"):
        classification_report(np.array([-1, 0]), labels, 2)
    with pytest.raises(ValueError, match="predicted has dtype float64"):
        macro_f1(labels, labels.astype(float))
