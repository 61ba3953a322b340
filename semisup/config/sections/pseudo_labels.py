"""Which of the teacher's labels are accepted."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from semisup.config.plugins import OwnOptions
from semisup.config.sections.augment import ViewsConfig
from semisup.config.sections.base import (
    NUMBER,
    SECTION,
    SWITCH,
    WORD,
    BatchSize,
    Fraction,
    Section,
    Share,
    kind_of,
    rule,
)


def _named(shares: Any) -> Any:
    """YAML takes the names of digits for numbers."""
    return {str(name): share for name, share in shares.items()} if isinstance(shares, Mapping) else shares


class AlignmentConfig(Section):
    """Distribution alignment: which class shares the mean of the predictions is scaled to."""

    target: Literal["labeled", "uniform", "given", "estimated"] = "labeled"
    """Shares of the `labeled` images; `uniform` ones; those `given` as `shares`; or those of the unlabeled images as
    they are `estimated` from the baseline's predictions, which validation images calibrate (EM; Saerens et al. 2002).
    """
    shares: Annotated[Mapping[str, Fraction], BeforeValidator(_named), AfterValidator(OwnOptions)] = Field({})
    """Target `given`: name of each class, and its share of the unlabeled images."""

    @rule
    def _given_shares_are_shares(self) -> None:
        if (self.target == "given") != bool(self.shares):
            asked = "is empty" if self.target == "given" else f"is set, but target={self.target!r}"
            raise ValueError(f"shares {asked}; use both, such as {{target: given, shares: {{cat: 0.3, dog: 0.7}}}}")
        if self.shares and abs(sum(self.shares.values()) - 1) > ROUNDED:
            raise ValueError(f"shares have the sum {sum(self.shares.values()):g}; use shares of sum 1")


ROUNDED = 0.01
"""As far from 1 as shares of two digits may be in all."""
Alignment = Annotated[
    Annotated[bool, Tag(SWITCH)] | Annotated[AlignmentConfig, Tag(SECTION)],
    Discriminator(lambda value: SECTION if kind_of(value) == SECTION else SWITCH),
]


def alignment_of(setting: bool | AlignmentConfig) -> AlignmentConfig | None:
    """What a key that is `true`, `false` or a section says; None: no alignment."""
    if isinstance(setting, AlignmentConfig):
        return setting
    return AlignmentConfig() if setting else None


class CalibratedThreshold(Section):
    """The lowest threshold of which calibration images show that enough of the pseudo-labels are right."""

    target_precision: Annotated[float, Field(ge=0.01, le=0.9999)] = 0.99
    """Share of the accepted pseudo-labels that must be right."""
    confidence: Annotated[float, Field(ge=0.5, le=0.9999)] = 0.95
    """Probability, over the draw of the calibration images, with which that must hold."""
    fdr: Annotated[float, Field(ge=0.0001, le=0.99)] | None = None
    """In place of `target_precision` and `confidence`: the share of accepted pseudo-labels that may be wrong on average
    over the draw of calibration images and pool (false discovery rate). It takes fewer images than a certificate, and
    a single run may have more wrong ones."""
    fallback: Annotated[
        Annotated[Fraction, Tag(NUMBER)] | Annotated[Literal["stop"], Tag(WORD)], Discriminator(kind_of)
    ] = 0.99
    """Where no threshold is found: a fixed one, or `stop` with an error."""

    @property
    def asked(self) -> str:
        """The key that says what must hold, and its value."""
        return f"target_precision={self.target_precision:g}" if self.fdr is None else f"fdr={self.fdr:g}"

    @property
    def least_right(self) -> float:
        """Share of the accepted labels that must be right."""
        return self.target_precision if self.fdr is None else 1 - self.fdr


class UncertaintyConfig(Section):
    """Monte Carlo dropout: several passes with dropout on, and how far they differ (UPS, Rizve et al. 2021)."""

    passes: Annotated[int, Field(ge=0, le=1000)] = 0
    """Forward passes; their mean is the prediction, and their standard deviation its uncertainty. 0: one plain pass.
    UPS: 10, with `threshold: 0.7`."""
    positive: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Accept a pseudo-label whose uncertainty is at most this."""
    negative_confidence: Fraction = 0.05
    """Of an image that fails `threshold` or `positive`, a class of at most this probability is learned as one that it
    is not …"""
    negative: Annotated[float, Field(ge=0, le=1)] = 0.005
    """… where the uncertainty of that is at most this."""

    @rule
    def _passes_differ(self) -> None:
        if self.passes == 1:
            raise ValueError("passes=1 has no standard deviation; use at least 2, or 0 for none")


class UnknownConfig(Section):
    """Images that are of none of the classes: looked for in the baseline's features, and never accepted."""

    false_alarms: Annotated[float, Field(ge=0.001, le=0.5)] | None = None
    """Share of images of the known classes that may be called unknown: it makes the threshold, from calibration images,
    validation images or labeled ones that are held out in turn. Usual: 0.05. Unset: unknown images are not looked
    for."""


class PseudoLabelConfig(Section):
    """The frozen teacher labels every unlabeled image once a round."""

    teacher: Literal["baseline", "champion", "ensemble", "graph"] = "baseline"
    """Who labels in the first round: this run's `baseline`, its `ensemble`, the registered `champion` (while there is
    none, the baseline), or the `graph` of nearest neighbors (`model.train: probe`), on which labels spread from
    labeled images to those that look like them. In later rounds it is the student of the round before."""
    threshold: Annotated[
        Annotated[Fraction, Tag(NUMBER)] | Annotated[CalibratedThreshold, Tag(SECTION)],
        Discriminator(lambda value: SECTION if kind_of(value) == SECTION else NUMBER),
    ] = 0.95
    """Accept a pseudo-label whose confidence, the largest probability, is at least this; or a section with
    `target_precision`, `confidence` and `fallback`: the lowest threshold that can be certified; or `fdr` and
    `fallback`: the lowest one that keeps a false discovery rate."""
    top_share: Share | None = None
    """Of each predicted class accept only this share of its images, without those found `unknown`, the most confident
    ones; the threshold still holds. Unset: no limit."""
    max_disagreement: Annotated[float, Field(ge=0, le=1)] | None = None
    """Teacher `ensemble`: accept only where the standard deviation of the members' probabilities of the label is at
    most this. Unset: no limit."""
    share_per_round: Share | None = None
    """Curriculum labeling (Cascante-Bonilla et al. 2021): in round r accept this share times r of all images, without
    those found `unknown`, the most confident ones; the threshold still holds. Unset: no limit."""
    least_precision: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Refuse all labels, so that the student learns from labeled images alone, where validation images show that fewer
    than this share are right: the whole 95 % interval, of those that pass `threshold` and `uncertainty`, lies below.
    0: never."""
    distribution_alignment: Alignment = False
    """Scale the probabilities of each class so that their mean over the pool, without images that are found `unknown`,
    is a class share: `true` that of the labeled images, or a section with `target`."""
    drift_limit: Fraction = 0.1
    """Your own images: warn where new unlabeled images are further than this from those that were known before, in the
    shares of predicted classes or the distribution of confidence, each between 0 and 1."""
    test_time: ViewsConfig = ViewsConfig()
    uncertainty: UncertaintyConfig = UncertaintyConfig()
    unknown: UnknownConfig = UnknownConfig()
    batch_size: BatchSize | None = None
    """Images per forward pass; unset, as many as suit their size and the device. It cannot change the result beyond
    floating point, unless `uncertainty` or `test_time` draw at random; these get as many as a CPU on every device."""
