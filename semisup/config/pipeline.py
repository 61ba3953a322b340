"""The whole config, and the rules between its sections."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from semisup.config.families import READY_MADE
from semisup.config.sections.augment import AugmentConfig
from semisup.config.sections.base import Name, Section, rule
from semisup.config.sections.data import DataConfig
from semisup.config.sections.evaluate import EvaluateConfig, PromoteConfig
from semisup.config.sections.joint import JointConfig
from semisup.config.sections.model import ChooseConfig, ModelConfig, ProbeConfig
from semisup.config.sections.pseudo_labels import CalibratedThreshold, PseudoLabelConfig, alignment_of
from semisup.config.sections.runtime import RuntimeConfig, TrackingConfig
from semisup.config.sections.split import SplitConfig
from semisup.config.sections.teachers import CalibrateConfig, EnsembleConfig
from semisup.config.sections.training import BaselineConfig

GRAPH: dict[str, dict[str, Any]] = {
    "split": {"validation_per_class": 0},
    "model": {"train": "probe"},
    "pseudo_label": {"teacher": "graph", "threshold": 0.8},
    "joint": {"method": "confidence"},
}
FINE_TUNING: dict[str, Any] = {
    "epochs": 1,
    "budget": "100 steps",
    "optimizer": {"lr": 1e-3},
    "augment": {"rotation": 10, "shift": 0.1, "scale": 0.2},
    "early_stopping": {"keep": "last"},
}
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "steps": {},
    "graph": GRAPH,
    "auto": GRAPH
    | {
        "model": {"train": "auto"},
        "baseline": FINE_TUNING,
        "joint": GRAPH["joint"] | FINE_TUNING | {"budget": "200 steps", "batch_size": 16, "unlabeled_batch_size": 16},
    },
}
"""What a recipe sets where nobody says otherwise."""
DETAIL = 9 / 7
"""What `data.size` was of `model.center_crop` where a second view of the center was found to help."""
FEWEST_CALIBRATION_IMAGES = 20  # fewer say nothing about any confidence


def _filled_in(values: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Sections with what stands in `defaults` and not in them."""
    filled = dict(values)
    for section, of_section in defaults.items():
        given = filled.get(section) or {}
        if isinstance(given, Mapping):  # a finished section says all of its keys
            filled[section] = {**of_section, **given}
    return filled


class PipelineConfig(Section):
    """Everything that decides a pipeline run."""

    name: Name = "digits"
    """Name of the pipeline; unset in a file: the file's name."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of every random choice: split, initial weights, batches, augmentation."""
    recipe: Literal["steps", "graph", "auto"] = "steps"
    """`steps`: what the sections below say, by default networks that are trained step by step. `graph`: for photographs
    and a pretrained network. A short name for `model.train: probe`, `pseudo_label.teacher: graph`,
    `pseudo_label.threshold: 0.8`, `joint.method: confidence` and `split.validation_per_class: 0`; a config may set each
    of them otherwise. Every label both trains and, held out in turn, judges. `auto`: the same with `model.train: auto`,
    so that the held-out labels also say whether more of the network should be trained, and `baseline` and
    `joint` for a hundred and two hundred steps of that."""
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    probe: ProbeConfig = ProbeConfig()
    choose: ChooseConfig = ChooseConfig()
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

    # Validators of this kind run from the last one to the first: this one sees what the others filled in.
    @model_validator(mode="before")
    @classmethod
    def _networks_of_photographs_are_trained_in_what_the_processor_has(cls, values: Any) -> Any:
        """In bfloat16 where it computes in that, unless somebody says otherwise."""
        sections = values if isinstance(values, Mapping) else {}
        try:
            model = ModelConfig.model_validate(sections.get("model") or {})
        except ValidationError:
            return values  # which is said of the section itself
        if not model.of_photographs or model.train in {"probe", "head"}:
            return values
        return _filled_in(values, {"baseline": {"precision": "auto"}, "joint": {"precision": "auto"}})

    @model_validator(mode="before")
    @classmethod
    def _ready_made_features_stand_for_a_network(cls, values: Any) -> Any:
        """They name it, where nobody names another."""
        sections = values if isinstance(values, Mapping) else {}
        data, model = sections.get("data"), sections.get("model") or {}
        there = data.get("features") if isinstance(data, Mapping) else getattr(data, "features", None)
        if there is None or not isinstance(model, Mapping):
            return values
        return {**values, "model": {"name": READY_MADE} | dict(model)}

    @model_validator(mode="before")
    @classmethod
    def _a_recipe_fills_in(cls, values: Any) -> Any:
        named = values.get("recipe") if isinstance(values, Mapping) else None
        chosen = RECIPES.get(named) if isinstance(named, str) else None
        return _filled_in(values, chosen) if chosen else values

    @rule
    def _a_probe_goes_without_steps(self) -> None:
        if not self.model.chooses:
            self._without_frozen_features()
            return
        fitting: dict[str, tuple[str, set[str]]] = {
            "joint.method": (self.joint.method, {"threshold", "confidence"}),
            "joint.start": (self.joint.start, {"fresh"}),
            "pseudo_label.teacher": (self.pseudo_label.teacher, {"graph", "baseline", "champion"}),
        }
        for key, (value, fits) in fitting.items():
            if value not in fits:
                raise ValueError(
                    f"{key}={value!r}, but model.train={self.model.train!r} trains no student step by step; use "
                    f"{' or '.join(sorted(fits))}, or model.train: head"
                )
        if self.pseudo_label.teacher == "graph":
            for key, asked in (
                ("pseudo_label.test_time.views", self.pseudo_label.test_time.views > 1),
                ("pseudo_label.uncertainty.passes", self.pseudo_label.uncertainty.passes > 0),
            ):
                if asked:
                    raise ValueError(
                        f"{key} asks a network several times, but pseudo_label.teacher='graph' is none; leave it out, "
                        "or use teacher: baseline"
                    )

    @rule
    def _ready_made_features_are_all_there_is(self) -> None:
        named, there = self.model.name == READY_MADE, self.data.features is not None
        if named and not there:
            raise ValueError(
                f"model.name={READY_MADE!r}, but data.features is unset; name a file with a vector for each image, or "
                "another network"
            )
        if not there:
            return
        said = f"data.features={str(self.data.features)!r}"
        if not named:
            raise ValueError(
                f"{said} stands in place of a network, but model.name={self.model.name!r} is one; use model.name: "
                "features, or leave one of them out"
            )
        if self.model.train != "probe":
            raise ValueError(f"{said}, but model.train={self.model.train!r} trains a network; use recipe: graph")
        asked = {
            "evaluate.test_time.views": self.evaluate.test_time.views > 1,
            "pseudo_label.test_time.views": self.pseudo_label.test_time.views > 1,
            "evaluate.compound": self.evaluate.compound,
            "model.weights": self.model.weights is not None,
            "model.mirror": self.model.mirror,
            "model.center_crop": self.model.center_crop is not None,
            "pseudo_label.teacher": self.pseudo_label.teacher == "champion",
        }
        if clashes := [key for key, is_so in asked.items() if is_so]:
            raise ValueError(
                f"{said}, but {clashes[0]} asks a network, and there is none that could look at images; leave it out"
            )

    def _without_frozen_features(self) -> None:
        needing = {"pseudo_label.teacher='graph'": self.pseudo_label.teacher == "graph"}
        needing["split.validation_per_class=0"] = self.split.validation_per_class == 0
        for asked, is_so in needing.items():
            if is_so:
                key = asked.partition("=")[0]
                raise ValueError(
                    f"{asked} needs features of a frozen network; set model.train: probe, or another {key}"
                )

    @rule
    def _many_channels_are_no_colors(self) -> None:
        channels = self.data.channels
        if not isinstance(channels, int) or self.data.features is not None:
            return
        if self.model.imagenet and self.model.weights is None:
            raise ValueError(
                f"data.channels={channels}, but model.name={self.model.name!r} is pretrained on three; use for example "
                "small_cnn, or model.weights of an earlier run on such images"
            )
        for key, view in self._views.items():
            if view is not None and view.randaugment:
                raise ValueError(
                    f"{key}.randaugment={view.randaugment}, but data.channels={channels}, and some of its operations "
                    "know gray and colors alone; use shift, rotation, scale or cutout"
                )

    @rule
    def _kept_views_are_not_mixed(self) -> None:
        for key, section in (("baseline", self.baseline), ("joint", self.joint)):
            if self.model.train == "auto" and section.mixup.alpha:
                raise ValueError(
                    f"{key}.mixup.alpha={section.mixup.alpha}, but model.train='auto' trains on kept views, and "
                    "mixes none; use 0"
                )
            if self.model.kept_views and section.mixup.alpha:
                raise ValueError(
                    f"model.kept_views={self.model.kept_views}, but {key}.mixup.alpha={section.mixup.alpha} mixes "
                    "images anew at every step; use kept_views: 0, or no mixup"
                )

    @property
    def channels_last(self) -> bool:
        """Does the network keep each pixel's channels together?"""
        asked = self.runtime.channels_last
        return self.model.of_photographs if asked is None else asked

    @property
    def judged_by_labels(self) -> bool:
        """Is the student the one that stage `choose` judges by labels that it holds out?"""
        graph = self.model.chooses and self.pseudo_label.teacher == "graph" and not self.calibrates
        return graph and self.joint.method == "confidence" and self.joint.alpha_final == 1 and self.rounds == 1

    @rule
    def _somebody_judges_the_student(self) -> None:
        if self.model.chooses and not self.split.validation_per_class and not self.judged_by_labels:
            raise ValueError(
                "split.validation_per_class=0 leaves labels that are held out in turn to judge, which works only with "
                "rounds: 1, pseudo_label.teacher: graph, joint.method: confidence, joint.alpha_final: 1 and no "
                "calibration; use these, or for example split.validation_per_class: 5"
            )

    @rule
    def _somebody_chooses_the_epoch(self) -> None:
        for key, section in (("baseline", self.baseline), ("joint", self.joint)):
            if self.model.train == "auto" and section.early_stopping.keep == "best":
                raise ValueError(
                    f"{key}.early_stopping.keep='best', but model.train='auto' learns from every label, and none "
                    "is left that could say which epoch is the best; use keep: last"
                )

    @property
    def _views(self) -> Mapping[str, AugmentConfig | None]:
        """Key → how images are changed there."""
        return {
            "baseline.augment": self.baseline.augment,
            "joint.augment": self.joint.augment,
            "joint.strong_augment": self.joint.strong_augment,
            "pseudo_label.test_time.augment": self.pseudo_label.test_time.augment,
            "evaluate.test_time.augment": self.evaluate.test_time.augment,
        }

    @rule
    def _digits_are_never_mirrored(self) -> None:
        for key, view in self._views.items():
            if view and view.horizontal_flip and self.data.facts.mirrored_is_another:
                raise ValueError(
                    f"{key}.horizontal_flip=true, but a mirrored image of {self.data.name!r} is another "
                    "class or none; use false"
                )
        if self.model.mirror and self.data.facts.mirrored_is_another:
            raise ValueError(
                f"model.mirror=true, but a mirrored image of {self.data.name!r} is another class or none; use false"
            )

    @rule
    def _a_center_is_a_part_of_the_image(self) -> None:
        crop, (height, width) = self.model.center_crop, self.data.size
        if crop is None or not self.model.chooses:
            return
        if not self.data.facts.own_images:
            raise ValueError(
                f"model.center_crop={crop}, but images of {self.data.name!r} have a size of their own; leave it out"
            )
        if crop >= min(height, width):
            raise ValueError(
                f"model.center_crop={crop}, but data.size={[height, width]} has no more pixels than that; use a larger "
                f"data.size, such as {round(crop * DETAIL)}, or leave center_crop out"
            )

    @rule
    def _what_is_certified_is_what_is_labeled(self) -> None:
        label = self.pseudo_label
        if label.teacher == "ensemble" and label.test_time.views > 1:
            raise ValueError(
                f"pseudo_label.test_time.views={label.test_time.views}, but an ensemble looks at each image once; "
                "use views: 1, or teacher: baseline"
            )
        if self.calibrates and label.distribution_alignment:
            raise ValueError(
                "pseudo_label.distribution_alignment is on, but it would change the calibrated confidences; use false, "
                "or no calibration"
            )

    @rule
    def _shares_are_estimated_with_validation_images(self) -> None:
        """A folder of one's own may hold some that no config speaks of."""
        aligned = alignment_of(self.pseudo_label.distribution_alignment)
        drawn = self.split.validation_per_class or self.data.facts.own_images
        if aligned and aligned.target == "estimated" and not drawn:
            raise ValueError(
                "pseudo_label.distribution_alignment.target='estimated', but split.validation_per_class=0 leaves no "
                "validation image to estimate with; use for example 5, or target: given"
            )

    @rule
    def _uncertainty_is_measured_and_used(self) -> None:
        label, passes = self.pseudo_label, self.pseudo_label.uncertainty.passes
        if not passes and self.joint.facts.learns_negatives:
            raise ValueError(
                f"joint.method={self.joint.method!r}, but pseudo_label.uncertainty.passes=0 measures no uncertainty; "
                "use for example 10"
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

    @rule
    def _one_teacher_hands_on_its_weights(self) -> None:
        if self.joint.start != "fresh" and self.pseudo_label.teacher != "baseline":
            raise ValueError(
                f"joint.start={self.joint.start!r}, but pseudo_label.teacher={self.pseudo_label.teacher!r} need not be "
                "a network like the student; use joint.start: fresh, or pseudo_label.teacher: baseline"
            )

    @property
    def labels_before_training(self) -> bool:
        """Does any student learn from a pseudo-label table?"""
        return any(self.joint.reads_the_table(number) for number in range(1, self.rounds + 1))

    @property
    def students(self) -> int:
        """Rounds in which a student is trained: one where none gets anything from the round before."""
        return self.rounds if self.labels_before_training or self.joint.start == "teacher" else 1

    @property
    def calibrates(self) -> bool:
        """Is there a stage `calibrate`?"""
        return self.calibrate.method != "none" or isinstance(self.pseudo_label.threshold, CalibratedThreshold)

    @rule
    def _calibration_has_images(self) -> None:
        wanted = self.split.calibration_images
        if self.calibrates and wanted < FEWEST_CALIBRATION_IMAGES:
            asked = "calibrate.method" if self.calibrate.method != "none" else "pseudo_label.threshold"
            raise ValueError(
                f"split.calibration_images={wanted}, but {asked} needs at least {FEWEST_CALIBRATION_IMAGES}; "
                "use for example 500"
            )
        if wanted and not self.calibrates:
            raise ValueError(
                f"split.calibration_images={wanted}, but nothing uses them; set calibrate.method: temperature or "
                "pseudo_label.threshold: {target_precision: 0.99}, or use 0"
            )

    @rule
    def _disagreement_needs_an_ensemble(self) -> None:
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
