"""One step's loss and gradient against torch's own functions, on a linear model small enough to work by hand."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisup.pseudo_labels import Policy, State
from semisup.pseudo_labels.fixed import FixedLabels
from semisup.pseudo_labels.online import OnlineArgmax
from semisup.targets import Mixing, one_hot, smooth
from semisup.training.steps import joint_step, supervised_step

CLASSES, B, U = 3, 4, 5


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


IMAGES = torch.randn(B, 1, 2, 3, generator=generator(0))
LABELS = torch.tensor([0, 2, 1, 2])
TARGETS = one_hot(LABELS, CLASSES)
EXTRA = torch.randn(U, 1, 2, 3, generator=generator(1))
INDICES = torch.tensor([3, 0, 4, 1, 2])
PSEUDO_LABELS = torch.tensor([1, 1, 0, 2, 0])  # of images 0..4
PSEUDO_LABELS_OF_BATCH = torch.tensor([2, 1, 0, 1, 0])
PARTNERS = torch.tensor([2, 0, 1, 4, 3])


def linear_model() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, CLASSES))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator(2)))
    return model


@dataclass(frozen=True)
class StatedWeights(Policy):
    """A policy whose targets and weights are stated by the test; it counts its updates."""

    targets: Tensor
    weights: Tensor
    uses_predictions = False

    def init(self, num_unlabeled: int, num_classes: int) -> State:
        return {"updates": torch.tensor(0)}

    def update(self, state: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor, Tensor]:
        return {"updates": state["updates"] + 1}, self.targets, self.weights


def step(model, policy, *, alpha=1.0, mixing=None, smoothing=None):
    return joint_step(
        model,
        IMAGES,
        TARGETS,
        EXTRA,
        INDICES,
        policy=policy,
        state=policy.init(U, CLASSES),
        alpha=alpha,
        mixing=mixing,
        smoothing=smoothing,
    )


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def test_supervised_step_is_the_mean_cross_entropy_and_the_accuracy_of_the_batch():
    model = linear_model()
    figures = supervised_step(model, IMAGES, TARGETS)
    logits = model(IMAGES)
    torch.testing.assert_close(figures.loss, F.cross_entropy(logits, LABELS))
    torch.testing.assert_close(figures.supervised, F.cross_entropy(logits, LABELS))
    assert figures.accuracy.item() == pytest.approx((logits.argmax(dim=1) == LABELS).float().mean().item())
    assert figures.unsupervised.item() == figures.mask_rate.item() == 0


def test_supervised_step_on_mixed_targets_weighs_both_labels():
    model, mixing = linear_model(), Mixing(0.6, torch.tensor([1, 0, 3, 2]))
    figures = supervised_step(model, mixing(IMAGES), mixing(TARGETS))
    logits = model(0.6 * IMAGES + 0.4 * IMAGES[mixing.partner])
    own, partner = F.cross_entropy(logits, LABELS), F.cross_entropy(logits, LABELS[mixing.partner])
    torch.testing.assert_close(figures.loss, 0.6 * own + 0.4 * partner)


def test_figures_are_stacked_without_gradient_in_the_order_of_their_fields():
    figures, _ = step(linear_model(), FixedLabels(PSEUDO_LABELS), alpha=0.5)
    fields = [figures.loss, figures.accuracy, figures.supervised, figures.unsupervised, figures.mask_rate]
    fields.append(figures.unlabeled_share)
    assert figures.stacked().tolist() == [field.item() for field in fields]
    assert not figures.stacked().requires_grad


def test_joint_step_with_fixed_labels_is_the_two_cross_entropies_with_the_labels_of_these_indices():
    model = linear_model()
    figures, _ = step(model, FixedLabels(PSEUDO_LABELS), alpha=0.7)
    supervised = F.cross_entropy(model(IMAGES), LABELS)
    unsupervised = F.cross_entropy(model(EXTRA), PSEUDO_LABELS_OF_BATCH)
    torch.testing.assert_close(figures.supervised, supervised)
    torch.testing.assert_close(figures.unsupervised, unsupervised)
    torch.testing.assert_close(figures.loss, supervised + 0.7 * unsupervised)
    assert figures.mask_rate.item() == 1


def test_online_pseudo_labels_are_the_students_own_argmax_and_give_its_teacher_no_gradient():
    model = linear_model()
    figures, _ = step(model, OnlineArgmax(), alpha=2.0)
    logits = model(EXTRA)
    expected = F.cross_entropy(model(IMAGES), LABELS) + 2 * F.cross_entropy(logits, logits.argmax(dim=1))
    torch.testing.assert_close(figures.loss, expected)
    for ours, torchs in zip(gradients(model, figures.loss), gradients(model, expected), strict=True):
        torch.testing.assert_close(ours, torchs)


def test_gradient_is_linear_in_alpha():
    model = linear_model()
    at = {alpha: gradients(model, step(model, FixedLabels(PSEUDO_LABELS), alpha=alpha)[0].loss) for alpha in (0, 1, 3)}
    for none, one, three in zip(at[0], at[1], at[3], strict=True):
        assert not torch.allclose(none, one)
        torch.testing.assert_close(three - none, 3 * (one - none))


def test_unselected_images_cost_nothing_and_still_count_in_the_denominator():
    model, weights = linear_model(), torch.tensor([1.0, 0.0, 0.5, 0.0, 0.0])
    figures, _ = step(model, StatedWeights(one_hot(PSEUDO_LABELS_OF_BATCH, CLASSES), weights))
    losses = F.cross_entropy(model(EXTRA), PSEUDO_LABELS_OF_BATCH, reduction="none")
    torch.testing.assert_close(figures.unsupervised, (losses[0] + 0.5 * losses[2]) / U)
    assert figures.mask_rate.item() == pytest.approx(2 / 5)


def test_all_weights_zero_leave_the_supervised_loss_and_its_gradient():
    model = linear_model()
    figures, _ = step(model, StatedWeights(one_hot(PSEUDO_LABELS, CLASSES), torch.zeros(U)), alpha=5.0)
    assert figures.unsupervised.item() == figures.mask_rate.item() == 0
    expected = F.cross_entropy(model(IMAGES), LABELS)
    torch.testing.assert_close(figures.loss, expected)
    for ours, torchs in zip(gradients(model, figures.loss), gradients(model, expected), strict=True):
        torch.testing.assert_close(ours, torchs)


@pytest.mark.parametrize("alpha", [0.001, 0.5, 3.0])
def test_unlabelled_share_is_its_part_in_the_gradient_at_the_logits(alpha):
    weights = torch.tensor([1.0, 0.0, 1.0, 0.5, 1.0])
    policy = StatedWeights(one_hot(PSEUDO_LABELS_OF_BATCH, CLASSES), weights)
    figures, _ = step(linear_model(), policy, alpha=alpha)
    logits = linear_model()(torch.cat([IMAGES, EXTRA])).detach().requires_grad_()
    extra = (weights * F.cross_entropy(logits[B:], PSEUDO_LABELS_OF_BATCH, reduction="none")).mean()
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits[:B], LABELS) + alpha * extra, logits)
    expected = gradient[B:].abs().sum() / gradient.abs().sum()
    torch.testing.assert_close(figures.unlabeled_share, expected)


def test_accuracy_is_that_of_the_labelled_images_alone():
    model = linear_model()
    figures, _ = step(model, FixedLabels(PSEUDO_LABELS))
    assert figures.accuracy.item() == pytest.approx((model(IMAGES).argmax(dim=1) == LABELS).float().mean().item())


def test_mixing_acts_on_the_images_and_the_targets_of_the_unlabelled_part():
    model, lam = linear_model(), 0.3
    figures, _ = step(model, FixedLabels(PSEUDO_LABELS), mixing=Mixing(lam, PARTNERS))
    logits = model(lam * EXTRA + (1 - lam) * EXTRA[PARTNERS])
    own = F.cross_entropy(logits, PSEUDO_LABELS_OF_BATCH)
    partners = F.cross_entropy(logits, PSEUDO_LABELS_OF_BATCH[PARTNERS])
    torch.testing.assert_close(figures.unsupervised, lam * own + (1 - lam) * partners)
    torch.testing.assert_close(figures.supervised, F.cross_entropy(model(IMAGES), LABELS))


def test_mixing_mixes_the_weights_with_the_images():
    model, lam, weights = linear_model(), 0.3, torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0])
    policy = StatedWeights(one_hot(PSEUDO_LABELS_OF_BATCH, CLASSES), weights)
    figures, _ = step(model, policy, mixing=Mixing(lam, PARTNERS))
    logits = model(lam * EXTRA + (1 - lam) * EXTRA[PARTNERS])
    own = F.cross_entropy(logits, PSEUDO_LABELS_OF_BATCH, reduction="none")
    partners = F.cross_entropy(logits, PSEUDO_LABELS_OF_BATCH[PARTNERS], reduction="none")
    expected = (lam * weights * own + (1 - lam) * weights[PARTNERS] * partners).sum() / U
    torch.testing.assert_close(figures.unsupervised, expected)


def test_online_pseudo_labels_under_mixup_are_those_of_the_unmixed_images():
    model, lam = linear_model(), 0.45
    mixed_logits, labels = model(lam * EXTRA + (1 - lam) * EXTRA[PARTNERS]), model(EXTRA).argmax(dim=1)
    assert not torch.equal(mixed_logits.argmax(dim=1), labels), "the case would not tell them apart"
    figures, _ = step(model, OnlineArgmax(), mixing=Mixing(lam, PARTNERS))
    expected = lam * F.cross_entropy(mixed_logits, labels) + (1 - lam) * F.cross_entropy(mixed_logits, labels[PARTNERS])
    torch.testing.assert_close(figures.unsupervised, expected)


def test_smoothing_acts_on_the_pseudo_labels_and_leaves_the_labelled_targets_as_they_came():
    model, epsilon = linear_model(), 0.2
    figures, _ = step(model, FixedLabels(PSEUDO_LABELS), smoothing=lambda targets: smooth(targets, epsilon, "all"))
    expected = F.cross_entropy(model(EXTRA), PSEUDO_LABELS_OF_BATCH, label_smoothing=epsilon)
    torch.testing.assert_close(figures.unsupervised, expected)
    torch.testing.assert_close(figures.supervised, F.cross_entropy(model(IMAGES), LABELS))


def test_smoothing_gives_no_weight_to_an_unselected_image():
    policy = StatedWeights(one_hot(PSEUDO_LABELS, CLASSES), torch.zeros(U))
    figures, _ = step(linear_model(), policy, smoothing=lambda targets: smooth(targets, 0.2, "all"))
    assert figures.unsupervised.item() == 0


def test_the_state_that_the_policy_returns_is_passed_on():
    policy = StatedWeights(one_hot(PSEUDO_LABELS, CLASSES), torch.ones(U))
    _, state = step(linear_model(), policy)
    assert state["updates"].item() == 1


def test_batch_norm_sees_both_parts_of_the_batch_together():
    norm = nn.BatchNorm2d(1)
    model = nn.Sequential(norm, linear_model())
    step(model, FixedLabels(PSEUDO_LABELS))
    both = torch.cat([IMAGES, EXTRA])
    torch.testing.assert_close(norm.running_mean, 0.1 * both.mean().view(1))
    assert norm.num_batches_tracked.item() == 1
