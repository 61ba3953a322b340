"""The training loop: equal to plain gradient descent by hand, the same bits twice, and the best epoch's weights."""

import contextlib
import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisup.config import AugmentConfig, TrainConfig
from semisup.networks.models import build_model
from semisup.pseudo_labels import Policy
from semisup.pseudo_labels.modifiers import Aligned
from semisup.pseudo_labels.policies.freematch import FreeMatch
from semisup.pseudo_labels.policies.online import OnlineArgmax
from semisup.pseudo_labels.policies.threshold import FixedLabels
from semisup.training import loop
from semisup.training.checkpoints import Checkpoints
from semisup.training.loop import Examples, TrainingResult, UnlabeledTerm, train
from semisup.training.predict import validate
from tests.mistakes import user_mistake

CLASSES, SHAPE = 2, (1, 8, 8)
COLUMNS = {
    "epoch",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
    "steps",
    "seconds",
}
JOINT_COLUMNS = COLUMNS | {"alpha", "supervised_loss", "unsupervised_loss", "mask_rate", "unlabeled_share"}
EVERYTHING = {  # every source of chance at once
    "mixup": {"alpha": 1.0},
    "label_smoothing": {"epsilon": 0.1},
    "augment": {"rotation": 20, "shift": 0.1, "cutout": 0.3},
}
PLAIN_SGD = {
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0, "weight_decay": 0},
    "schedule": {"name": "constant"},
}
NEVER_BETTER = {"monitor": "loss", "min_delta": 100.0}


pytestmark = pytest.mark.usefixtures("one_thread")


def halves(count: int, seed: int) -> Examples:
    """Noisy images that are bright on the left (class 0) or on the right (class 1)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = rng.integers(0, 120, (count, *SHAPE))
    for image, label in zip(images, labels, strict=True):
        image[:, :, 4 * label : 4 * label + 4] += 120
    return Examples(torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(labels))


LABELED, VALIDATION, EXTRA = halves(16, seed=0), halves(16, seed=1), halves(48, seed=2)


def net(*, batch_norm: bool = True, dropout: float = 0.0, seed: int = 0) -> nn.Module:
    return build_model(
        "small_cnn", SHAPE, CLASSES, mean=[0.4], std=[0.3], width=0.5, dropout=dropout, batch_norm=batch_norm, seed=seed
    )


def config(**options) -> TrainConfig:
    return TrainConfig(**({"epochs": 4, "batch_size": 8} | options))


def term(policy=None, **options) -> UnlabeledTerm:
    values = {"batch_size": 12, "alpha_final": 1.0, "ramp_start": 0, "ramp_end": 0, "mix": False, "smooth": False}
    return UnlabeledTerm(EXTRA.images, policy or FixedLabels(EXTRA.labels), **(values | options))


def fit(model: nn.Module, train_config: TrainConfig, **options) -> TrainingResult:
    values = {"labeled": LABELED, "validation": VALIDATION, "steps_per_epoch": 3, "seed": 0} | options
    labeled, validation = values.pop("labeled"), values.pop("validation")
    return train(model, train_config, labeled, validation, num_classes=CLASSES, **values)


def column(result: TrainingResult, name: str) -> list[float]:
    return [record[name] for record in result.history]


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- against plain torch ------------------------------------------------------------------------------------------


def test_training_on_the_whole_set_at_once_is_gradient_descent_on_the_cross_entropy():
    model = net(batch_norm=False)
    by_hand = copy.deepcopy(model)
    fit(model, config(epochs=3, batch_size=16, **PLAIN_SGD), steps_per_epoch=2)
    for _ in range(6):
        loss = F.cross_entropy(by_hand(LABELED.images), LABELED.labels)
        for parameter, gradient in zip(
            by_hand.parameters(), torch.autograd.grad(loss, list(by_hand.parameters())), strict=True
        ):
            parameter.data -= 0.05 * gradient
    for ours, expected in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["threshold", "online"])
def test_joint_training_on_both_whole_sets_is_gradient_descent_on_the_ramped_sum_of_cross_entropies(method):
    model = net(batch_norm=False)
    by_hand = copy.deepcopy(model)
    policy = FixedLabels(EXTRA.labels) if method == "threshold" else OnlineArgmax()
    unlabeled = term(policy, batch_size=48, alpha_final=0.8, ramp_start=1, ramp_end=5)
    result = fit(model, config(epochs=6, batch_size=16, **PLAIN_SGD), steps_per_epoch=1, unlabeled=unlabeled)
    for alpha in [0, 0.2, 0.4, 0.6, 0.8, 0.8]:
        logits = by_hand(EXTRA.images)
        labels = EXTRA.labels if method == "threshold" else logits.argmax(dim=1)
        loss = F.cross_entropy(by_hand(LABELED.images), LABELED.labels) + alpha * F.cross_entropy(logits, labels)
        for parameter, gradient in zip(
            by_hand.parameters(), torch.autograd.grad(loss, list(by_hand.parameters())), strict=True
        ):
            parameter.data -= 0.05 * gradient
    assert column(result, "alpha") == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 0.8])
    for ours, expected in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_train_loss_and_accuracy_are_those_of_torch_on_the_smoothed_labels(epsilon):
    model = net().train()
    logits = copy.deepcopy(model)(LABELED.images)
    result = fit(model, config(epochs=1, batch_size=16, label_smoothing={"epsilon": epsilon}), steps_per_epoch=1)
    expected = F.cross_entropy(logits, LABELED.labels, label_smoothing=epsilon).item()
    assert column(result, "train_loss") == pytest.approx([expected], rel=1e-5)
    # The mass of the smoothed target on the predicted class.
    right = (logits.argmax(dim=1) == LABELED.labels).float()
    mass = right * (1 - epsilon) + epsilon / CLASSES
    assert column(result, "train_accuracy") == pytest.approx([mass.mean().item()], rel=1e-5)


def test_every_epoch_reports_the_mean_over_its_steps():
    # Two steps of half the set each: without a step of any size, their mean is the loss of the whole set.
    model = net(batch_norm=False)
    expected = F.cross_entropy(model(LABELED.images), LABELED.labels).item()
    still = {"optimizer": {"name": "sgd", "lr": 1e-12, "weight_decay": 0}}
    result = fit(model, config(epochs=2, batch_size=8, **still), steps_per_epoch=2)
    assert column(result, "train_loss") == pytest.approx([expected, expected], rel=1e-5)


def test_the_loop_learns_what_can_be_told_apart():
    result = fit(net(), config(epochs=10), steps_per_epoch=5)
    assert max(column(result, "validation_accuracy")) >= 0.9


# --- bits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["supervised", "threshold", "online"])
def test_same_seed_gives_the_same_bits_and_another_seed_others(method):
    def weights(seed: int) -> dict[str, Tensor]:
        policy = OnlineArgmax() if method == "online" else None
        unlabeled = None if method == "supervised" else term(policy, mix=True, smooth=True, ramp_end=2)
        model = net(dropout=0.3)
        fit(model, config(ema_decay=0.9, **EVERYTHING), unlabeled=unlabeled, seed=seed)
        return model.state_dict()

    assert same_bits(weights(0), weights(0))
    assert not same_bits(weights(0), weights(1))


def test_what_others_drew_from_the_global_generators_changes_no_bit():
    first, second = net(dropout=0.5), net(dropout=0.5)
    fit(first, config(**EVERYTHING))
    torch.rand(17)
    np.random.random(17)
    fit(second, config(**EVERYTHING))
    assert same_bits(first.state_dict(), second.state_dict())


def test_training_leaves_the_global_generators_as_they_were():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    fit(net(dropout=0.5), config(**EVERYTHING), unlabeled=term(OnlineArgmax(), mix=True))
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


def test_joint_training_with_alpha_final_zero_has_the_bits_of_supervised_training():
    supervised, joint = (
        fit(net(dropout=0.3), config(**EVERYTHING), unlabeled=unlabeled)
        for unlabeled in (None, term(alpha_final=0.0, mix=True, smooth=True))
    )
    assert same_bits(supervised.weights, joint.weights)
    assert column(supervised, "train_loss") == column(joint, "train_loss")


def test_joint_training_has_the_bits_of_supervised_training_until_the_ramp_starts():
    supervised, joint = (
        fit(net(dropout=0.3), config(**EVERYTHING), unlabeled=unlabeled)
        for unlabeled in (None, term(ramp_start=2, ramp_end=3))
    )
    losses = list(zip(column(supervised, "train_loss"), column(joint, "train_loss"), strict=True))
    assert [one == other for one, other in losses] == [True, True, False, False]


@pytest.mark.parametrize(
    "change", [{"alpha_final": 2.0}, {"ramp_end": 4}, {"mix": True}, {"smooth": True}, {"batch_size": 13}]
)
def test_each_field_of_the_unlabeled_term_matters(change):
    usual, changed = net(), net()
    fit(usual, config(**EVERYTHING), unlabeled=term())
    fit(changed, config(**EVERYTHING), unlabeled=term(**change))
    assert not same_bits(usual.state_dict(), changed.state_dict())


@pytest.mark.parametrize(
    "change",
    [
        {"mixup": {"alpha": 1.0}},
        {"label_smoothing": {"epsilon": 0.1}},
        {"augment": {"shift": 0.2}},
        {"optimizer": {"lr": 1e-4}},
        {"schedule": {"name": "one_cycle"}},
        {"batch_size": 9},
        {"disturb_label": 40.0},
        {"sampling": "balanced"},
        {"precision": "bfloat16"},
    ],
)
def test_each_training_option_matters(change):
    usual, changed = net(), net()
    fit(usual, config())
    fit(changed, config(**change))
    assert not same_bits(usual.state_dict(), changed.state_dict())


# --- mixup --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("every", "mixed_steps"), [(1, 12), (3, 4), (5, 3), (100, 1)])
@pytest.mark.parametrize("mix_unlabeled", [False, True])
def test_every_nth_batch_is_mixed_counted_over_epochs_from_the_first(monkeypatch, every, mixed_steps, mix_unlabeled):
    sizes: list[int] = []

    def counted(batch_size, *arguments):
        sizes.append(batch_size)
        return draw_mixing(batch_size, *arguments)

    draw_mixing = loop.draw_mixing
    monkeypatch.setattr(loop, "draw_mixing", counted)
    options = config(epochs=4, batch_size=8, mixup={"alpha": 0.4, "every_n_batches": every})
    fit(net(), options, steps_per_epoch=3, unlabeled=term(batch_size=12, mix=mix_unlabeled))
    assert sizes.count(8) == mixed_steps
    assert sizes.count(12) == (mixed_steps if mix_unlabeled else 0)


# --- best epoch and early stopping --------------------------------------------------------------------------------


@pytest.mark.parametrize("monitor", ["loss", "accuracy"])
@pytest.mark.parametrize("ema_decay", [0.0, 0.8])
def test_returned_weights_give_the_best_validation_figures_of_the_history(monitor, ema_decay):
    # A large rate makes the validation loss go up and down.
    options = config(
        epochs=8, ema_decay=ema_decay, early_stopping={"monitor": monitor}, optimizer={"name": "adam", "lr": 0.05}
    )
    result = fit(net(), options)
    losses, accuracies = column(result, "validation_loss"), column(result, "validation_accuracy")
    ranks = [(-accuracy, loss) for accuracy, loss in zip(accuracies, losses, strict=True)]  # ties go to the lower loss
    best = losses.index(min(losses)) if monitor == "loss" else ranks.index(min(ranks))
    assert result.best_epoch == best + 1
    again = net(seed=9)
    again.load_state_dict(result.weights)
    loss, accuracy = validate(again, VALIDATION.images, VALIDATION.labels)
    assert loss == pytest.approx(losses[best], rel=1e-6)
    assert accuracy == accuracies[best]


def test_returned_weights_are_those_of_the_best_epoch_although_training_went_on():
    after_epoch: list[dict[str, Tensor]] = []
    model = net()
    options = config(epochs=4, early_stopping={"patience": 20, **NEVER_BETTER})
    result = fit(model, options, on_epoch=lambda record: after_epoch.append(copy.deepcopy(model.state_dict())))
    assert result.best_epoch == 1
    assert same_bits(result.weights, after_epoch[0])
    assert not same_bits(result.weights, model.state_dict())


@pytest.mark.parametrize("patience", [1, 3])
def test_training_stops_once_the_patience_has_run_out(patience):
    options = config(epochs=30, early_stopping={"patience": patience, **NEVER_BETTER})
    result = fit(net(), options)
    assert column(result, "epoch") == list(range(1, patience + 2))
    assert result.stopped_early


def test_training_that_still_improves_runs_all_epochs():
    result = fit(net(), config(epochs=4, early_stopping={"patience": 20}))
    assert column(result, "epoch") == [1, 2, 3, 4]
    assert not result.stopped_early


@pytest.mark.parametrize("ramp_end", [3, 7])
def test_training_never_stops_before_the_ramp_is_complete(ramp_end):
    options = config(epochs=30, early_stopping={"patience": 2, **NEVER_BETTER})
    result = fit(net(), options, unlabeled=term(ramp_end=ramp_end))
    assert len(result.history) == ramp_end + 2
    assert result.best_epoch == 1


def test_validation_labels_choose_the_best_epoch_and_touch_nothing_else():
    flipped = Examples(VALIDATION.images, 1 - VALIDATION.labels)
    models, results = [net(dropout=0.2), net(dropout=0.2)], []
    for model, validation in zip(models, (VALIDATION, flipped), strict=True):
        results.append(fit(model, config(epochs=6, **EVERYTHING), validation=validation, unlabeled=term()))
    assert column(results[0], "train_loss") == column(results[1], "train_loss")
    assert same_bits(models[0].state_dict(), models[1].state_dict())
    assert results[0].best_epoch != results[1].best_epoch


def test_validation_images_touch_no_weight_and_no_statistic_of_batch_norm():
    black = Examples(torch.zeros_like(VALIDATION.images), VALIDATION.labels)
    models = [net(), net()]
    for model, validation in zip(models, (VALIDATION, black), strict=True):
        fit(model, config(epochs=3), validation=validation)
    assert same_bits(models[0].state_dict(), models[1].state_dict())


# --- moving average -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.3, 0.99])
def test_validated_weights_are_the_moving_average_with_the_ramped_decay(decay):
    model = net(batch_norm=False)
    after_step: list[Tensor] = []  # one step per epoch
    result = fit(
        model,
        config(epochs=12, ema_decay=decay, early_stopping={"patience": 20}),
        steps_per_epoch=1,
        on_epoch=lambda record: after_step.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone()),
    )
    average, losses = after_step[0], []
    for n, weights in enumerate(after_step):
        if n > 0:
            d = min(decay, (1 + n) / (10 + n))
            average = d * average + (1 - d) * weights
        averaged = copy.deepcopy(model)
        nn.utils.vector_to_parameters(average, averaged.parameters())
        losses.append(validate(averaged, VALIDATION.images, VALIDATION.labels)[0])
    assert column(result, "validation_loss") == pytest.approx(losses, rel=1e-4)
    assert not torch.allclose(average, after_step[-1])


def test_the_average_takes_in_the_statistics_of_batch_norm_too():
    model, options = net(), config(epochs=2, ema_decay=0.9, early_stopping={"patience": 9})
    after_step: list[Tensor] = []
    result = fit(
        model,
        options,
        steps_per_epoch=1,
        on_epoch=lambda record: after_step.append(model.state_dict()["backbone.1.running_mean"].clone()),
    )
    averages = [after_step[0], 2 / 11 * after_step[0] + 9 / 11 * after_step[1]]
    torch.testing.assert_close(result.weights["backbone.1.running_mean"], averages[result.best_epoch - 1])


def test_a_moving_average_changes_what_is_kept_and_not_how_the_model_learns():
    plain, averaged = net(), net()
    without, with_average = fit(plain, config()), fit(averaged, config(ema_decay=0.9))
    assert same_bits(plain.state_dict(), averaged.state_dict())
    assert not same_bits(without.weights, with_average.weights)


# --- the teacher of the unlabeled images -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe(Policy):
    """A policy that keeps what it is given, and asks for the first class of every image."""

    seen: list[tuple[Tensor, Tensor]]
    """(probabilities, indices) of each update."""
    uses_predictions = True

    def init(self, num_unlabeled: int, num_classes: int) -> dict[str, Tensor]:
        return {}

    def update(self, state: dict[str, Tensor], probabilities: Tensor, indices: Tensor):
        self.seen.append((probabilities.clone(), indices))
        return state, F.one_hot(torch.zeros_like(indices), CLASSES).float(), torch.ones(len(indices))


@pytest.mark.parametrize("teacher", ["self", "ema"])
def test_the_teacher_of_a_step_is_the_student_or_the_average_of_its_weights_after_the_step_before(teacher):
    model, probe, decay = net(batch_norm=False, dropout=0.4), Probe([]), 0.7
    labeler = net(batch_norm=False).eval()
    after_step = [nn.utils.parameters_to_vector(model.parameters()).detach().clone()]  # one step per epoch
    fit(
        model,
        config(epochs=6, ema_decay=decay, optimizer={"lr": 0.02}, early_stopping={"patience": 20}),
        steps_per_epoch=1,
        unlabeled=term(probe, teacher=teacher, view="clean"),
        on_epoch=lambda record: after_step.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone()),
    )
    average, largest_difference = after_step[0], 0.0
    for n, (probabilities, indices) in enumerate(probe.seen):
        if n == 1:
            average = after_step[1]  # the initial weights are not in the average
        elif n > 1:
            d = min(decay, n / (9 + n))
            average = d * average + (1 - d) * after_step[n]
        said = {}
        for name, weights in (("ema", average), ("self", after_step[n])):
            nn.utils.vector_to_parameters(weights, labeler.parameters())
            said[name] = labeler(EXTRA.images[indices]).softmax(dim=1)
        torch.testing.assert_close(probabilities, said[teacher], atol=1e-4, rtol=1e-4)
        largest_difference = max(largest_difference, (said["ema"] - said["self"]).abs().max().item())
    assert len(probe.seen) == 6
    assert largest_difference > 1e-2  # or the test could not tell them apart


def views_of(view: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """(indices, the student's view, the teacher's view) of every step: mirrored ones are weak, black ones strong."""
    seen: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def spy(model, images, targets, unlabeled_images, indices, **options):
        seen.append((indices, unlabeled_images, options["teacher_images"]))
        return joint_step(model, images, targets, unlabeled_images, indices, **options)

    joint_step = loop.joint_step
    monkeypatch.setattr(loop, "joint_step", spy)
    mirrored, strong = {"horizontal_flip": True}, AugmentConfig(reflect=True, shift=0.4)
    fit(net(), config(augment=mirrored), unlabeled=term(OnlineArgmax(), view=view, augment=strong))
    monkeypatch.undo()
    return seen


def test_the_teacher_looks_at_what_the_student_sees_or_at_a_weak_view_or_at_the_images_as_they_are(monkeypatch):
    same, weak, clean = (views_of(view, monkeypatch) for view in ("same", "weak", "clean"))
    mirrored = 0
    for (indices, student, no_view), (_, _, of_weak), (_, _, of_clean) in zip(same, weak, clean, strict=True):
        images = EXTRA.images[indices].float()
        assert not torch.equal(student, images)
        assert no_view is None
        assert torch.equal(of_clean, images)
        for image, view in zip(images, of_weak, strict=True):
            is_mirrored = torch.allclose(view, image.flip(-1), atol=1e-2)
            assert is_mirrored or torch.allclose(view, image, atol=1e-2)
            mirrored += is_mirrored
    assert abs(mirrored - 72) < 5 * 6  # half of 12 steps of 12 images, whose standard deviation is √144 / 2


def test_what_the_teacher_looks_at_changes_no_draw_of_the_student(monkeypatch):
    same, *others = (views_of(view, monkeypatch) for view in ("same", "weak", "clean"))
    for other in others:
        for (indices, images, _), (same_indices, same_images, _) in zip(other, same, strict=True):
            assert torch.equal(indices, same_indices)
            assert torch.equal(images, same_images)


def test_a_policy_that_asks_no_teacher_has_the_same_bits_whoever_it_would_be():
    first, second = net(dropout=0.3), net(dropout=0.3)
    fit(first, config(ema_decay=0.9, **EVERYTHING), unlabeled=term())
    fit(second, config(ema_decay=0.9, **EVERYTHING), unlabeled=term(teacher="ema", view="weak"))
    assert same_bits(first.state_dict(), second.state_dict())


# --- interrupted and started again --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fading(Policy):
    """A policy with a memory: every update counts less than the one before."""

    uses_predictions = True

    def init(self, num_unlabeled: int, num_classes: int) -> dict[str, Tensor]:
        return {"updates": torch.zeros(())}

    def update(self, state: dict[str, Tensor], probabilities: Tensor, indices: Tensor):
        weights = torch.full((len(indices),), 0.9) ** state["updates"]
        return {"updates": state["updates"] + 1}, probabilities, weights


STEPPED_SGD = {
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
    "schedule": {"name": "step", "milestones": (2, 4), "gamma": 0.3},
}
COSINE_ADAMW = {"optimizer": {"name": "adamw"}, "schedule": {"name": "cosine", "warmup": 0.3}}
RAMPED = {"batch_size": 13, "ramp_start": 1, "ramp_end": 3, "mix": True, "smooth": True}
TRAININGS = {
    "supervised, sgd, steps": (STEPPED_SGD | {"mixup": {"alpha": 1.0, "every_n_batches": 3}}, None),
    "supervised, adamw, cosine, stops early": (
        COSINE_ADAMW | {"early_stopping": {"patience": 3, **NEVER_BETTER}, "mixup": {"alpha": 1.0}},
        None,
    ),
    "fixed labels, adamw, cosine": (COSINE_ADAMW, term(**RAMPED)),
    "balanced batches with disturbed labels": (
        COSINE_ADAMW | {"disturb_label": 30.0, "sampling": "balanced", "class_weights": "complement"},
        None,
    ),
    "online, sgd, steps, stops early": (
        STEPPED_SGD | {"early_stopping": {"patience": 1, **NEVER_BETTER}, "ema_decay": 0.0},
        term(OnlineArgmax(), **RAMPED),
    ),
    "a policy with a memory, constant rate": (
        {"schedule": {"name": "constant"}, "early_stopping": {"monitor": "accuracy"}},
        term(Fading(), **RAMPED),
    ),
    "an average that teaches on a weak view": (
        COSINE_ADAMW | {"augment": {"shift": 0.2, "elastic": 0.5, "paste": 0.5}},
        term(
            Aligned(FreeMatch(0.9), torch.tensor([0.5, 0.5]), 0.9),
            **RAMPED | {"mix": False},
            teacher="ema",
            view="weak",
            augment=AugmentConfig(reflect=True, shift=0.2, randaugment=2, cutout=0.3),
        ),
    ),
    "fixed labels, adamw, in bfloat16": (COSINE_ADAMW | {"precision": "bfloat16"}, term(**RAMPED)),
    "the last epoch of a budget of steps": (
        COSINE_ADAMW | {"budget": "17 steps", "early_stopping": {"keep": "last", "patience": 1}},
        None,
    ),
}
"""Name → (config, unlabeled term). Epochs end in the middle of permutations and of mixup's turns."""


class CrashError(Exception):
    """What interrupts a training."""


class AlwaysDue(Checkpoints):
    """Checkpoints after every epoch, and a crash right after the one of epoch `last`."""

    def __init__(self, folder: Path, last: int = 0, warn: Callable[[str], None] = pytest.fail) -> None:
        super().__init__(folder, warn, clock=lambda: 0.0)
        self.last = last

    def save_if_due(self, epoch, make_state) -> None:
        super().save_if_due(epoch, make_state)
        if epoch == self.last:
            raise CrashError


def crash_in(epoch: int) -> Callable[[dict[str, float]], None]:
    def on_epoch(record: dict[str, float]) -> None:
        if record["epoch"] == epoch:
            raise CrashError

    return on_epoch


def disturbed(name: str, **options) -> tuple[nn.Module, TrainingResult]:
    """One of the trainings, from new arguments that equal those of the last time; (the model, the result)."""
    changes, unlabeled = TRAININGS[name]
    everything = {"epochs": 5, "batch_size": 7, "ema_decay": 0.9, **EVERYTHING}
    everything["mixup"] = {"alpha": 1.0, "every_n_batches": 2}
    model = net(dropout=0.3)
    return model, fit(model, config(**everything | changes), unlabeled=unlabeled, steps_per_epoch=4, **options)


@pytest.fixture(scope="module")
def undisturbed() -> Callable[[str], tuple[nn.Module, TrainingResult]]:
    """The trainings without checkpoints, each run once."""
    known: dict[str, tuple[nn.Module, TrainingResult]] = {}

    def look_up(name: str) -> tuple[nn.Module, TrainingResult]:
        if name not in known:
            known[name] = disturbed(name)
        return known[name]

    return look_up


def assert_same_outcome(one: tuple[nn.Module, TrainingResult], other: tuple[nn.Module, TrainingResult]) -> None:
    (model, result), (other_model, expected) = one, other
    assert same_bits(model.state_dict(), other_model.state_dict())
    assert same_bits(result.weights, expected.weights)
    assert [record | {"seconds": 0} for record in result.history] == [
        record | {"seconds": 0} for record in expected.history
    ]
    assert (result.best_epoch, result.stopped_early) == (expected.best_epoch, expected.stopped_early)


def test_the_trainings_that_are_interrupted_hold_what_they_claim(undisturbed):
    results = {name: undisturbed(name)[1] for name in TRAININGS}
    assert {name for name, result in results.items() if result.stopped_early} == {
        name for name in TRAININGS if "stops early" in name
    }
    assert all(len(result.history) == (4 if result.stopped_early else 5) for result in results.values())
    assert any(0 < result.best_epoch < len(result.history) for result in results.values())
    assert 0 < results["a policy with a memory, constant rate"].history[-1]["mask_rate"] <= 1


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", TRAININGS)
def test_training_interrupted_in_any_epoch_and_started_again_ends_with_the_same_bits(
    name, moment, undisturbed, tmp_path
):
    """Interrupted `before` or `after` the epoch's checkpoint is written; its record has been told either way."""
    for epoch in range(1, len(undisturbed(name)[1].history) + 1):
        folder = tmp_path / str(epoch)
        crash = {"on_epoch": crash_in(epoch)} if moment == "before" else {}
        with pytest.raises(CrashError):
            disturbed(name, checkpoints=AlwaysDue(folder, last=epoch), **crash)
        assert_same_outcome(disturbed(name, checkpoints=AlwaysDue(folder)), undisturbed(name))


@pytest.mark.parametrize("name", TRAININGS)
def test_training_interrupted_after_each_of_its_epochs_ends_with_the_same_bits(name, undisturbed, tmp_path):
    for epoch in range(1, len(undisturbed(name)[1].history) + 1):
        with pytest.raises(CrashError):
            disturbed(name, checkpoints=AlwaysDue(tmp_path, epoch))
    assert_same_outcome(disturbed(name, checkpoints=AlwaysDue(tmp_path)), undisturbed(name))


@pytest.mark.parametrize("name", TRAININGS)
def test_training_that_had_ended_returns_the_same_result_without_a_step(name, undisturbed, tmp_path, monkeypatch):
    assert_same_outcome(disturbed(name, checkpoints=AlwaysDue(tmp_path)), undisturbed(name))
    for step in ("supervised_step", "joint_step", "validate"):
        monkeypatch.setattr(loop, step, None)
    assert_same_outcome(disturbed(name, checkpoints=AlwaysDue(tmp_path)), undisturbed(name))


SOME = "fixed labels, adamw, cosine"


def test_who_watches_a_resumed_training_is_told_of_every_epoch_and_of_the_resumption_once(undisturbed, tmp_path):
    told: list[dict[str, float]] = []
    resumed: list[int] = []
    watchers = {"on_epoch": told.append, "on_resume": resumed.append}
    with pytest.raises(CrashError):
        disturbed(SOME, checkpoints=AlwaysDue(tmp_path, 3), **watchers)
    assert resumed == []
    first_three = list(told)
    told.clear()
    _, result = disturbed(SOME, checkpoints=AlwaysDue(tmp_path), **watchers)
    assert resumed == [3]
    assert told == result.history
    assert told[:3] == first_three  # with the seconds that they took when they were trained


def test_a_crash_while_the_history_is_told_again_costs_nothing(undisturbed, tmp_path):
    with pytest.raises(CrashError):
        disturbed(SOME, checkpoints=AlwaysDue(tmp_path, 3))
    with pytest.raises(CrashError):
        disturbed(SOME, checkpoints=AlwaysDue(tmp_path), on_epoch=crash_in(2))
    assert_same_outcome(disturbed(SOME, checkpoints=AlwaysDue(tmp_path)), undisturbed(SOME))


@pytest.mark.parametrize("damaged", [["epoch-00003.ckpt"], ["epoch-00002.ckpt", "epoch-00003.ckpt"]])
def test_damaged_checkpoints_are_named_and_cost_epochs_but_no_bit(damaged, undisturbed, tmp_path):
    with pytest.raises(CrashError):
        disturbed(SOME, checkpoints=AlwaysDue(tmp_path, 3))
    for file in damaged:
        (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:-1])
    warnings: list[str] = []
    resumed: list[int] = []
    again = disturbed(SOME, checkpoints=AlwaysDue(tmp_path, warn=warnings.append), on_resume=resumed.append)
    assert_same_outcome(again, undisturbed(SOME))
    assert resumed == ([2] if len(damaged) == 1 else [])
    assert len(warnings) == len(damaged)
    assert all(file in warning for file, warning in zip(reversed(damaged), warnings, strict=True))


def test_a_checkpoint_of_another_type_of_device_is_not_continued(undisturbed, tmp_path):
    with pytest.raises(CrashError):
        disturbed(SOME, checkpoints=AlwaysDue(tmp_path, 2))
    saved = AlwaysDue(tmp_path).latest("cpu")
    assert saved["epoch"] == 2
    shutil.rmtree(tmp_path)
    AlwaysDue(tmp_path).save_if_due(2, lambda: saved | {"device": "cuda"})
    warnings: list[str] = []
    again = disturbed(SOME, checkpoints=AlwaysDue(tmp_path, warn=warnings.append))
    assert_same_outcome(again, undisturbed(SOME))
    assert len(warnings) == 1


def test_a_resumed_training_leaves_the_global_generators_as_they_were(tmp_path):
    disturbed(SOME, checkpoints=AlwaysDue(tmp_path))
    torch.rand(3)
    before = torch.get_rng_state()
    disturbed(SOME, checkpoints=AlwaysDue(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_a_resumed_training_has_the_generators_of_an_undisturbed_one(tmp_path):
    """The weights are not compared: a GPU's sums need not have the same bits twice."""

    def generators(**options) -> dict[float, Tensor]:
        """Epoch → state of the generator from which dropout draws, at the epoch's end."""
        states: dict[float, Tensor] = {}
        labeled, validation = (Examples(part.images.cuda(), part.labels.cuda()) for part in (LABELED, VALIDATION))
        with contextlib.suppress(CrashError):
            fit(
                net(dropout=0.5).cuda(),
                config(**EVERYTHING),
                labeled=labeled,
                validation=validation,
                on_epoch=lambda record: states.update({record["epoch"]: torch.cuda.get_rng_state()}),
                **options,
            )
        return states

    expected = generators()
    assert list(generators(checkpoints=AlwaysDue(tmp_path, 2))) == [1, 2]
    resumed = generators(checkpoints=AlwaysDue(tmp_path))
    assert all(torch.equal(resumed[epoch], expected[epoch]) for epoch in (3, 4))
    assert not torch.equal(expected[3], expected[4])


# --- records and errors -------------------------------------------------------------------------------------------


def test_history_has_one_record_per_epoch_with_the_documented_columns():
    told: list[dict[str, float]] = []
    supervised = fit(net(), config(), on_epoch=told.append)
    joint = fit(net(), config(), unlabeled=term())
    assert told == supervised.history
    assert column(supervised, "epoch") == column(joint, "epoch") == [1, 2, 3, 4]
    assert all(record.keys() == COLUMNS for record in supervised.history)
    assert all(record.keys() == JOINT_COLUMNS for record in joint.history)
    assert all(0 <= value <= 1 for name in ("train_accuracy", "validation_accuracy") for value in column(joint, name))


def test_train_loss_of_a_joint_epoch_is_the_sum_of_its_parts():
    result = fit(net(), config(epochs=6), unlabeled=term(OnlineArgmax(), alpha_final=0.5, ramp_start=1, ramp_end=5))
    for record in result.history:
        expected = record["supervised_loss"] + record["alpha"] * record["unsupervised_loss"]
        assert record["train_loss"] == pytest.approx(expected, rel=1e-5)
    assert column(result, "mask_rate") == [0, 1, 1, 1, 1, 1]


def test_recorded_learning_rate_is_the_one_that_the_epoch_was_trained_with():
    schedule = {"name": "step", "milestones": (2,), "gamma": 0.1}
    result = fit(net(), config(epochs=4, optimizer={"lr": 0.01}, schedule=schedule))
    assert column(result, "learning_rate") == pytest.approx([0.01, 0.01, 0.001, 0.001])


def test_diverging_training_ends_with_one_line_that_names_the_learning_rate_and_the_epoch():
    with user_mistake() as error:
        fit(net(batch_norm=False), config(optimizer={"name": "sgd", "lr": 1e3}, schedule={"name": "constant"}))
    assert "optimizer.lr=1000.0" in str(error.value)
    assert "epoch 1" in str(error.value)


def test_an_unlabeled_image_among_the_labeled_ones_never_reaches_a_loss():
    labels = LABELED.labels.clone()
    labels[3] = -1
    with pytest.raises(ValueError, match="label -1"):
        fit(net(), config(), labeled=Examples(LABELED.images, labels))
