"""Losses against torch's cross-entropy, and the joint loss by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from semisup.pseudo_labels.targets import Mixing, one_hot, smooth
from semisup.training.losses import class_weights, joint_loss, soft_cross_entropy

LOGITS = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
LABELS = torch.randint(5, (12,), generator=torch.Generator().manual_seed(2))


def test_soft_cross_entropy_of_one_hot_targets_is_cross_entropy_of_the_labels():
    expected = F.cross_entropy(LOGITS, LABELS, reduction="none")
    torch.testing.assert_close(soft_cross_entropy(LOGITS, one_hot(LABELS, 5)), expected)


def test_soft_cross_entropy_of_probabilities_is_cross_entropy_of_torch():
    probabilities = torch.rand(12, 5, generator=torch.Generator().manual_seed(4)).softmax(dim=1)
    expected = F.cross_entropy(LOGITS, probabilities, reduction="none")
    torch.testing.assert_close(soft_cross_entropy(LOGITS, probabilities), expected)


def test_equal_logits_cost_log_of_the_number_of_classes_whatever_the_target():
    targets = torch.tensor([[1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]])
    losses = soft_cross_entropy(torch.zeros(2, 4), targets)
    torch.testing.assert_close(losses, torch.full((2,), math.log(4)))


def test_loss_on_mixed_targets_is_the_lambda_weighted_loss_on_both_labels():
    lam, partner = 0.3, torch.arange(12).roll(5)
    mixed = soft_cross_entropy(LOGITS, Mixing(lam, partner)(one_hot(LABELS, 5)))
    on_own, on_partner = (F.cross_entropy(LOGITS, labels, reduction="none") for labels in (LABELS, LABELS[partner]))
    torch.testing.assert_close(mixed, lam * on_own + (1 - lam) * on_partner)


def test_large_logits_neither_overflow_nor_lose_the_loss():
    losses = soft_cross_entropy(torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1.0]]))
    assert losses.tolist() == [1e4]


def test_gradient_is_softmax_minus_target():
    logits = LOGITS.clone().requires_grad_()
    soft_cross_entropy(logits, one_hot(LABELS, 5)).sum().backward()
    torch.testing.assert_close(logits.grad, LOGITS.softmax(dim=1) - one_hot(LABELS, 5))


def test_joint_loss_is_supervised_plus_alpha_times_unsupervised():
    total, supervised, unsupervised = joint_loss(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 8.0, 0.0]), 0.5)
    assert (total.item(), supervised.item(), unsupervised.item()) == (2 + 0.5 * 4, 2, 4)


def test_unlabeled_part_is_divided_by_the_batch_size_and_not_by_the_number_selected():
    one_of_four_selected = torch.tensor([0.0, 6.0, 0.0, 0.0])
    _, _, unsupervised = joint_loss(torch.ones(1), one_of_four_selected, 1.0)
    assert unsupervised.item() == pytest.approx(6 / 4)


def test_alpha_zero_leaves_the_supervised_loss():
    total, supervised, _ = joint_loss(torch.tensor([1.0, 2.0]), torch.tensor([9.0]), 0.0)
    assert total.item() == supervised.item() == 1.5


# --- class weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_class_weights_as_factors_of_the_targets_are_the_weights_of_torch(epsilon):
    weights = torch.tensor([0.2, 1.0, 3.0, 0.5, 1.5])
    targets = smooth(one_hot(LABELS, 5), epsilon, "all") * weights
    torchs = torch.nn.CrossEntropyLoss(weight=weights, label_smoothing=epsilon, reduction="none")(LOGITS, LABELS)
    torch.testing.assert_close(soft_cross_entropy(LOGITS, targets), torchs)


def test_complement_weights_are_one_minus_the_share_of_the_class_up_to_scale():
    weights = class_weights(torch.tensor([4, 14, 2]), "complement")  # 1 − 4/20, 1 − 14/20, 1 − 2/20
    torch.testing.assert_close(weights / weights[0], torch.tensor([0.8, 0.3, 0.9]) / 0.8)


def test_inverse_frequency_weights_are_the_balanced_ones_of_scikit_learn():
    counts = torch.tensor([4, 14, 2])
    labels = torch.arange(3).repeat_interleave(counts).numpy()
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    torch.testing.assert_close(class_weights(counts, "inverse_frequency"), torch.from_numpy(expected).float())


@pytest.mark.parametrize("scheme", ["none", "complement", "inverse_frequency"])
@pytest.mark.parametrize("counts", [[5], [3, 3], [100, 10, 1]])
def test_the_mean_weight_over_the_images_is_one(scheme, counts):
    counts = torch.tensor(counts)
    mean = (class_weights(counts, scheme) * counts).sum() / counts.sum()
    assert mean.item() == pytest.approx(1)


@pytest.mark.parametrize("scheme", ["none", "complement", "inverse_frequency"])
def test_balanced_classes_have_equal_weights(scheme):
    torch.testing.assert_close(class_weights(torch.full((7,), 9), scheme), torch.ones(7))
