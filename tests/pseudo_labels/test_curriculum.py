"""Curriculum labeling: each round's threshold accepts its share of the images."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup.pseudo_labels.curriculum import percentile_threshold

ELEVEN = np.arange(11, dtype=np.float32) / 16  # numbers that float32 holds exactly, in sixteenths


@pytest.mark.parametrize(("round_number", "place"), [(1, 8), (2, 6), (3, 4), (4, 2), (5, 0), (6, 0), (100, 0)])
def test_the_threshold_of_round_r_is_the_100_minus_20_r_th_percentile(round_number, place):
    # Of eleven sorted values the percentiles 0, 10, ... 100 are the values themselves.
    shuffled = np.random.default_rng(3).permutation(ELEVEN)
    assert percentile_threshold(shuffled, round_number) == place / 16


def test_between_two_values_the_percentile_is_interpolated():
    assert percentile_threshold(np.array([0.0, 1.0], dtype=np.float32), 1) == pytest.approx(0.8)


@pytest.mark.parametrize("step", [0.1, 0.25, 0.5, 1.0])
def test_the_round_that_reaches_one_accepts_everything(step):
    assert percentile_threshold(ELEVEN, round(1 / step), step) == ELEVEN.min()


def test_equal_confidences_are_accepted_in_the_first_round():
    assert percentile_threshold(np.full(7, 0.9, dtype=np.float32), 1) == np.float32(0.9)


@given(
    values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60),
    round_number=st.integers(1, 7),
)
@settings(deadline=None, max_examples=200)
def test_each_round_accepts_at_least_its_share_and_no_fewer_than_the_round_before(values, round_number):
    confidence = np.array(values, dtype=np.float32)
    threshold = percentile_threshold(confidence, round_number)
    accepted = int((confidence >= np.float32(threshold)).sum())
    assert threshold == float(np.float32(threshold))  # without float() numpy compares in float32
    # At the percentile lies position (N - 1)·(1 - 0.2 r) of the sorted values, counted from 0.
    position = (len(values) - 1) * max(0, 5 - round_number) / 5
    assert accepted >= len(values) - math.ceil(position)
    if len(set(values)) == len(values) and position == int(position):
        assert accepted == len(values) - int(position)
    assert percentile_threshold(confidence, round_number + 1) <= threshold
    if round_number >= 5:
        assert accepted == len(values)


def test_without_confidences_there_is_no_threshold():
    with pytest.raises(ValueError, match="no confidences"):
        percentile_threshold(np.empty(0, dtype=np.float32), 1)


def test_rounds_count_from_one():
    with pytest.raises(ValueError, match="round_number=0"):
        percentile_threshold(ELEVEN, 0)


@pytest.mark.parametrize("step", [0.0, -0.2, 20.0])
def test_a_step_that_is_no_fraction_is_refused(step):
    with pytest.raises(ValueError, match=f"step={step}"):
        percentile_threshold(ELEVEN, 1, step)
