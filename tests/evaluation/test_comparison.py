"""Statistics over seeds, against scipy, tables and cases that are worked out by hand."""

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from semisup.evaluation.comparison import paired_over_seeds, saved_labels, spread

# --- one figure over seeds --------------------------------------------------------------------------------------------


def test_spread_of_three_seeds_by_hand():
    """Mean 0.9; deviations −0.02, 0, 0.02 give s = sqrt(0.0008 / 2) = 0.02; t(0.975, 2) = 4.3027 (table)."""
    found = spread([0.92, 0.88, 0.90], [0, 1, 2])
    assert (found.mean, found.std) == pytest.approx((0.9, 0.02))
    assert (found.low, found.high) == pytest.approx(
        (0.9 - 4.302653 * 0.02 / sqrt(3), 0.9 + 4.302653 * 0.02 / sqrt(3)), rel=1e-6
    )
    assert (found.worst, found.worst_seed) == (0.88, 1)


def test_one_seed_has_a_mean_and_no_spread():
    found = spread([0.9], [4])
    assert (found.mean, found.std, found.low, found.high) == (0.9, None, None, None)
    assert found.worst_seed == 4


def test_of_equally_bad_seeds_the_first_is_named():
    assert spread([0.9, 0.8, 0.8], [0, 1, 2]).worst_seed == 1


# --- paired differences -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
def test_the_paired_difference_is_that_of_scipy(seeds):
    rng = np.random.default_rng(seeds)
    first = rng.normal(0.9, 0.02, seeds)
    second = first + rng.normal(0.01, 0.01, seeds)
    found = paired_over_seeds(first.tolist(), second.tolist())
    theirs = stats.ttest_rel(second, first)
    assert found.p_value == pytest.approx(theirs.pvalue)
    ends = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert found.mean == pytest.approx((second - first).mean())
    assert found.wins == (second > first).sum()


def test_swapping_the_sides_turns_the_difference_around():
    first, second = [0.90, 0.91, 0.95], [0.93, 0.90, 0.96]
    there, back = paired_over_seeds(first, second), paired_over_seeds(second, first)
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
    assert back.p_value == pytest.approx(there.p_value)
    assert (there.wins, back.wins) == (2, 1)


def test_of_one_seed_nothing_is_said_but_the_difference():
    found = paired_over_seeds([0.5], [0.75])
    assert (found.mean, found.low, found.high, found.p_value) == (0.25, None, None, None)
    assert (found.wins, found.ties, found.seeds) == (1, 0, 1)


@pytest.mark.parametrize("difference", [0.0, 0.25, -0.038])
def test_equal_differences_prove_nothing_also_where_they_are_rounded(difference):
    first = [0.1, 0.7, 0.123]
    found = paired_over_seeds(first, [value + difference for value in first])
    assert found.mean == pytest.approx(difference)
    assert (found.low, found.high, found.p_value) == (None, None, None)


def test_ties_are_no_wins():
    found = paired_over_seeds([0.5, 0.5, 0.5], [0.5, 0.625, 0.25])
    assert (found.wins, found.ties) == (1, 1)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [([], [], "no values"), ([0.5], [0.5, 0.6], "paired"), ([0.5], [float("nan")], "not a number")],
)
def test_what_cannot_be_compared_is_refused(first, second, said):
    with pytest.raises(ValueError, match=said):
        paired_over_seeds(first, second)


# --- labels saved -----------------------------------------------------------------------------------------------------


def test_halfway_between_two_accuracies_lies_the_geometric_mean_of_the_labels():
    first, second = saved_labels([100, 400], [0.8, 0.9], [0.85, 0.9])
    assert first.as_good_with == pytest.approx(200)
    assert first.more_than is None
    assert second.as_good_with == 400


def test_the_curve_is_followed_over_several_segments():
    """0.94 is 4/5 of the way from 0.90 to 0.95, over the decade from 100 to 1,000."""
    first, _, _ = saved_labels([10, 100, 1000], [0.5, 0.90, 0.95], [0.94, 0.95, 0.95])
    assert first.as_good_with == pytest.approx(100 * 10**0.8)


def test_a_student_beyond_the_curve_needs_more_than_its_last_number_of_labels():
    first, last = saved_labels([50, 100], [0.8, 0.9], [0.95, 0.91])
    assert (first.as_good_with, first.more_than) == (None, 100)
    assert (last.as_good_with, last.more_than) == (None, 100)


def test_a_worse_student_saves_nothing():
    (only,) = saved_labels([50], [0.8], [0.79])
    assert (only.as_good_with, only.more_than) == (None, None)


def test_a_curve_that_falls_first_is_followed_to_the_right_only():
    """From 100 on: 0.80 → 0.70 → 0.90; 0.85 is first reached 3/4 of the way from 200 to 400."""
    _, second, *_ = saved_labels([50, 100, 200, 400], [0.9, 0.8, 0.7, 0.9], [0.9, 0.85, 0.7, 0.9])
    assert second.as_good_with == pytest.approx(200 * 2**0.75)


def test_what_is_reached_exactly_at_a_point_is_that_point():
    first, *_ = saved_labels([50, 100, 200], [0.75, 0.875, 0.9], [0.875, 0.9, 0.9])
    assert first.as_good_with == pytest.approx(100)


@pytest.mark.parametrize("labels", [[100, 50], [50, 50], [0, 50]])
def test_numbers_of_labels_rise(labels):
    with pytest.raises(ValueError, match="must rise"):
        saved_labels(labels, [0.5, 0.6], [0.5, 0.6])
