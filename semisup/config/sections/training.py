"""What supervised and semi-supervised training share: steps, schedules, stopping, softened targets."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from semisup.budget import Budget
from semisup.config.sections.augment import AugmentConfig
from semisup.config.sections.base import BatchSize, Epochs, Fraction, Precision, Section, nothing_or, rule

LEAST_SECONDS, MOST_SECONDS, MOST_STEPS = 0.001, 90 * 86_400, 10**9


def _a_budget(text: Any) -> Any:
    try:
        budget = Budget.parse(str(text))  # a bare number, too, is told that it lacks a unit
    except ValueError as error:
        raise ValueError(f"is wrong: {error}") from None  # "joint.budget is wrong: …"
    least, most = (1, MOST_STEPS) if budget.unit == "steps" else (LEAST_SECONDS, MOST_SECONDS)
    if not least <= budget.amount <= most:
        raise ValueError(f"is {budget}; use between {least:g} and {most:,} {budget.unit}")
    return text


def a_time(text: Any) -> Any:
    """A budget of seconds, as `_a_budget`.

    Raises:
        ValueError: it is none, or one of steps.
    """
    if Budget.parse(str(_a_budget(text))).unit == "steps":
        raise ValueError(f"is {text!r}, but only time can be compared; write for example '3 min'")
    return text


Beta: TypeAlias = Annotated[float, Field(ge=0, le=0.99999)]


class OptimizerConfig(Section):
    """The optimizer and its constants."""

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    """`sgd` (Nesterov where it has momentum), `adam`, `adamw`."""
    lr: Annotated[float, Field(ge=1e-12, le=1_000)] = 4e-3
    """Learning rate at its highest."""
    momentum: Annotated[float, Field(ge=0, le=0.9999)] = 0.9
    """SGD only."""
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    """Adam and AdamW only."""
    weight_decay: Annotated[float, Field(ge=0), nothing_or(1e-8, 1e4)] = 0.02
    """On weight matrices and filters; biases and normalization are never decayed."""


class ScheduleConfig(Section):
    """How the learning rate moves over the steps of a stage."""

    name: Literal["constant", "step", "cosine", "one_cycle"] = "cosine"
    """`constant`; `step` down at milestones; linear warm-up, then `cosine` or, for `one_cycle`, linear to 0."""
    warmup: Fraction = 0.05
    """`cosine` and `one_cycle`: share of all steps in which the rate rises linearly from nearly 0."""
    milestones: Annotated[tuple[Epochs, ...], Field(max_length=100)] = ()
    """`step`: epochs after which the rate is multiplied by `gamma`."""
    gamma: Annotated[float, Field(ge=1e-6, le=1)] = 0.1
    """`step`: factor on the rate at each milestone."""

    def check_milestones(self, epochs: int) -> None:
        """Make sure that all of them lie within a training.

        Raises:
            ValueError: one does not.
        """
        late = [milestone for milestone in self.milestones if milestone >= epochs]
        if late:
            raise ValueError(f"schedule.milestones holds {late[0]}, but epochs={epochs}; use smaller milestones")


class EarlyStoppingConfig(Section):
    """Keep the weights of the best epoch; stop once nothing improves."""

    keep: Literal["best", "last"] = "best"
    """`last`: keep the weights of the last epoch and never stop early, so that validation labels decide nothing."""
    monitor: Literal["loss", "accuracy"] = "accuracy"
    """Validation accuracy (higher is better; of equals the least loss) or validation loss (lower is better). With few
    labels the loss soon rises with confidence in wrong answers, and its best epoch is often the first one."""
    patience: Epochs = 20
    """Epochs without improvement after which training stops."""
    min_delta: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Smallest change that counts as an improvement, in units of the monitored figure."""


class MixupConfig(Section):
    """Convex combinations of images and targets (Zhang et al. 2018)."""

    alpha: Annotated[float, Field(ge=0), nothing_or(0.001, 100)] = 0.0
    """λ ~ Beta(alpha, alpha); 0 turns mixup off."""
    every_n_batches: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Mix only every n-th batch."""


class LabelSmoothingConfig(Section):
    """Softened labels (Szegedy et al. 2016, section 7)."""

    epsilon: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Probability taken from the true class; 0 turns smoothing off."""
    spread: Literal["all", "others"] = "all"
    """Spread it over all classes (torch's convention) or over the wrong ones only."""

    def highest_target(self, num_classes: int) -> float:
        """Largest probability that a smoothed target holds, and so the confidence a perfect fit ends with."""
        kept = 1 - self.epsilon
        return kept + self.epsilon / num_classes if self.spread == "all" else kept


class TrainConfig(Section):
    """What supervised and semi-supervised training share."""

    epochs: Epochs = 100
    """Most epochs; early stopping may end sooner. With a `budget`: how many equal parts of it end with a validation."""
    budget: Annotated[str, BeforeValidator(_a_budget)] | None = None
    """How long to train, in place of whole epochs: `60s` or `5 min` of CPU time (of all threads together), `60s wall`
    (what one means on a GPU), or `2000 steps`, which alone is reproducible. Schedules, ramps and patience follow it."""
    batch_size: BatchSize = 32
    """Labeled images per step."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    augment: AugmentConfig = AugmentConfig()
    mixup: MixupConfig = MixupConfig()
    label_smoothing: LabelSmoothingConfig = LabelSmoothingConfig()
    disturb_label: Annotated[float, Field(ge=0, le=100)] = 0.0
    """DisturbLabel: percent of the labels drawn anew, uniformly over all classes, for every batch; 0: none."""
    sampling: Literal["uniform", "balanced"] = "uniform"
    """Labeled batches hold every image equally often, or every class (weighted random sampling, 1 / class count)."""
    class_weights: Literal["none", "complement", "inverse_frequency"] = "none"
    """Weight of a class in the labeled loss: 1, 1 − n_c/Σn, or 1/n_c; scaled so that the mean over the images is 1."""
    ema_decay: Annotated[float, Field(ge=0, le=0.99999)] = 0.0
    """Validate and keep an exponential moving average of the weights, per step; 0 turns it off."""
    precision: Precision = "float32"
    """What convolutions and matrix products are computed in while training; weights, losses and all predictions stay
    float32. `bfloat16` is faster on GPUs and processors that have it (AVX512-BF16, AMX); `auto` takes it there. Unset:
    `auto` where a network of photographs begins with pretrained weights and more than its last layer is trained."""

    @rule
    def _a_budget_has_a_step_for_every_epoch(self) -> None:
        budget = Budget.parse(self.budget) if self.budget else None
        if budget and budget.unit == "steps" and budget.amount < self.epochs:
            raise ValueError(f"budget={self.budget!r}, but epochs={self.epochs}; use at least one step for each epoch")

    @rule
    def _milestones_lie_within_the_epochs(self) -> None:
        self.schedule.check_milestones(self.epochs)

    @property
    def sees_images_as_they_are(self) -> bool:
        """Is every image the same at every step, so that what a frozen network makes of it is, too?"""
        return self.augment.changes_nothing and not self.mixup.alpha


class BaselineConfig(TrainConfig):
    """Supervised training on the labeled images alone: the teacher."""
