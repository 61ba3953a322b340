"""Policies by hand: fixed labels looked up by index, the student's own argmax, and their limit cases."""

import pytest
import torch

from semisup.pseudo_labels.policies.online import OnlineArgmax
from semisup.pseudo_labels.policies.threshold import FixedLabels

PROBABILITIES = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
ANY_INDICES = torch.tensor([5, 0, 2])
NONE = torch.empty(0, dtype=torch.int64)


def test_online_targets_are_the_one_hot_argmax_and_every_image_counts_fully():
    policy = OnlineArgmax()
    _, targets, weights = policy.update(policy.init(6, 3), PROBABILITIES, ANY_INDICES)
    assert targets.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert weights.tolist() == [1, 1, 1]
    assert targets.dtype == weights.dtype == torch.float32


def test_online_targets_follow_the_prediction_and_remember_nothing():
    policy = OnlineArgmax()
    state, _, _ = policy.update(policy.init(6, 3), PROBABILITIES, ANY_INDICES)
    _, targets, _ = policy.update(state, PROBABILITIES.flip(1), ANY_INDICES)
    assert targets.argmax(dim=1).tolist() == [1, 2, 0]


def test_fixed_targets_are_those_of_the_indices_whatever_the_prediction():
    policy = FixedLabels(torch.tensor([2, 0, 1, 1]))
    state = policy.init(4, 3)
    for probabilities in (PROBABILITIES, PROBABILITIES.flip(1)):
        state, targets, weights = policy.update(state, probabilities, torch.tensor([3, 0, 0]))
        assert targets.tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 1]]
        assert weights.tolist() == [1, 1, 1]


def test_only_the_online_policy_asks_for_predictions():
    assert OnlineArgmax().uses_predictions
    assert not FixedLabels(torch.tensor([0])).uses_predictions


@pytest.mark.parametrize("policy", [OnlineArgmax(), FixedLabels(torch.tensor([0, 1]))])
def test_an_empty_batch_has_no_targets_and_no_weights(policy):
    _, targets, weights = policy.update(policy.init(2, 3), PROBABILITIES[:0], NONE)
    assert targets.shape == (0, 3)
    assert weights.shape == (0,)


@pytest.mark.parametrize("policy", [OnlineArgmax(), FixedLabels(torch.tensor([0, 0]))])
def test_a_single_class_is_every_images_target(policy):
    _, targets, _ = policy.update(policy.init(2, 1), torch.ones(2, 1), torch.tensor([1, 0]))
    assert targets.tolist() == [[1], [1]]


@pytest.mark.parametrize("count", [1, 3])
def test_fixed_labels_are_refused_when_they_are_not_one_per_image(count):
    with pytest.raises(ValueError, match=f"2 pseudo-labels for {count} images"):
        FixedLabels(torch.tensor([0, 1])).init(count, 3)


@pytest.mark.parametrize("outside", [-1, 3])
def test_fixed_labels_outside_the_classes_are_refused(outside):
    with pytest.raises(ValueError, match=f"label {outside} is outside"):
        FixedLabels(torch.tensor([0, outside])).init(2, 3)
