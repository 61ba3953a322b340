"""A table is refused where too few labels are shown to be right: figures are those of the Beta distribution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from semisup.evaluation.expected import Expected
from semisup.pseudo_labels.table import Selection

counts = st.integers(1, 300).flatmap(lambda accepted: st.tuples(st.just(accepted), st.integers(0, accepted)))


@given(counts=counts, least=st.floats(0, 1))
def test_too_few_labels_are_right_where_the_whole_interval_lies_below_the_least_precision(counts, least):
    accepted, right = counts
    highest = 1.0 if right == accepted else beta.ppf(0.975, right + 1, accepted - right)
    if abs(highest - least) > 1e-9:
        assert Expected(400, accepted, right).are_too_few(least) == (highest < least)


def test_only_what_would_be_accepted_is_judged():
    labels, truth = np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2])
    assert Expected.of(labels, np.array([True, False, True, False]), truth) == Expected(4, accepted=2, right=1)


@pytest.mark.parametrize("least", [0.0, 1.0])
def test_where_no_judge_is_labeled_surely_nothing_is_refused(least):
    expected = Expected.of(np.array([0, 1]), np.zeros(2, bool), np.array([1, 0]))
    assert expected.precision is None
    assert not expected.are_too_few(least)


def test_a_selection_that_refuses_gives_its_reason_to_every_image():
    reasons = Selection(0.5, refused="refused").reasons(np.array([0, 1]), np.array([0.9, 0.2], np.float32), None)
    assert reasons.tolist() == ["refused"] * 2
