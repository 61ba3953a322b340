"""The training loop: supervised, or joint with pseudo-labels. It reads from top to bottom."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from semisup.budget import Budget, Clock, StepClock
from semisup.config import AugmentConfig, JointConfig, TrainConfig
from semisup.config.methods import MethodFacts
from semisup.data.rows import Images
from semisup.pseudo_labels import Policy, State
from semisup.pseudo_labels.targets import Mixing, draw_mixing, smooth
from semisup.system.memory import keep_for_reuse
from semisup.system.randomness import derive_seed, numpy_generator
from semisup.training.batches import ImageStream, View, balancing_weights
from semisup.training.checkpoints import Checkpoints
from semisup.training.divergence import diverged, keys_of, largest_input
from semisup.training.early_stopping import BestEpoch, EarlyStopping
from semisup.training.labels import LabeledTargets
from semisup.training.optimization.compilation import compiled, compiler_mistakes
from semisup.training.optimization.optimizers import build_optimizer, set_learning_rate
from semisup.training.optimization.precision import computing_in, depthwise_in_float32
from semisup.training.optimization.schedules import alpha_ramp, lr_factor
from semisup.training.predict import validate
from semisup.training.process_group import ALONE, ProcessGroup
from semisup.training.state import Source, TrainingState
from semisup.training.steps import FIGURES, StepFigures, joint_step, supervised_step

Tensors = tuple[Tensor, ...] | list[Tensor]


@dataclass(frozen=True)
class Examples:
    """uint8 images (N, C, H, W), int64 labels (N,) in [0, num_classes), and perhaps weights in the loss."""

    images: Images
    labels: Tensor
    weights: Tensor | None = None
    """float32 (N,), of mean 1."""


@dataclass(frozen=True)
class UnlabeledTerm:
    """The second term of the semi-supervised loss: which images, which policy, how much and from when on."""

    images: Images
    """uint8 (U, C, H, W)."""
    policy: Policy
    batch_size: int
    alpha_final: float
    ramp_start: int
    ramp_end: int
    mix: bool
    """Does mixup act on this part as well?"""
    smooth: bool
    """Does label smoothing act on this part as well?"""
    augment: AugmentConfig | None = None
    """The student's view; None: that of the labeled images."""
    teacher: Literal["self", "ema"] = "self"
    """Whose predictions the policy gets: the student's own, or those of the average of its weights."""
    view: Literal["same", "weak", "clean"] = "same"
    """What the teacher looks at: what the student sees, a view as of the labeled images, or the images as they are."""

    @classmethod
    def of(cls, joint: JointConfig, facts: MethodFacts, images: Images, policy: Policy) -> "UnlabeledTerm":
        """As the section `joint` says, where it says nothing as suits the policy's method, of which `facts` are known.

        Images of a method that judges them one by one are never mixed.
        """
        return cls(
            images,
            policy,
            batch_size=joint.unlabeled_batch_size,
            alpha_final=joint.alpha_final,
            ramp_start=joint.ramp_start,
            ramp_end=joint.ramp_end,
            mix=joint.mixup_pseudo_labels and not facts.judges_single_images,
            smooth=joint.smooth_pseudo_labels,
            augment=joint.strong_augment,
            teacher=joint.policy.teacher,
            view=joint.policy.view or facts.view,
        )


@dataclass(frozen=True)
class TrainingResult(BestEpoch):
    """With what a policy was told."""

    policy_state: State = field(default_factory=dict)
    """What the policy remembers at the end, on the device."""


@compiler_mistakes()
def train(  # noqa: PLR0912, PLR0915 -- one loop, read from top to bottom, is clearer than its pieces
    model: nn.Module,
    config: TrainConfig,
    labeled: Examples,
    validation: Examples | None,
    *,
    num_classes: int,
    steps_per_epoch: int,
    seed: int,
    unlabeled: UnlabeledTerm | None = None,
    on_epoch: Callable[[dict[str, float]], None] = lambda record: None,
    checkpoints: Checkpoints | None = None,
    on_resume: Callable[[int], None] = lambda epoch: None,
    group: ProcessGroup = ALONE,
    compiles: bool = False,
) -> TrainingResult:
    """Train `model` in place on the device that holds it and the data; return the weights of its best epoch.

    The same arguments give the same bits on a CPU with the same number of threads, unless the budget is one of time. An
    epoch has `steps_per_epoch` steps; with a budget it is one of `config.epochs` equal parts of that. `on_epoch` gets
    each epoch's record: epoch (from 1), losses in nats, accuracies as fractions, learning rate, steps done so far,
    seconds; with an unlabeled term also alpha, both parts of the loss, mask_rate (share of the unlabeled batch that
    carries weight), unlabeled_share (its part in the gradient). Weighted images count by their weights in the training
    loss and accuracy.

    From `checkpoints` a training that was interrupted goes on with the bits of an undisturbed one (`seconds` apart).
    `on_resume` is then told the last epoch that need not be repeated, and `on_epoch` gets the records of all epochs
    up to it once more. An epoch's record comes before its checkpoint.

    The processes of a `group` make the same calls with the same arguments, each with its own `model` of the same
    weights on its own device, and get the same result; the first one reads and writes the `checkpoints`. Another number
    of processes changes what floating point and dropout change, no more.

    Without `validation` images nothing is looked at after an epoch: records have no validation figures, and
    `early_stopping.keep` must be "last".

    `compiles` has torch compile the forward pass of training; that changes what floating point changes.

    Raises:
        UserError: the training loss is no longer finite, or torch cannot compile.
    """
    assert validation is not None or config.early_stopping.keep == "last", "no image tells which epoch is the best"
    keep_for_reuse()
    device = labeled.images.device
    model, forward = group.prepare(model)
    if compiles:
        forward = compiled(forward)
    optimizer = build_optimizer(model, config.optimizer, fused=device.type in {"cpu", "cuda"})
    clock: Clock = StepClock(config.epochs * steps_per_epoch)
    if config.budget:
        clock = Budget.parse(config.budget).clock(group.summed, group.of_first)
    ema = _averaged(model, config.ema_decay) if config.ema_decay else None
    stopping = EarlyStopping(
        config.early_stopping.monitor,
        config.early_stopping.patience,
        config.early_stopping.min_delta,
        wait_until=unlabeled.ramp_end if unlabeled else 0,
        keep=config.early_stopping.keep,
    )
    labeled_targets = LabeledTargets(labeled.labels, num_classes, config, seed, labeled.weights)
    sampling = balancing_weights(labeled.labels) if config.sampling == "balanced" else None
    labeled_stream = ImageStream(labeled.images, config.batch_size, config.augment, seed, "labeled", weights=sampling)
    sources: list[Source] = [labeled_stream, labeled_targets]
    policy_state: State = {}
    smoothing = _smoothing(config)
    precision = computing_in(config.precision, device)
    if unlabeled:
        view = unlabeled.augment or config.augment
        unlabeled_stream = ImageStream(unlabeled.images, unlabeled.batch_size, view, seed, "unlabeled")
        teacher_view = _teacher_view(unlabeled, config.augment, seed)
        sources += [unlabeled_stream, *([teacher_view] if teacher_view else [])]
        policy_state = unlabeled.policy.init(len(unlabeled.images), num_classes)
    mixup_rng = numpy_generator(seed, "mixup")
    so_far = TrainingState(device, model, optimizer, clock, ema, stopping, sources, mixup_rng, policy_state)

    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        _flushed_denormals(),
        depthwise_in_float32(model, config.precision, device),
    ):
        # Dropout knows no generator but the global ones; on a CPU, those of idle GPUs are left alone.
        _seed_dropout(device, seed, group)
        if saved := group.from_first(checkpoints.latest(device.type) if checkpoints and group.rank == 0 else None):
            so_far.restore(saved)
            if group.rank:
                _seed_dropout(device, seed, group, epoch=len(so_far.history))  # the first one's generator was restored
            on_resume(len(so_far.history))
            for earlier in so_far.history:
                on_epoch(earlier)

        for epoch in range(len(so_far.history) + 1, config.epochs + 1):
            # Also if it was so before an interruption; but an epoch there is, however little time was given.
            if stopping.should_stop or (so_far.history and clock.position >= clock.total):
                break
            started = time.perf_counter()
            alpha = 0.0
            if unlabeled:
                alpha = alpha_ramp(epoch, unlabeled.ramp_start, unlabeled.ramp_end, unlabeled.alpha_final)
            sums: Tensor | None = None  # on the device: no step waits for a figure
            steps = 0
            forward.train()

            while steps == 0 or not _is_over(epoch, config.epochs, clock):
                learning_rate = config.optimizer.lr * lr_factor(
                    config.schedule, clock.position, clock.total, config.epochs
                )
                set_learning_rate(optimizer, learning_rate)
                mixes = config.mixup.alpha > 0 and so_far.steps % config.mixup.every_n_batches == 0
                indices = next(labeled_stream)
                targets, mixing = labeled_targets(indices), None
                if mixes:
                    mixing = draw_mixing(len(indices), config.mixup.alpha, mixup_rng, device)
                    targets = mixing(targets)
                unmixed_labeled, images = seen(labeled_stream.view, indices, mixing, group)

                figures: StepFigures
                if unlabeled and alpha > 0:
                    chosen = next(unlabeled_stream)
                    extra_mixing = None
                    if mixes and unlabeled.mix:
                        extra_mixing = draw_mixing(len(chosen), config.mixup.alpha, mixup_rng, device)
                    unmixed, extra_images = seen(unlabeled_stream.view, chosen, extra_mixing, group)
                    teacher_images = unmixed if extra_mixing else None
                    if teacher_view and unlabeled.policy.uses_predictions:
                        teacher_images, _ = seen(teacher_view, chosen, None, group)
                    with precision:
                        figures, so_far.policy_state = joint_step(
                            forward,
                            images,
                            targets,
                            extra_images,
                            chosen,
                            policy=unlabeled.policy,
                            state=so_far.policy_state,
                            alpha=alpha,
                            mixing=extra_mixing,
                            smoothing=smoothing if unlabeled.smooth else None,
                            teacher=ema.module if ema and unlabeled.teacher == "ema" else None,
                            teacher_images=teacher_images,
                            labeled_images=unmixed_labeled if unlabeled.policy.uses_labeled_predictions else None,
                            group=group,
                        )
                else:
                    with precision:
                        figures = supervised_step(forward, images, targets, group)

                optimizer.zero_grad()
                figures.loss.backward()
                optimizer.step()
                if ema:
                    ema.update_parameters(model)
                sums = figures.stacked() if sums is None else sums.add_(figures.stacked())
                clock.tick()
                steps += 1
                so_far.steps += 1

            kept = ema.module if ema else model
            validation_loss = validation_accuracy = 0.0
            if validation is not None:
                with precision:
                    validation_loss, validation_accuracy = validate(
                        kept, validation.images, validation.labels, group=group
                    )
            assert sums is not None
            means = dict(zip(FIGURES, (sums / steps).tolist(), strict=False))  # supervised steps have two figures
            loss = means["loss"]
            if not math.isfinite(loss + validation_loss):
                seen_most = largest_input(model, labeled.images)
                raise diverged(keys_of(config), loss, validation_loss, epoch, seen_most)
            record = {
                "epoch": epoch,
                "train_loss": loss,
                "train_accuracy": means["accuracy"],
                "learning_rate": learning_rate,
                "steps": so_far.steps,
                "seconds": time.perf_counter() - started,
            }
            if validation is not None:
                record |= {"validation_loss": validation_loss, "validation_accuracy": validation_accuracy}
            if unlabeled:
                record |= {
                    "alpha": alpha,
                    "supervised_loss": means.get("supervised", loss),
                    "unsupervised_loss": means.get("unsupervised", 0.0),
                    "mask_rate": means.get("mask_rate", 0.0),
                    "unlabeled_share": means.get("unlabeled_share", 0.0),
                }
            so_far.history.append(record)
            on_epoch(record)
            if stopping.update(epoch, loss=validation_loss, accuracy=validation_accuracy):
                so_far.best_weights = {name: value.detach().cpu().clone() for name, value in kept.state_dict().items()}
            if checkpoints and group.rank == 0:
                checkpoints.save_if_due(epoch, so_far.state)

    stopped_early = stopping.should_stop and len(so_far.history) < config.epochs
    return TrainingResult(so_far.best_weights, so_far.history, stopping.best_epoch, stopped_early, so_far.policy_state)


def seen(view: View, indices: Tensor, mixing: Mixing | None, group: ProcessGroup) -> tuple[Tensor, Tensor]:
    """(unmixed, as the student sees them) of this process's share of the images at indices (B,); float32.

    An image's partner may be another process's: it is viewed here as well, and looks the same.
    """
    if group.size == 1:
        images = view(indices)
        return images, (mixing(images) if mixing else images)
    share = group.share(len(indices))
    rows = torch.arange(share.start, share.stop, device=indices.device)
    if mixing is None:
        images = view(indices, rows)
        return images, images
    images, partners = view(indices, torch.cat([rows, mixing.partner[share]])).split(len(rows))
    return images, mixing.blend(images, partners)


def _seed_dropout(device: torch.device, seed: int, group: ProcessGroup, epoch: int = 0) -> None:
    """Every process has its own draws; the first one's are those of a training alone."""
    purpose = f"dropout {group.rank} after epoch {epoch}" if group.rank else "dropout"
    (torch if device.type == "cuda" else torch.default_generator).manual_seed(derive_seed(seed, purpose))


def _is_over(epoch: int, epochs: int, clock: Clock) -> bool:
    """Has the clock come to the end of an epoch, counted from 1?"""
    return clock.position * epochs >= epoch * clock.total


def _teacher_view(unlabeled: UnlabeledTerm, weak: AugmentConfig, seed: int) -> View | None:
    """What the teacher looks at; None: what the student does."""
    match unlabeled.view:
        case "same":
            return None
        case "weak":
            return View(unlabeled.images, weak, seed, "teacher")
        case "clean":
            return View(unlabeled.images, AugmentConfig(), seed, "teacher")


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Denormals of dying activations cost a tenth of a step on a CPU. The setting is the process's: it is put back."""
    already = bool(torch.tensor(1e-310, dtype=torch.float64) * 1 == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)


def _smoothing(config: TrainConfig) -> Callable[[Tensor], Tensor] | None:
    epsilon, spread = config.label_smoothing.epsilon, config.label_smoothing.spread
    return (lambda targets: smooth(targets, epsilon, spread)) if epsilon else None


def _averaged(model: nn.Module, decay: float) -> AveragedModel:
    """EMA of weights and buffers, its decay ramped by min(decay, (1 + n)/(10 + n)) so that the start is forgotten."""

    def update(averages: Tensors, values: Tensors, num_averaged: Tensor | int) -> None:
        n = int(num_averaged)  # a tensor that AveragedModel keeps on the CPU: no step waits for the device
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averages, values, num_averaged)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
