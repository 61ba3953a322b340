"""The whole config, and the rules between its sections."""

from typing import Annotated

from pydantic import Field, model_validator

from semisup.config.base import Name, Section
from semisup.config.data import WITHOUT_MIRROR_SYMMETRY, DataConfig
from semisup.config.evaluate import EvaluateConfig, PromoteConfig
from semisup.config.joint import JointConfig
from semisup.config.model import ModelConfig
from semisup.config.pseudo_labels import CertifiedThreshold, PseudoLabelConfig
from semisup.config.runtime import RuntimeConfig, TrackingConfig
from semisup.config.split import SplitConfig
from semisup.config.teachers import CalibrateConfig, EnsembleConfig
from semisup.config.training import BaselineConfig

FEWEST_CALIBRATION_IMAGES = 20  # fewer say nothing about any confidence


class PipelineConfig(Section):
    """Everything that decides a pipeline run."""

    name: Name = "digits"
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
