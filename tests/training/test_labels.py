"""Targets of labeled batches: one table, or labels disturbed anew for every batch; weights as factors."""

import pytest
import torch
from torch.nn import functional as F

from semisup.config import TrainConfig
from semisup.pseudo_labels.targets import one_hot, smooth
from semisup.training.labels import LabeledTargets
from semisup.training.losses import class_weights, soft_cross_entropy

LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 2, 0, 0, 0])
ALL = torch.arange(10)


def targets_of(weights: torch.Tensor | None = None, **options) -> LabeledTargets:
    return LabeledTargets(LABELS, 3, TrainConfig(**options), seed=0, weights=weights)


def test_without_any_technique_they_are_one_hot():
    batch = torch.tensor([6, 0, 4])
    assert torch.equal(targets_of()(batch), one_hot(LABELS[batch], 3))


def test_smoothing_is_that_of_the_config():
    smoothing = {"epsilon": 0.1, "spread": "others"}
    expected = smooth(one_hot(LABELS, 3), 0.1, "others")
    assert torch.equal(targets_of(label_smoothing=smoothing)(ALL), expected)


def test_loss_with_class_weights_and_smoothing_is_that_of_torch():
    logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    targets = targets_of(class_weights="inverse_frequency", label_smoothing={"epsilon": 0.2})(ALL)
    weights = class_weights(torch.bincount(LABELS), "inverse_frequency")
    expected = F.cross_entropy(logits, LABELS, weight=weights, label_smoothing=0.2, reduction="none")
    torch.testing.assert_close(soft_cross_entropy(logits, targets), expected)


def test_weights_of_images_multiply_their_rows():
    weights = torch.linspace(0, 2, 10)
    assert torch.equal(targets_of(weights)(ALL), one_hot(LABELS, 3) * weights[:, None])


def test_disturbed_labels_are_drawn_anew_for_every_batch_with_weights_following_the_drawn_class():
    targets = targets_of(disturb_label=80.0, class_weights="inverse_frequency", weights=torch.ones(10))
    first, second = targets(ALL), targets(ALL)
    assert not torch.equal(first, second)
    weights = class_weights(torch.bincount(LABELS), "inverse_frequency")
    torch.testing.assert_close(first.sum(dim=1), weights[first.argmax(dim=1)])


def test_disturbed_batches_go_on_where_their_state_was_taken():
    one, other = targets_of(disturb_label=50.0), targets_of(disturb_label=50.0)
    one(ALL)
    other.restore(one.state())
    assert torch.equal(one(ALL), other(ALL))


def test_another_number_of_weights_than_images_is_refused():
    with pytest.raises(ValueError, match="2 weights for 10 images"):
        targets_of(torch.ones(2))
