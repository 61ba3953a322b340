"""The student: how it learns from labels and pseudo-labels together."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from semisup.config.methods import METHODS, MethodFacts
from semisup.config.plugins import NameOf, Options, own_options
from semisup.config.sections.augment import AugmentConfig
from semisup.config.sections.base import BatchSize, Fraction, Section, nothing_or, rule
from semisup.config.sections.pseudo_labels import Alignment, AlignmentConfig, alignment_of
from semisup.config.sections.training import TrainConfig

USUAL_MOMENTUM = 0.99
MEMORY_SHARE = 0.1
LONGEST_MEMORY = {"alignment": 100, "method": 1000}
"""Of running means: as a share of the steps, and in steps."""
MethodName = Annotated[str, AfterValidator(NameOf(METHODS)), NameOf(METHODS)]


class PolicyConfig(Section):
    """How the online methods come to a target and a weight for each unlabeled image, at every step."""

    teacher: Literal["self", "ema"] = "self"
    """Whose prediction: the student's own, or that of the moving average of its weights (`ema_decay`)."""
    view: Literal["same", "weak", "clean"] | None = None
    """What the teacher looks at: what the student sees, a view like that of the labeled images, or the image as it is.
    Unset: `same` for `online` and `soft`, `weak` for the others."""
    threshold: Fraction = 0.95
    """fixmatch, flexmatch: least confidence. adamatch: the same, as a share of the labeled batch's mean confidence (in
    its paper 0.9)."""
    momentum: Annotated[float, Field(ge=0, le=0.999999)] | None = None
    """freematch, softmatch, adamatch, distribution alignment: of the running means, per step. Unset: what suits the
    steps, a memory of a tenth of them; of at most 100 (0.99) for distribution alignment, and of at most 1,000 (the
    papers' 0.999) for the methods. 0.99 where the budget is time."""
    fairness_weight: Annotated[float, Field(ge=0), nothing_or(1e-6, 1e4)] = 0.01
    """freematch: weight of its fairness term."""
    deviations: Annotated[float, Field(ge=0.01, le=1_000)] = 2.0
    """softmatch: n; weights fall from the mean confidence on like a normal density n times as narrow as its spread."""
    temperature: Annotated[float, Field(ge=0.001, le=100)] = 1.0
    """Targets and confidences come from p^(1/T): below 1 sharper, above 1 softer."""
    distribution_alignment: Alignment = False
    """Scale the teacher's predictions by class shares over their running mean: `true` by those of the labeled images,
    or a section with `target`."""
    ledger_share: Fraction = 0.0
    """Share of the pseudo-label table's prediction in the teacher's; the rest is predicted at the step. Only for
    students that start anew: one that starts with its teacher's weights knows the table's predictions (`start`)."""

    def memory(self, steps: int | None, *, of_alignment: bool) -> float:
        """The momentum of a training of so many steps (None: it is not known how many)."""
        if self.momentum is not None:
            return self.momentum
        if steps is None:
            return USUAL_MOMENTUM
        longest = LONGEST_MEMORY["alignment" if of_alignment else "method"]
        return 1 - 1 / min(max(MEMORY_SHARE * steps, 1), longest)

    options: Options = Field({})
    """Of a method that an installed package brings: the options that it documents."""


class JointConfig(TrainConfig):
    """A student learns from labels and pseudo-labels: L = L_labeled + α(t)·L_unlabeled."""

    method: MethodName = "threshold"
    """`threshold`: the accepted labels of the pseudo-label table, fixed. `confidence`: all of its labels, accepted or
    not, each with the weight (confidence − 1/C) / (1 − 1/C) for C classes. `ups`: the accepted ones, and the classes
    that an image is not (Rizve et al. 2021). The others make labels at every step for every unlabeled image: `online`
    the student's own argmax (Lee 2013), `soft` the probabilities as they are, `fixmatch` (Sohn et al. 2020),
    `flexmatch` (Zhang et al. 2021), `freematch` (Wang et al. 2023), `softmatch` (Chen et al. 2023), `adamatch`
    (Berthelot et al. 2022). Installed packages may bring more."""
    policy: PolicyConfig = PolicyConfig()
    start: Literal["fresh", "baseline", "teacher"] = "fresh"
    """Initial weights: new ones in every round; those of the baseline in the first round and new ones in later rounds;
    or those of the teacher that labeled the round (not of an ensemble)."""
    strong_augment: AugmentConfig | None = None
    """The student's view of unlabeled images; unset: as `augment`."""
    epoch_over: Literal["labeled", "unlabeled"] = "unlabeled"
    """One epoch is one pass over the labeled or over the (accepted) unlabeled images."""
    unlabeled_batch_size: BatchSize = 96
    """Unlabeled images per step."""
    alpha_final: Annotated[float, Field(ge=0), nothing_or(1e-6, 1e4)] = 1.0
    """α_f: weight of the unlabeled loss once the ramp is complete."""
    ramp_start: Annotated[int, Field(ge=0)] = 0
    """T1: α is 0 up to and including this epoch (epochs count from 1)."""
    ramp_end: Annotated[int, Field(ge=0)] = 0
    """T2: α rises linearly after T1 and is alpha_final from this epoch on. Early stopping waits for it."""
    mixup_pseudo_labels: bool = False
    """Apply `mixup` to the pseudo-labeled part of each batch as well."""
    smooth_pseudo_labels: bool = False
    """Apply `label_smoothing` to the pseudo-labeled part of each batch as well."""

    @property
    def facts(self) -> MethodFacts:
        """What is known of the method."""
        return METHODS[self.method]

    @property
    def alignment(self) -> AlignmentConfig | None:
        """Of predictions at every step; None where there are none, or where the method aligns them itself."""
        if not self.labels_every_step or self.facts.aligns:
            return None
        return alignment_of(self.policy.distribution_alignment)

    @property
    def learns_from_accepted(self) -> bool:
        """Does it matter which labels of the pseudo-label table are accepted?"""
        return self.facts.learns_from == "accepted"

    @property
    def labels_every_step(self) -> bool:
        """Are labels made at every step, and not those of the pseudo-label table?"""
        return self.facts.learns_from == "images"

    @property
    def sees_images_as_they_are(self) -> bool:
        """Is every image the same at every step, in all views?"""
        strong = self.strong_augment
        return super().sees_images_as_they_are and (strong is None or strong.changes_nothing)

    def starts_with_a_teacher(self, round_number: int) -> bool:
        """Does the student of this round (from 1) start with the weights of its teacher?"""
        return self.start == "teacher" or (self.start == "baseline" and round_number == 1)

    def reads_the_table(self, round_number: int) -> bool:
        """Does the student of this round (from 1) learn anything from the pseudo-label table?

        One that labels at every step does so by `ledger_share` alone, and not if it starts with its teacher's weights.
        """
        if not self.labels_every_step:
            return True
        return self.policy.ledger_share > 0 and not self.starts_with_a_teacher(round_number)

    @rule
    def _fairness_is_asked_of_images_as_they_are(self) -> None:
        if self.mixup_pseudo_labels and self.mixup.alpha and self.facts.judges_single_images:
            raise ValueError(
                f"mixup_pseudo_labels=true, but method={self.method!r} judges predictions of single images; use false"
            )

    @rule
    def _a_methods_own_options_are_its_own(self) -> None:
        self.own_options()

    def own_options(self) -> BaseModel | None:
        """What `policy.options` says, as the method wants it; None where the method has no options of its own.

        Raises:
            ValueError: the method has none, or not these.
        """
        return own_options(METHODS, self.method, self.policy.options, at="policy.options")

    @rule
    def _a_table_tells_something_new(self) -> None:
        if self.policy.ledger_share and self.start == "teacher":
            raise ValueError(
                f"policy.ledger_share={self.policy.ledger_share}, but with start='teacher' a student knows what the "
                "pseudo-label table says; use start: fresh or baseline, or ledger_share: 0"
            )

    @rule
    def _an_average_teaches_where_there_is_one(self) -> None:
        if self.policy.teacher == "ema" and not self.ema_decay:
            raise ValueError("policy.teacher='ema', but ema_decay=0 keeps no average; use for example ema_decay: 0.99")

    @rule
    def _the_ramp_fits_into_the_epochs(self) -> None:
        if self.ramp_start > self.ramp_end:
            raise ValueError(
                f"ramp_start={self.ramp_start} is after ramp_end={self.ramp_end}; use ramp_start <= ramp_end"
            )
        if self.ramp_end > self.epochs:
            raise ValueError(
                f"ramp_end={self.ramp_end} is after the last epoch; use at most epochs={self.epochs}, or more epochs"
            )
