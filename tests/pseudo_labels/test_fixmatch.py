"""The policies without memory: FixMatch accepts from the threshold on, soft labels are the prediction itself."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup.pseudo_labels.policies.fixmatch import FixMatch
from semisup.pseudo_labels.policies.soft import SoftLabels

PROBABILITIES = torch.tensor([[0.02, 0.96, 0.02], [0.94, 0.03, 0.03], [0.0, 0.0, 1.0]])
INDICES = torch.tensor([5, 0, 2])


def weights_of(policy: FixMatch, probabilities: torch.Tensor) -> list[float]:
    return policy.update({}, probabilities, torch.arange(len(probabilities)))[2].tolist()


def test_fixmatch_labels_with_the_argmax_and_counts_those_at_095_or_more():
    state, targets, weights = FixMatch().update({}, PROBABILITIES, INDICES)
    assert targets.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert weights.tolist() == [1, 0, 1]
    assert targets.dtype == weights.dtype == torch.float32
    assert state == {}


def test_threshold_zero_counts_every_image():
    assert weights_of(FixMatch(0.0), PROBABILITIES) == [1, 1, 1]


def test_threshold_one_counts_only_the_certain_image():
    assert weights_of(FixMatch(1.0), PROBABILITIES) == [0, 0, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", [0.7, 0.9, 0.95, 0.99])
def test_a_confidence_of_exactly_the_threshold_in_float32_counts(threshold, dtype):
    at = torch.tensor([threshold], dtype=torch.float32)
    below = torch.nextafter(at, torch.tensor([0.0]))
    rows = torch.stack([torch.cat([at, 1 - at]), torch.cat([below, 1 - below])]).to(dtype)
    assert weights_of(FixMatch(threshold), rows) == [1, 0]


@given(
    confidences=st.lists(st.floats(0.5, 1, width=32, exclude_min=True), min_size=1, max_size=20),
    threshold=st.floats(0, 1, width=32),
)
@settings(deadline=None, max_examples=50)
def test_fixmatch_is_its_formula_and_counts_fewer_images_as_the_threshold_rises(confidences, threshold):
    first = torch.tensor(confidences)
    rows = torch.stack([first, 1 - first], dim=1)
    strict, lax = weights_of(FixMatch(threshold), rows), weights_of(FixMatch(threshold / 2), rows)
    assert strict == [float(confidence >= threshold) for confidence in confidences]
    assert all(some >= fewer for some, fewer in zip(lax, strict, strict=True))


def test_soft_labels_are_the_probabilities_and_every_image_counts_fully():
    state, targets, weights = SoftLabels().update({}, PROBABILITIES, INDICES)
    assert targets.tolist() == PROBABILITIES.tolist()
    assert weights.tolist() == [1, 1, 1]
    assert state == {}


@pytest.mark.parametrize("policy", [FixMatch(), SoftLabels()])
def test_policies_without_memory_look_at_predictions_and_add_no_loss(policy):
    assert policy.uses_predictions
    assert policy.init(6, 3) == {}
    assert policy.extra_loss({}, PROBABILITIES, torch.ones(3), INDICES) is None
