"""What a run is made of: frozen, typed, and refusing every key it does not know.

Defaults < YAML file < ``--set key=value``. Only stages, flows and the command line see whole configs; the maths takes
plain arguments. Field docstrings are the documentation: Prefect's form and ``docs`` show them.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from semisup.budget import Budget

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
NUMBER, WORD, SECTION = UNION_TAGS = ("a number", "a word", "a section")
FEWEST_CALIBRATION_IMAGES = 20  # fewer say nothing about any confidence
WITHOUT_MIRROR_SYMMETRY = frozenset({"digits", "mnist", "kmnist", "svhn"})


def _a_budget(text: Any) -> Any:
    try:
        Budget.parse(str(text))  # a bare number, too, is told that it lacks a unit
    except ValueError as error:
        raise ValueError(f"is wrong: {error}") from None  # "joint.budget is wrong: …"
    return text


class Section(BaseModel):
    """A part of the config: immutable, closed, documented by its field docstrings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _an_empty_section_is_its_defaults(cls, values: Any) -> Any:
        return {} if values is None else values

    @field_validator("*", mode="before")
    @classmethod
    def _a_truth_value_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and bool not in {annotation, *get_args(annotation)}:
            raise ValueError(f"is {str(value).lower()}, a truth value; write what it should be")
        return value


def _kind(value: Any) -> str:
    """Which member of a union a value can only be meant for: its own errors are then the ones that are said."""
    if isinstance(value, Mapping | BaseModel):
        return SECTION
    return WORD if isinstance(value, str) and not value.replace(".", "", 1).isdigit() else NUMBER


class DataConfig(Section):
    """Where the images come from."""

    name: Literal["digits", "mnist", "fashion_mnist", "kmnist", "cifar10", "svhn"] = "digits"
    """Data set. `digits` is embedded; the others are read from `root`."""
    root: Path | None = None
    """Folder of the data files; unset: the environment variable SEMISUP_DATA_ROOT."""
    download: bool = False
    """Fetch missing files into `root`. Nothing is ever downloaded without it."""


class SplitConfig(Section):
    """Balanced picks per class; every other image of the pool is unlabelled."""

    labeled_per_class: PositiveInt = 10
    """Labelled training images per class."""
    imbalance_ratio: Annotated[float, Field(ge=1)] = 1.0
    """Long tail: class k of C gets labeled_per_class · ratio^(−k/(C−1)) labelled images, so the first has `ratio` times
    as many as the last. 1: all alike."""
    validation_per_class: PositiveInt = 10
    """Labelled images per class that early stopping watches; never trained on."""
    calibration_images: Annotated[int, Field(ge=0)] = 0
    """Labelled images that only stage `calibrate` sees. Drawn at random from all that are left, not per class: what
    they certify holds for images like them, and those are the unlabelled ones."""


class ModelConfig(Section):
    """The network; the baseline and the student are built alike."""

    name: str = "small_cnn"
    """`seed_cnn`, `small_cnn`, `vgg_small`, `resnet18_small`, or `torchvision:NAME` for any torchvision classifier."""
    width: Annotated[float, Field(gt=0, le=16)] = 1.0
    """Multiplies the number of channels."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Dropout probability; unset: the model's own default."""
    batch_norm: bool | None = None
    """Batch normalisation; unset: the model's own default."""
    deskew: bool = False
    """Shear every image upright and centre it, by its intensity moments: for bright strokes on a black ground."""


class AugmentConfig(Section):
    """Light augmentation of training images, drawn for each image anew. All zero: none."""

    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest rotation either way, in degrees."""
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest shift either way, as a fraction of the image's side."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Zoom by e^u, u uniform in ±scale."""
    shear: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest shear either way, as a tangent."""
    elastic: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Elastic deformation: standard deviation, in pixels, of the displacements at the knots of a 6×6 grid."""
    paste: Fraction = 0.0
    """Largest side, as a fraction of the image's, of a box that half of the images get from another image of the batch;
    the brighter pixel wins."""
    horizontal_flip: bool = False
    """Mirror half of the images. Refused for data whose classes have no mirror symmetry, such as digits."""
    reflect: bool = False
    """Shift by whole pixels and fill the edge with its reflection instead of zeros."""
    randaugment: Annotated[int, Field(ge=0, le=14)] = 0
    """How many of RandAugment's 14 operations, drawn at random, an image gets (FixMatch's strong view: 2); the hole of
    `cutout` is then grey."""
    magnitude: Fraction = 1.0
    """How strong those operations may be, 1 as in FixMatch."""
    cutout: Fraction = 0.0
    """Side of a square hole, as a fraction of the image's side."""

    @property
    def changes_nothing(self) -> bool:
        """Is every view the image itself?"""
        moves = ("rotation", "shift", "scale", "shear", "elastic", "paste", "horizontal_flip", "randaugment", "cutout")
        return not any(getattr(self, name) for name in moves)


class ViewsConfig(Section):
    """Test-time augmentation: the mean prediction over several views of an image."""

    views: PositiveInt = 1
    """How many; the first one is the image as it is."""
    augment: AugmentConfig = AugmentConfig()
    """What the other views are like."""

    @model_validator(mode="after")
    def _views_are_of_one_image(self) -> "ViewsConfig":
        if self.augment.paste:
            raise ValueError(
                f"augment.paste={self.augment.paste} would mix other images into a prediction; use 0 in test_time"
            )
        return self

    @model_validator(mode="after")
    def _views_differ(self) -> "ViewsConfig":
        if self.views > 1 and self.augment.changes_nothing:
            raise ValueError(
                f"views={self.views}, but augment changes nothing; set for example augment.shift, or views=1"
            )
        return self


class OptimizerConfig(Section):
    """The optimiser and its constants."""

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    """`sgd` (Nesterov where it has momentum), `adam`, `adamw`."""
    lr: Annotated[float, Field(gt=0)] = 4e-3
    """Learning rate at its highest."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """SGD only."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.99)
    """Adam and AdamW only."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    """On weight matrices and filters; biases and normalisation are never decayed."""


class ScheduleConfig(Section):
    """How the learning rate moves over the steps of a stage."""

    name: Literal["constant", "step", "cosine", "one_cycle"] = "cosine"
    """`constant`; `step` down at milestones; linear warm-up, then `cosine` or, for `one_cycle`, linear to 0."""
    warmup: Fraction = 0.05
    """`cosine` and `one_cycle`: share of all steps in which the rate rises linearly from nearly 0."""
    milestones: tuple[PositiveInt, ...] = ()
    """`step`: epochs after which the rate is multiplied by `gamma`."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """`step`: factor on the rate at each milestone."""


class EarlyStoppingConfig(Section):
    """Keep the weights of the best epoch; stop once nothing improves."""

    keep: Literal["best", "last"] = "best"
    """`last`: keep the weights of the last epoch and never stop early, so that validation labels decide nothing."""
    monitor: Literal["loss", "accuracy"] = "loss"
    """Validation loss (lower is better) or validation accuracy (higher is better)."""
    patience: PositiveInt = 20
    """Epochs without improvement after which training stops."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Smallest change that counts as an improvement, in units of the monitored figure."""


class MixupConfig(Section):
    """Convex combinations of images and targets (Zhang et al. 2018)."""

    alpha: Annotated[float, Field(ge=0)] = 0.0
    """λ ~ Beta(alpha, alpha); 0 turns mixup off."""
    every_n_batches: PositiveInt = 1
    """Mix only every n-th batch."""


class LabelSmoothingConfig(Section):
    """Softened labels (Szegedy et al. 2016, section 7)."""

    epsilon: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability taken from the true class; 0 turns smoothing off."""
    spread: Literal["all", "others"] = "all"
    """Spread it over all classes (torch's convention) or over the wrong ones only."""

    def highest_target(self, num_classes: int) -> float:
        """Largest probability that a smoothed target holds, and so the confidence a perfect fit ends with."""
        kept = 1 - self.epsilon
        return kept + self.epsilon / num_classes if self.spread == "all" else kept


class TrainConfig(Section):
    """What supervised and joint training share."""

    epochs: PositiveInt = 100
    """Most epochs; early stopping may end sooner. With a `budget`: how many equal parts of it end with a validation."""
    budget: Annotated[str, BeforeValidator(_a_budget)] | None = None
    """How long to train, in place of whole epochs: `60s` or `5 min` of CPU time (of all threads together), `60s wall`,
    or `2000 steps`, which alone is reproducible. Schedules, ramps and patience follow it."""
    batch_size: PositiveInt = 32
    """Labelled images per step."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    augment: AugmentConfig = AugmentConfig()
    mixup: MixupConfig = MixupConfig()
    label_smoothing: LabelSmoothingConfig = LabelSmoothingConfig()
    disturb_label: Annotated[float, Field(ge=0, le=100)] = 0.0
    """DisturbLabel: percent of the labels drawn anew, uniformly over all classes, for every batch; 0: none."""
    sampling: Literal["uniform", "balanced"] = "uniform"
    """Labelled batches hold every image equally often, or every class (weighted random sampling, 1 / class count)."""
    class_weights: Literal["none", "complement", "inverse_frequency"] = "none"
    """Weight of a class in the labelled loss: 1, 1 − n_c/Σn, or 1/n_c; scaled so that the mean over the images is 1."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Validate and keep an exponential moving average of the weights, per step; 0 turns it off."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What convolutions and matrix products are computed in while training; weights, losses and all predictions stay
    float32. `bfloat16` is faster on GPUs and on processors that have it (AVX512-BF16, AMX)."""

    @model_validator(mode="after")
    def _a_budget_has_a_step_for_every_epoch(self) -> "TrainConfig":
        budget = Budget.parse(self.budget) if self.budget else None
        if budget and budget.unit == "steps" and budget.amount < self.epochs:
            raise ValueError(f"budget={self.budget!r}, but epochs={self.epochs}; use at least one step for each epoch")
        return self

    @model_validator(mode="after")
    def _milestones_lie_within_the_epochs(self) -> "TrainConfig":
        late = [milestone for milestone in self.schedule.milestones if milestone >= self.epochs]
        if late:
            raise ValueError(f"schedule.milestones holds {late[0]}, but epochs={self.epochs}; use smaller milestones")
        return self


class BaselineConfig(TrainConfig):
    """Supervised training on the labelled images alone: the teacher."""


class EnsembleConfig(Section):
    """Several models of `model`, each trained like the baseline; a teacher (`pseudo_label.teacher`) or a flow alone."""

    method: Literal["bagging", "boosting"] = "bagging"
    """`bagging`: members learn from bootstrap samples. `boosting`: one after another, with raised weights where the one
    before was wrong (SAMME)."""
    members: Annotated[int, Field(ge=2, le=100)] = 5
    """How many members."""
    combine: Literal["mean", "vote"] = "mean"
    """Bagging: the mean of the members' probabilities, or the share of their votes. Boosting weighs votes."""


class CalibrateConfig(Section):
    """The teacher's confidence is held against the calibration images (`split.calibration_images`)."""

    method: Literal["none", "temperature"] = "none"
    """`temperature`: divide the logits by the T of least NLL (Guo et al. 2017). `none`: confidence as it is."""
    temperature_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Share of the calibration images that fits T; the others, which T has not seen, measure and certify."""

    def temperature_images(self, images: int) -> int:
        """How many of so many calibration images fit T: at least one, and one is left to measure."""
        return min(max(round(self.temperature_share * images), 1), images - 1) if self.method == "temperature" else 0


class CertifiedThreshold(Section):
    """The lowest threshold whose pseudo-labels are proven right often enough."""

    target_precision: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of the accepted pseudo-labels that must be right."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Probability, over the draw of the calibration images, with which that must hold."""
    fallback: Annotated[
        Annotated[Fraction, Tag(NUMBER)] | Annotated[Literal["stop"], Tag(WORD)], Discriminator(_kind)
    ] = 0.99
    """Where nothing can be certified: a fixed threshold, or `stop` with an error."""


class UncertaintyConfig(Section):
    """Monte Carlo dropout: several passes with dropout on, and how far they differ (UPS, Rizve et al. 2021)."""

    passes: Annotated[int, Field(ge=0, le=1000)] = 0
    """Forward passes; their mean is the prediction, and their standard deviation its uncertainty. 0: one plain pass.
    UPS: 10, with `threshold: 0.7`."""
    positive: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Accept a pseudo-label whose uncertainty is at most this."""
    negative_confidence: Fraction = 0.05
    """Of an image that fails `threshold` or `positive`, a class of at most this probability is learnt as one that it is
    not …"""
    negative: Annotated[float, Field(ge=0, le=1)] = 0.005
    """… where the uncertainty of that is at most this."""

    @model_validator(mode="after")
    def _passes_differ(self) -> "UncertaintyConfig":
        if self.passes == 1:
            raise ValueError("passes=1 has no standard deviation; use at least 2, or 0 for none")
        return self


class PseudoLabelConfig(Section):
    """The frozen teacher labels every unlabelled image once a round."""

    teacher: Literal["baseline", "champion", "ensemble"] = "baseline"
    """Who labels in the first round: this run's `baseline`, its `ensemble`, or the registered `champion` (while there
    is none, the baseline). In later rounds it is the student of the round before."""
    threshold: Annotated[
        Annotated[Fraction, Tag(NUMBER)] | Annotated[CertifiedThreshold, Tag(SECTION)],
        Discriminator(lambda value: SECTION if _kind(value) == SECTION else NUMBER),
    ] = 0.95
    """Accept a pseudo-label whose confidence, the largest probability, is at least this; or a section with
    `target_precision`, `confidence` and `fallback`: the lowest threshold that can be certified."""
    top_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of each predicted class accept only this share of its images, the most confident ones; the threshold still
    holds. Unset: no limit."""
    max_disagreement: Annotated[float, Field(ge=0, le=1)] | None = None
    """Teacher `ensemble`: accept only where the standard deviation of the members' probabilities of the label is at
    most this. Unset: no limit."""
    share_per_round: Annotated[float, Field(gt=0, le=1)] | None = None
    """Curriculum labelling (Cascante-Bonilla et al. 2021): in round r accept this share times r of all images, the most
    confident ones; the threshold still holds. Unset: no limit."""
    distribution_alignment: bool = False
    """Scale the probabilities of each class so that their mean over the pool is the labelled images' class share."""
    test_time: ViewsConfig = ViewsConfig()
    uncertainty: UncertaintyConfig = UncertaintyConfig()
    batch_size: PositiveInt = 1024
    """Images per forward pass; it cannot change the result beyond floating point, unless `uncertainty` or `test_time`
    draw at random."""


class PolicyConfig(Section):
    """How the online methods come to a target and a weight for each unlabelled image, at every step."""

    teacher: Literal["self", "ema"] = "self"
    """Whose prediction: the student's own, or that of the moving average of its weights (`ema_decay`)."""
    view: Literal["same", "weak", "clean"] | None = None
    """What the teacher looks at: what the student sees, a view like that of the labelled images, or the image as it is.
    Unset: `same` for `online` and `soft`, `weak` for the others."""
    threshold: Fraction = 0.95
    """fixmatch, flexmatch: least confidence."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """freematch, softmatch, distribution alignment: of the running means, per step."""
    fairness_weight: Annotated[float, Field(ge=0)] = 0.01
    """freematch: weight of its fairness term."""
    deviations: Annotated[float, Field(gt=0)] = 2.0
    """softmatch: n; weights fall from the mean confidence on like a normal density n times as narrow as its spread."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Targets and confidences come from p^(1/T): below 1 sharper, above 1 softer."""
    distribution_alignment: bool = False
    """Scale the teacher's predictions by labelled class shares over their running mean."""
    ledger_share: Fraction = 0.0
    """Share of what the ledger says of an image in the teacher's prediction; the rest is said at the step. Only for
    students that start anew: with its teacher's weights a student knows what the ledger says (`start`)."""


class JointConfig(TrainConfig):
    """A student learns from labels and pseudo-labels: L = L_labelled + α(t)·L_unlabelled."""

    method: Literal["threshold", "ups", "online", "soft", "fixmatch", "flexmatch", "freematch", "softmatch"] = (
        "threshold"
    )
    """`threshold`: the ledger's accepted labels, fixed. `ups`: these, and the classes that an image is not (Rizve et
    al. 2021). The others make labels at every step for every unlabelled image: `online` the student's own argmax (Lee
    2013), `soft` the probabilities as they are, `fixmatch` (Sohn et al. 2020), `flexmatch` (Zhang et al. 2021),
    `freematch` (Wang et al. 2023), `softmatch` (Chen et al. 2023)."""
    policy: PolicyConfig = PolicyConfig()
    start: Literal["fresh", "baseline", "teacher"] = "fresh"
    """Initial weights: new ones in every round; those of the baseline in the first round and new ones in later rounds;
    or those of the teacher that labelled the round (not of an ensemble)."""
    strong_augment: AugmentConfig | None = None
    """The student's view of unlabelled images; unset: as `augment`."""
    epoch_over: Literal["labeled", "unlabeled"] = "unlabeled"
    """One epoch is one pass over the labelled or over the (accepted) unlabelled images."""
    unlabeled_batch_size: PositiveInt = 96
    """Unlabelled images per step."""
    alpha_final: Annotated[float, Field(ge=0)] = 1.0
    """α_f: weight of the unlabelled loss once the ramp is complete."""
    ramp_start: Annotated[int, Field(ge=0)] = 0
    """T1: α is 0 up to and including this epoch (epochs count from 1)."""
    ramp_end: Annotated[int, Field(ge=0)] = 0
    """T2: α rises linearly after T1 and is alpha_final from this epoch on. Early stopping waits for it."""
    mixup_pseudo_labels: bool = False
    """Apply `mixup` to the pseudo-labelled part of each batch as well."""
    smooth_pseudo_labels: bool = False
    """Apply `label_smoothing` to the pseudo-labelled part of each batch as well."""

    @property
    def labels_every_step(self) -> bool:
        """Are labels made at every step, and not those that the ledger accepted?"""
        return self.method not in {"threshold", "ups"}

    @property
    def heeds_the_teacher(self) -> bool:
        """Does the student learn anything from the teacher that labelled the round?"""
        return not self.labels_every_step or self.policy.ledger_share > 0 or self.start != "fresh"

    @model_validator(mode="after")
    def _fairness_is_asked_of_images_as_they_are(self) -> "JointConfig":
        if self.method in {"freematch", "ups"} and self.mixup_pseudo_labels and self.mixup.alpha:
            raise ValueError(
                f"mixup_pseudo_labels=true, but method={self.method!r} judges predictions of single images; use false"
            )
        return self

    @model_validator(mode="after")
    def _a_ledger_tells_something_new(self) -> "JointConfig":
        if self.policy.ledger_share and self.start == "teacher":
            raise ValueError(
                f"policy.ledger_share={self.policy.ledger_share}, but with start='teacher' a student knows what the "
                "ledger says; use start: fresh or baseline, or ledger_share: 0"
            )
        return self

    @model_validator(mode="after")
    def _an_average_teaches_where_there_is_one(self) -> "JointConfig":
        if self.policy.teacher == "ema" and not self.ema_decay:
            raise ValueError("policy.teacher='ema', but ema_decay=0 keeps no average; use for example ema_decay: 0.99")
        return self

    @model_validator(mode="after")
    def _the_ramp_fits_into_the_epochs(self) -> "JointConfig":
        if self.ramp_start > self.ramp_end:
            raise ValueError(
                f"ramp_start={self.ramp_start} is after ramp_end={self.ramp_end}; use ramp_start <= ramp_end"
            )
        if self.ramp_end > self.epochs:
            raise ValueError(
                f"ramp_end={self.ramp_end} is after the last epoch; use at most epochs={self.epochs}, or more epochs"
            )
        return self


class EvaluateConfig(Section):
    """What is asked of the models on the test images besides their accuracy."""

    test_time: ViewsConfig = ViewsConfig()
    compound: bool = False
    """Also superpose test images of two different classes, and score whether the two likeliest classes are theirs."""


class PromoteConfig(Section):
    """The better model becomes the champion of a registered model."""

    enabled: bool = True
    """Decide at the end of the pipeline whether the student becomes champion."""
    model: Annotated[str, Field(pattern=r"^[\w .-]+$", max_length=200)] | None = None
    """Registered model in MLflow; unset: the name of the pipeline."""


class RuntimeConfig(Section):
    """Where, how fast and how safely; none of it is meant to change a result beyond floating point."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where it is present."""
    threads: PositiveInt | None = None
    """CPU threads of torch; unset: all cores. Bits are the same only for the same number of threads."""
    channels_last: bool = False
    """Keep each pixel's channels together in memory: convolutions are then faster on most processors and GPUs."""
    parallel_members: PositiveInt = 2
    """Members of a bagging ensemble that are trained at the same time, each in a process with one CPU thread. A process
    takes ten seconds to begin: for members that are trained in less, 1 is faster."""
    state: Path = Path(".semisup")
    """Folder for checkpoints and unfinished work, kept across crashes; relative to the working folder."""
    stage_timeout: PositiveInt = 86_400
    """Seconds after which a stage is ended as failed."""


class TrackingConfig(Section):
    """Where MLflow finds the runs; the store itself is named by MLFLOW_TRACKING_URI."""

    experiment: Annotated[str, Field(min_length=1, max_length=200)] = "semisup"
    """MLflow experiment of the runs."""
    system_metrics: bool = True
    """Sample CPU, memory and GPU use of every stage."""


class PipelineConfig(Section):
    """Everything that decides a pipeline run."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")] = "digits"
    """Name of the pipeline; unset in a file: the file's name."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of every random choice: split, initial weights, batches, augmentation."""
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    baseline: BaselineConfig = BaselineConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
    rounds: Annotated[int, Field(ge=1, le=100)] = 1
    """Self-training rounds: teacher → pseudo-labels → student, each student the teacher of the next round."""
    calibrate: CalibrateConfig = CalibrateConfig()
    pseudo_label: PseudoLabelConfig = PseudoLabelConfig()
    joint: JointConfig = JointConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    promote: PromoteConfig = PromoteConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _digits_are_never_mirrored(self) -> "PipelineConfig":
        views = {
            "baseline.augment": self.baseline.augment,
            "joint.augment": self.joint.augment,
            "joint.strong_augment": self.joint.strong_augment,
            "pseudo_label.test_time.augment": self.pseudo_label.test_time.augment,
            "evaluate.test_time.augment": self.evaluate.test_time.augment,
        }
        for key, view in views.items():
            if view and view.horizontal_flip and self.data.name in WITHOUT_MIRROR_SYMMETRY:
                raise ValueError(
                    f"{key}.horizontal_flip=true, but a mirrored image of {self.data.name!r} is another "
                    "class or none; use false"
                )
        return self

    @model_validator(mode="after")
    def _what_is_certified_is_what_is_labelled(self) -> "PipelineConfig":
        label = self.pseudo_label
        if label.teacher == "ensemble" and label.test_time.views > 1:
            raise ValueError(
                f"pseudo_label.test_time.views={label.test_time.views}, but an ensemble looks at each image once; "
                "use views: 1, or teacher: baseline"
            )
        if self.calibrates and label.distribution_alignment:
            raise ValueError(
                "pseudo_label.distribution_alignment=true, but it would change the calibrated confidences; use false, "
                "or no calibration"
            )
        return self

    @model_validator(mode="after")
    def _uncertainty_is_measured_and_used(self) -> "PipelineConfig":
        label, passes = self.pseudo_label, self.pseudo_label.uncertainty.passes
        if self.joint.method == "ups" and not passes:
            raise ValueError(
                "joint.method='ups', but pseudo_label.uncertainty.passes=0 measures no uncertainty; use for example 10"
            )
        for key, clashes in {
            "pseudo_label.teacher='ensemble'": label.teacher == "ensemble",
            f"pseudo_label.test_time.views={label.test_time.views}": label.test_time.views > 1,
            "a calibration": self.calibrates,
        }.items():
            if passes and clashes:
                raise ValueError(
                    f"pseudo_label.uncertainty.passes={passes} and {key} do not go together: each makes predictions of "
                    "its own; use one of them"
                )
        return self

    @model_validator(mode="after")
    def _one_teacher_hands_on_its_weights(self) -> "PipelineConfig":
        if self.joint.start != "fresh" and self.pseudo_label.teacher != "baseline":
            raise ValueError(
                f"joint.start={self.joint.start!r}, but pseudo_label.teacher={self.pseudo_label.teacher!r} need not be "
                "a network like the student; use joint.start: fresh, or pseudo_label.teacher: baseline"
            )
        return self

    @property
    def calibrates(self) -> bool:
        """Is there a stage `calibrate`?"""
        return self.calibrate.method != "none" or isinstance(self.pseudo_label.threshold, CertifiedThreshold)

    @model_validator(mode="after")
    def _calibration_has_images(self) -> "PipelineConfig":
        wanted = self.split.calibration_images
        if self.calibrates and wanted < FEWEST_CALIBRATION_IMAGES:
            asked = "calibrate.method" if self.calibrate.method != "none" else "pseudo_label.threshold.target_precision"
            raise ValueError(
                f"split.calibration_images={wanted}, but {asked} needs at least {FEWEST_CALIBRATION_IMAGES}; "
                "use for example 500"
            )
        if self.joint.labels_every_step and isinstance(self.pseudo_label.threshold, CertifiedThreshold):
            raise ValueError(
                f"pseudo_label.threshold.target_precision is set, but joint.method={self.joint.method!r} does not ask "
                "for it; use joint.method: threshold, or a number"
            )
        if wanted and not self.calibrates:
            raise ValueError(
                f"split.calibration_images={wanted}, but nothing uses them; set calibrate.method: temperature or "
                "pseudo_label.threshold: {target_precision: 0.99}, or use 0"
            )
        return self

    @model_validator(mode="after")
    def _disagreement_needs_an_ensemble(self) -> "PipelineConfig":
        limit, teacher = self.pseudo_label.max_disagreement, self.pseudo_label.teacher
        if limit is not None and teacher != "ensemble":
            raise ValueError(
                f"pseudo_label.max_disagreement={limit}, but pseudo_label.teacher={teacher!r} is one model; "
                "use teacher: ensemble, or leave it unset"
            )
        if limit is not None and self.rounds > 1:
            raise ValueError(
                f"pseudo_label.max_disagreement={limit}, but with rounds={self.rounds} the later teachers are single "
                "models; use rounds: 1, or leave it unset"
            )
        return self


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a key may hold: one where it is a section, one or none where it may also be a value."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for inner in get_args(annotation) for found in sections_in(inner)]


def keys(section: type[BaseModel] = PipelineConfig, prefix: str = "") -> Iterator[str]:
    """Dotted names of all keys, those of sections included."""
    for name, field in section.model_fields.items():
        yield prefix + name
        for kind in sections_in(field.annotation):
            yield from keys(kind, f"{prefix}{name}.")


def describe_keys(section: type[BaseModel] = PipelineConfig, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(dotted key, default, meaning) of every leaf."""
    for name, field in section.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from describe_keys(type(default), f"{prefix}{name}.")
        else:
            yield (
                prefix + name,
                "unset" if default is None else str(default),
                (field.description or "").replace("\n", " "),
            )
            for kind in sections_in(field.annotation):
                yield from describe_keys(kind, f"{prefix}{name}.")


def flatten(config: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key → plain value of every leaf, of a config or of the nested mappings that one was saved as."""

    def leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in values.items():
            if isinstance(value, dict):
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    return dict(leaves(config.model_dump(mode="json") if isinstance(config, BaseModel) else config, ""))


def resolve_data_root(data: DataConfig) -> Path | None:
    """`data.root`, or else the environment variable SEMISUP_DATA_ROOT, or None."""
    from_environment = os.environ.get("SEMISUP_DATA_ROOT")
    return data.root or (Path(from_environment) if from_environment else None)
