"""One step's loss and gradient against torch's own functions, on a linear model small enough to work by hand."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisup.pseudo_labels import Policy, State
from semisup.pseudo_labels.policies.online import OnlineArgmax
from semisup.pseudo_labels.policies.threshold import FixedLabels
from semisup.pseudo_labels.targets import Mixing, one_hot, smooth
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


def step(model, policy, *, alpha=1.0, mixing=None, smoothing=None, teacher_images=None, **options):
    """As the loop does it: a mixed image is seen by the student, and unmixed by the teacher."""
    if mixing is not None and teacher_images is None:
        teacher_images = EXTRA
    return joint_step(
        model,
        IMAGES,
        TARGETS,
        EXTRA if mixing is None else mixing(EXTRA),
        INDICES,
        policy=policy,
        state=policy.init(U, CLASSES),
        alpha=alpha,
        mixing=mixing,
        smoothing=smoothing,
        teacher_images=teacher_images,
        **options,
    )


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def test_supervised_step_is_the_mean_cross_entropy_and_the_accuracy_of_the_batch():
    model = linear_model()
    figures = supervised_step(model, IMAGES, TARGETS)
    logits = model(IMAGES)
    torch.testing.assert_close(figures.loss, F.cross_entropy(logits, LABELS))
    assert figures.accuracy.item() == pytest.approx((logits.argmax(dim=1) == LABELS).float().mean().item())
    assert figures.stacked().tolist() == [figures.loss.item(), figures.accuracy.item()]


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
def test_unlabeled_share_is_its_part_in_the_gradient_at_the_logits(alpha):
    weights = torch.tensor([1.0, 0.0, 1.0, 0.5, 1.0])
    policy = StatedWeights(one_hot(PSEUDO_LABELS_OF_BATCH, CLASSES), weights)
    figures, _ = step(linear_model(), policy, alpha=alpha)
    logits = linear_model()(torch.cat([IMAGES, EXTRA])).detach().requires_grad_()
    extra = (weights * F.cross_entropy(logits[B:], PSEUDO_LABELS_OF_BATCH, reduction="none")).mean()
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits[:B], LABELS) + alpha * extra, logits)
    expected = gradient[B:].abs().sum() / gradient.abs().sum()
    torch.testing.assert_close(figures.unlabeled_share, expected)


def test_accuracy_is_that_of_the_labeled_images_alone():
    model = linear_model()
    figures, _ = step(model, FixedLabels(PSEUDO_LABELS))
    assert figures.accuracy.item() == pytest.approx((model(IMAGES).argmax(dim=1) == LABELS).float().mean().item())


def test_mixing_acts_on_the_images_and_the_targets_of_the_unlabeled_part():
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


def test_smoothing_acts_on_the_pseudo_labels_and_leaves_the_labeled_targets_as_they_came():
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


# --- the teacher ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe(Policy):
    """A policy that keeps what it is given, and asks for the first class of every image."""

    seen: list[tuple[Tensor, Tensor]]
    """(probabilities, indices) of each update."""
    uses_predictions: bool = True

    def init(self, num_unlabeled: int, num_classes: int) -> State:
        return {}

    def update(self, state: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor, Tensor]:
        self.seen.append((probabilities, indices))
        return state, one_hot(torch.zeros_like(indices), CLASSES), torch.ones(len(indices))


class Counted(nn.Module):
    """A network with batch norm and dropout that counts its forward passes, and in which mode they were."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(6, CLASSES))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator(seed)))
            self.net[0].running_mean.fill_(0.3)
            self.net[0].running_var.fill_(1.7)
        self.modes: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        self.modes.append(self.training)
        logits: Tensor = self.net(images)
        return logits


VIEW = torch.randn(U, 1, 2, 3, generator=generator(8))
MIXING = Mixing(0.3, PARTNERS)


def by_hand(model: Counted, images: Tensor) -> Tensor:
    """Probabilities in eval mode: batch norm by its running statistics, and no dropout."""
    norm, linear = model.net[0], model.net[3]
    normed = (images - 0.3) / (1.7 + norm.eps) ** 0.5 * norm.weight + norm.bias
    return (normed.flatten(1) @ linear.weight.T + linear.bias).softmax(dim=1).detach()


@pytest.mark.parametrize("mixing", [None, MIXING])
@pytest.mark.parametrize("teacher_images", [None, VIEW])
@pytest.mark.parametrize("teacher", [None, Counted(seed=5)])
def test_a_policy_gets_what_the_teacher_says_of_its_view_in_eval_mode_before_any_mixing(
    teacher, teacher_images, mixing
):
    probe, model = Probe([]), Counted(seed=4)
    step(model.train(), probe, mixing=mixing, teacher=teacher, teacher_images=teacher_images)
    ((probabilities, indices),) = probe.seen
    assert torch.equal(indices, INDICES)
    assert not probabilities.requires_grad
    if teacher is None and teacher_images is None and mixing is None:  # the student's own, with its dropout
        assert model.modes == [True]
    else:
        expected = by_hand(teacher or model, EXTRA if teacher_images is None else teacher_images)
        torch.testing.assert_close(probabilities, expected)


@pytest.mark.parametrize("of_an_average", [True, False])
def test_a_teachers_look_moves_neither_its_statistics_nor_its_mode_and_gives_it_no_gradient(of_an_average):
    model, teacher = Counted(seed=4).train(), Counted(seed=5).train() if of_an_average else None
    lonely = Counted(seed=4).train()
    figures, _ = step(model, Probe([]), teacher=teacher, teacher_images=VIEW)
    step(lonely, Probe([], uses_predictions=False))
    figures.loss.backward()
    for name, value in model.state_dict().items():  # one step's batch has moved them, and nothing else
        assert torch.equal(value, lonely.state_dict()[name])
    if teacher:
        untouched = Counted(seed=5).state_dict()
        assert all(torch.equal(value, untouched[name]) for name, value in teacher.state_dict().items())
        assert all(parameter.grad is None for parameter in teacher.parameters())
    for network in (model, teacher):
        assert network is None or all(module.training for module in network.modules())


def test_a_teacher_in_eval_mode_stays_in_it():
    teacher = Counted(seed=5).eval()
    step(Counted(seed=4).train(), Probe([]), teacher=teacher, teacher_images=VIEW)
    assert not any(module.training for module in teacher.modules())


@pytest.mark.parametrize(
    ("uses", "has_teacher", "has_view", "mixing", "students", "teachers"),
    [
        (True, False, False, None, [True], []),  # what the student puts out anyway
        (True, False, True, None, [False, True], []),
        (True, False, False, MIXING, [False, True], []),
        (True, True, False, None, [True], [False]),
        (True, True, True, MIXING, [True], [False]),
        (False, True, True, MIXING, [True], []),  # nobody looks at predictions
        (False, False, True, None, [True], []),
    ],
)
def test_a_further_forward_pass_is_spent_only_where_the_student_does_not_say_it_anyway(
    *, uses, has_teacher, has_view, mixing, students, teachers
):
    model, teacher = Counted(seed=4).train(), Counted(seed=5)
    policy = Probe([], uses_predictions=uses)
    step(
        model,
        policy,
        mixing=mixing,
        teacher=teacher if has_teacher else None,
        teacher_images=VIEW if has_view else None,
    )
    assert (model.modes, teacher.modes) == (students, teachers)


# --- a term of the policy's own ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peaked(StatedWeights):
    """A policy whose own term is the weighted mean square of the logits, times the updates there were."""

    def extra_loss(self, state: State, logits: Tensor, weights: Tensor, indices: Tensor) -> Tensor:
        assert torch.equal(indices, INDICES)
        return state["updates"] * (weights[:, None] * logits.square()).mean()


@pytest.mark.parametrize("mixing", [None, MIXING])
@pytest.mark.parametrize("alpha", [0.0, 0.4, 3.0])
def test_the_policys_own_term_counts_alpha_times_and_belongs_to_the_unlabeled_loss(alpha, mixing):
    model, weights = linear_model(), torch.tensor([1.0, 0.0, 0.5, 0.0, 2.0])
    targets = one_hot(PSEUDO_LABELS_OF_BATCH, CLASSES)
    figures, _ = step(model, Peaked(targets, weights), alpha=alpha, mixing=mixing)
    plain, _ = step(model, StatedWeights(targets, weights), alpha=alpha, mixing=mixing)
    logits = model(EXTRA if mixing is None else mixing(EXTRA))
    extra = (weights[:, None] * logits**2).mean()  # after the one update
    torch.testing.assert_close(figures.unsupervised, plain.unsupervised + extra)
    torch.testing.assert_close(figures.loss, plain.loss + alpha * extra)
    for name in ("accuracy", "supervised", "mask_rate"):
        assert torch.equal(getattr(figures, name), getattr(plain, name))
    expected = gradients(model, plain.loss + alpha * extra)
    for ours, torchs in zip(gradients(model, figures.loss), expected, strict=True):
        torch.testing.assert_close(ours, torchs)


@pytest.mark.parametrize("mixing", [None, MIXING])
@pytest.mark.parametrize("alpha", [0.0, 0.4, 3.0])
def test_the_policys_own_term_counts_in_the_unlabeled_share(alpha, mixing):
    weights, targets = torch.tensor([1.0, 0.0, 0.5, 0.0, 2.0]), one_hot(PSEUDO_LABELS_OF_BATCH, CLASSES)
    figures, _ = step(linear_model(), Peaked(targets, weights), alpha=alpha, mixing=mixing)
    mixed = mixing or (lambda values: values)
    logits = linear_model()(torch.cat([IMAGES, mixed(EXTRA)])).detach().requires_grad_()
    unlabeled = (
        F.cross_entropy(logits[B:], mixed(weights[:, None] * targets)) + (weights[:, None] * logits[B:] ** 2).mean()
    )
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits[:B], LABELS) + alpha * unlabeled, logits)
    torch.testing.assert_close(figures.unlabeled_share, gradient[B:].abs().sum() / gradient.abs().sum())


# --- batch norm -------------------------------------------------------------------------------------------------------


def test_batch_norm_sees_both_parts_of_the_batch_together():
    norm = nn.BatchNorm2d(1)
    model = nn.Sequential(norm, linear_model())
    step(model, FixedLabels(PSEUDO_LABELS))
    both = torch.cat([IMAGES, EXTRA])
    torch.testing.assert_close(norm.running_mean, 0.1 * both.mean().view(1))
    assert norm.num_batches_tracked.item() == 1
