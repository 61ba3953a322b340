"""AdaMatch by hand: alignment with the labeled images' predictions, and the threshold that follows their confidence."""

import pytest
import torch
from torch import nn

from semisup.pseudo_labels.modifiers import Sharpened
from semisup.pseudo_labels.policies.adamatch import AdaMatch
from semisup.training.steps import joint_step

LABELED = torch.tensor([[0.9, 0.1], [0.6, 0.4]])  # mean confidence 0.75, mean prediction (0.75, 0.25)
UNLABELED = torch.tensor([[0.8, 0.2], [0.3, 0.7]])  # mean prediction (0.55, 0.45)
BOTH = torch.arange(2)


def seen(policy, labeled, state=None):
    return policy.look_at_labeled(policy.init(2, labeled.shape[1]) if state is None else state, labeled)


def test_one_step_with_the_papers_means_of_the_batch_worked_by_hand():
    policy = AdaMatch(threshold=0.9, momentum=0.0)
    state, targets, weights = policy.update(seen(policy, LABELED), UNLABELED, BOTH)
    first = (0.8 * 0.75 / 0.55, 0.2 * 0.25 / 0.45)
    second = (0.3 * 0.75 / 0.55, 0.7 * 0.25 / 0.45)
    expected = torch.tensor([[value / sum(row) for value in row] for row in (first, second)])
    torch.testing.assert_close(targets, expected, atol=1e-5, rtol=0)
    assert targets[1].argmax() == 0, "alignment with labels of which three in four are of class 0 turns this label"
    assert weights.tolist() == [1, 0]  # 0.908 and 0.513 against 0.9 · 0.75
    assert state["labeled_confidence"].item() == pytest.approx(0.75)


def test_running_means_after_two_batches_weigh_them_as_momentum_to_one():
    policy = AdaMatch(momentum=0.5)
    state, _, _ = policy.update(seen(policy, LABELED), UNLABELED, BOTH)
    state, _, _ = policy.update(seen(policy, UNLABELED, state), LABELED, BOTH)
    # of the first batch 0.5 · 0.5, of the second 0.5, divided by their sum: one third and two thirds
    assert state["labeled_prediction"].tolist() == pytest.approx([(0.75 + 2 * 0.55) / 3, (0.25 + 2 * 0.45) / 3])
    assert state["mean_prediction"].tolist() == pytest.approx([(0.55 + 2 * 0.75) / 3, (0.45 + 2 * 0.25) / 3])
    assert state["labeled_confidence"].item() == pytest.approx(0.75), "the threshold follows the last batch alone"


def test_a_labeled_batch_that_is_half_as_sure_halves_the_threshold():
    policy = AdaMatch(threshold=0.8, momentum=0.0)
    unsure = torch.tensor([[0.45, 0.4, 0.15], [0.15, 0.45, 0.4], [0.4, 0.15, 0.45]])  # each class 1/3 in the mean
    sure = torch.tensor([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]])
    pool = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]])  # in the mean the same: unchanged
    for labeled, accepted in ((unsure, 1.0), (sure, 0.0)):
        _, targets, weights = policy.update(seen(policy, labeled), pool, torch.arange(3))
        torch.testing.assert_close(targets, pool)
        assert weights.tolist() == [accepted] * 3  # 0.5 against 0.36 and 0.72


@pytest.mark.parametrize(("threshold", "weights"), [(0.0, [1.0, 1.0]), (1.0, [0.0, 1.0])])
def test_the_ends_of_the_threshold_take_all_and_what_is_as_sure_as_the_labels(threshold, weights):
    policy = AdaMatch(threshold, momentum=0.0)
    certain = torch.eye(2)
    pool = torch.tensor([[0.6, 0.4], [0.0, 1.0]])
    _, _, got = policy.update(seen(policy, certain), pool, BOTH)
    assert got.tolist() == weights


def test_behind_a_temperature_labeled_images_are_sharpened_as_unlabeled_ones_are():
    policy = Sharpened(AdaMatch(momentum=0.0), 0.5)
    state = policy.look_at_labeled(policy.init(2, 2), LABELED)
    squared = [0.81 / 0.82, 0.36 / 0.52]
    assert state["inner.labeled_confidence"].item() == pytest.approx(sum(squared) / 2)


def test_a_step_tells_the_policy_what_the_teacher_predicts_for_the_unmixed_labeled_images():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(6, 1, 2, 2, generator=generator)
    labeled, unlabeled = images[:2], images[2:]
    model, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(4, 3)) for _ in range(2))
    policy = AdaMatch(momentum=0.0)
    _, state = joint_step(
        model,
        labeled.flip(0) * 0.5,  # as mixup leaves them
        torch.eye(3)[:2],
        unlabeled,
        torch.arange(4),
        policy=policy,
        state=policy.init(4, 3),
        alpha=1.0,
        mixing=None,
        smoothing=None,
        teacher=teacher,
        labeled_images=labeled,
    )
    expected = teacher(labeled).softmax(dim=1)
    torch.testing.assert_close(state["labeled_prediction"], expected.mean(dim=0))
    torch.testing.assert_close(state["labeled_confidence"], expected.amax(dim=1).mean())
