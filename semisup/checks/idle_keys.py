"""Keys that another key makes idle: where somebody sets one all the same, it is said, with what would wake it."""

from collections.abc import Iterator
from pathlib import Path

from semisup.config import (
    AugmentConfig,
    CalibratedThreshold,
    DataConfig,
    JointConfig,
    OptimizerConfig,
    PipelineConfig,
    ScheduleConfig,
    Section,
    TrainConfig,
    ViewsConfig,
)
from semisup.config.regression import RegressionConfig

OF_FOLDERS = "size resize channels range test_share max_broken duplicates"
"""Options of `data` that only one's own images have."""
OF_A_PROBE = {"method", "alpha_final", "policy", "start"}
"""Keys of a training that a probe looks at, or that are refused or spoken of elsewhere."""


def idle_keys(config: PipelineConfig, *, ensemble: bool = False) -> Iterator[str]:
    """One line for each key of a pipeline's config that is not at its default and cannot change anything.

    `ensemble`: of an ensemble that is trained without a pipeline, so that it needs no student to teach.
    """
    ensemble |= config.pseudo_label.teacher == "ensemble" and config.labels_before_training
    yield from _of_data(config)
    yield from _of_frozen_networks(config)
    for stage, train in (("baseline", config.baseline), ("joint", config.joint)):
        if config.model.train == "probe":
            continue  # it has been said of all keys
        yield from _of_training(stage, train)
        resampled = ensemble and stage == "baseline"  # members learn from other numbers of each class
        if _as_many_of_each_class(config) and not resampled:
            why = "every class has as many labeled images as any other"
            yield from _idle(stage, train, "class_weights", why, "none")
    yield from _of_teachers(config, ensemble)
    yield from _of_pseudo_labels(config)
    if not config.model.chooses:
        yield from _of_the_student(config.joint)
    yield from _of_views("evaluate.test_time", config.evaluate.test_time)
    if not config.promote.enabled and config.pseudo_label.teacher != "champion":
        yield from _idle("promote", config.promote, "model", "promote.enabled=false crowns nobody", "enabled: true")


def idle_regression_keys(config: RegressionConfig) -> Iterator[str]:
    """As :func:`idle_keys`, of a regression's config."""
    yield from _of_optimizer("train.optimizer", config.train.optimizer)
    yield from _of_schedule("train.schedule", config.train.schedule)
    noise, at = config.train.disturb_value, "train.disturb_value"
    if not noise.rate:
        yield from _idle(at, noise, "scale", f"{at}.rate=0 disturbs no target", "for example rate: 10")
    elif not noise.scale:
        yield from _idle(at, noise, "rate", f"{at}.scale=0 disturbs no target", "for example scale: 0.1")
    if not config.model.hidden:
        why = "model.hidden=() has no layer that it could be in"
        yield from _idle("model", config.model, "dropout batch_norm", why, "for example hidden: [64, 32]")
    why = "a regression trains one small network in one process"
    names = "processes channels_last inference compile parallel_members dask"
    yield from _idle("runtime", config.runtime, names, why, "`semisup run`")


def _idle(at: str, section: Section, names: str, why: str, way_out: str) -> Iterator[str]:
    """A line for each key among the names (all of them: "*") that is not at its default."""
    fields = type(section).model_fields
    for name in fields if names == "*" else names.split():
        value = getattr(section, name)
        if value != fields[name].get_default(call_default_factory=True):
            said = " is set" if isinstance(value, Section) else f"={_shown(value)}"
            yield f"{at}.{name}{said}, but {why}; leave it out, or use {way_out}"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(str(value)) if isinstance(value, str | Path) else f"{value}"


def _of_data(config: PipelineConfig) -> Iterator[str]:
    data: DataConfig = config.data
    named = f"data.name={data.name!r}"
    if not data.facts.own_images:
        yield from _idle("data", data, OF_FOLDERS, f"{named} has images of its own size and names", "name: folder")
        why = f"{named} never gets new images"
        yield from _idle("pseudo_label", config.pseudo_label, "drift_limit", why, "data.name: folder")
        if config.model.train == "all":
            yield from _idle("data", data, "cache cache_limit", f"{named} is not decoded into a cache", "name: folder")
    if data.facts.embedded:
        yield from _idle("data", data, "root download", f"{named} is embedded", "another data set")
    else:
        yield from _idle("data", data, "download", "your own images are not downloaded", "another data set")


def _of_frozen_networks(config: PipelineConfig) -> Iterator[str]:
    """What only a probe looks at, and what only training step by step does."""
    train, partly = f"model.train={config.model.train!r}", config.model.train == "head" or config.model.last_blocks > 0
    if not partly:
        yield from _idle(
            "model", config.model, "kept_views", f"{train} looks at the images themselves", "train: last_2"
        )
    elif config.baseline.sees_images_as_they_are and config.joint.sees_images_as_they_are:
        why = "neither baseline.augment nor joint.augment changes an image, so there is one view of each"
        yield from _idle("model", config.model, "kept_views", why, "for example baseline.augment.shift: 0.1")
    if config.model.train != "auto":
        yield from _idle("choose", config.choose, "*", f"{train} compares nothing", "model.train: auto")
    if not config.model.chooses:
        yield from _idle("model", config.model, "mirror center_crop", f"{train} is no probe", "train: probe")
        if not config.model.last_blocks:
            why = f"{train} is no probe and has no last blocks"
            yield from _idle("model", config.model, "precision", why, "train: probe or last_2")
        yield from _idle("probe", config.probe, "*", f"{train} is no probe", "model.train: probe")
        return
    if config.data.features is not None:
        why = "data.features stands in place of a network"
        yield from _idle("model", config.model, "precision deskew normalize", why, "another model.name")
        yield from _idle("runtime", config.runtime, "inference", why, "another model.name")
    yield from _idle("runtime", config.runtime, "processes compile", f"{train} is solved in one process", "train: head")
    sections: dict[str, TrainConfig] = {"baseline": config.baseline, "joint": config.joint}
    for stage, section in sections.items():
        if config.model.train == "auto":
            continue  # they may come to be trained step by step
        names = " ".join(name for name in type(section).model_fields if name not in OF_A_PROBE)
        yield from _idle(
            stage, section, names, f"{train} solves for the best probe, without steps", "model.train: head"
        )


def _as_many_of_each_class(config: PipelineConfig) -> bool:
    """Is it known beforehand that all classes have the same number of labeled images?"""
    split = config.split
    drawn = isinstance(split.labeled_per_class, int) and split.imbalance_ratio == 1
    return drawn and not config.data.facts.own_images and config.data.annotations is None


def _of_training(stage: str, train: TrainConfig) -> Iterator[str]:
    yield from _of_optimizer(f"{stage}.optimizer", train.optimizer)
    yield from _of_schedule(f"{stage}.schedule", train.schedule)
    if train.early_stopping.keep == "last":
        why = f"{stage}.early_stopping.keep='last' looks at no validation image"
        yield from _idle(
            f"{stage}.early_stopping", train.early_stopping, "monitor patience min_delta", why, "keep: best"
        )
    yield from _of_augmentation(f"{stage}.augment", train.augment)
    if not train.mixup.alpha:
        why = f"{stage}.mixup.alpha=0 mixes nothing"
        yield from _idle(f"{stage}.mixup", train.mixup, "every_n_batches", why, "for example alpha: 0.2")
    if not train.label_smoothing.epsilon:
        why = f"{stage}.label_smoothing.epsilon=0 smooths nothing"
        yield from _idle(f"{stage}.label_smoothing", train.label_smoothing, "spread", why, "for example epsilon: 0.1")


def _of_optimizer(at: str, optimizer: OptimizerConfig) -> Iterator[str]:
    why = f"{at}.name={optimizer.name!r} has no such constant"
    if optimizer.name == "sgd":
        yield from _idle(at, optimizer, "betas", why, "name: adamw")
    else:
        yield from _idle(at, optimizer, "momentum", why, "name: sgd")


def _of_schedule(at: str, schedule: ScheduleConfig) -> Iterator[str]:
    why = f"{at}.name={schedule.name!r} has no such constant"
    if schedule.name != "step":
        yield from _idle(at, schedule, "milestones gamma", why, "name: step")
    elif not schedule.milestones:
        yield from _idle(at, schedule, "gamma", f"{at}.milestones is empty", "for example milestones: [50]")
    if schedule.name not in {"cosine", "one_cycle"}:
        yield from _idle(at, schedule, "warmup", why, "name: cosine")


def _of_augmentation(at: str, augment: AugmentConfig) -> Iterator[str]:
    if not augment.randaugment:
        why = f"{at}.randaugment=0 draws no operation"
        yield from _idle(at, augment, "magnitude", why, "for example randaugment: 2")
    if not augment.shift:
        yield from _idle(at, augment, "reflect", f"{at}.shift=0 shifts nothing", "for example shift: 0.1")


def _of_views(at: str, test_time: ViewsConfig) -> Iterator[str]:
    if test_time.views == 1:
        why = f"{at}.views=1 looks at each image as it is"
        yield from _idle(at, test_time, "augment", why, "for example views: 10")
    else:
        yield from _of_augmentation(f"{at}.augment", test_time.augment)


def _of_teachers(config: PipelineConfig, ensemble: bool) -> Iterator[str]:
    if not ensemble:
        why, way_out = (
            f"pseudo_label.teacher={config.pseudo_label.teacher!r} is one model",
            "pseudo_label.teacher: ensemble",
        )
        if not config.labels_before_training:
            why, way_out = f"joint.method={config.joint.method!r} asks no teacher", "joint.method: threshold"
        yield from _idle("ensemble", config.ensemble, "*", why, f"{way_out}, or `semisup ensemble`")
    in_bagging = ensemble and config.ensemble.method == "bagging"
    if ensemble and not in_bagging:
        why = "ensemble.method='boosting' weighs the votes of its members"
        yield from _idle("ensemble", config.ensemble, "combine", why, "method: bagging")
    if not in_bagging:
        why = "no bagging ensemble is trained, whose members could be trained at the same time"
        yield from _idle("runtime", config.runtime, "parallel_members dask", why, "pseudo_label.teacher: ensemble")
    if config.runtime.dask is not None:
        why = f"runtime.dask={config.runtime.dask!r}: its workers decide how many members are trained at a time"
        yield from _idle("runtime", config.runtime, "parallel_members", why, "no dask")
    if config.calibrate.method == "none":
        why = "calibrate.method='none' fits no temperature"
        yield from _idle("calibrate", config.calibrate, "temperature_share", why, "method: temperature")


def _of_pseudo_labels(config: PipelineConfig) -> Iterator[str]:
    label, uncertainty = config.pseudo_label, config.pseudo_label.uncertainty
    yield from _of_views("pseudo_label.test_time", label.test_time)
    if isinstance(label.threshold, CalibratedThreshold) and label.threshold.fdr is not None:
        at = "pseudo_label.threshold"
        why = f"{at}.fdr={label.threshold.fdr:g} is a promise about the mean"
        yield from _idle(at, label.threshold, "target_precision confidence", why, "no fdr")
    at = "pseudo_label.uncertainty"
    if not uncertainty.passes:
        why = f"{at}.passes=0 measures none"
        yield from _idle(at, uncertainty, "positive negative_confidence negative", why, "for example passes: 10")
    elif not config.joint.facts.learns_negatives:
        why = f"joint.method={config.joint.method!r} does not learn which class an image is not"
        yield from _idle(at, uncertainty, "negative_confidence negative", why, "joint.method: ups")


def _of_the_student(joint: JointConfig) -> Iterator[str]:
    if joint.strong_augment is not None:
        yield from _of_augmentation("joint.strong_augment", joint.strong_augment)
    if not joint.mixup.alpha:
        why = "joint.mixup.alpha=0 mixes nothing"
        yield from _idle("joint", joint, "mixup_pseudo_labels", why, "for example joint.mixup.alpha: 0.2")
    if not joint.label_smoothing.epsilon:
        why = "joint.label_smoothing.epsilon=0 smooths nothing"
        yield from _idle("joint", joint, "smooth_pseudo_labels", why, "for example joint.label_smoothing.epsilon: 0.1")
    if joint.labels_every_step and "temperature" not in joint.facts.heeds:
        why = f"joint.method={joint.method!r} takes the likeliest class, which is the same at any temperature"
        yield from _idle("joint.policy", joint.policy, "temperature", why, "joint.method: soft")
    if joint.facts.aligns:
        why = f"joint.method={joint.method!r} aligns with the labeled images' predictions"
        yield from _idle("joint.policy", joint.policy, "distribution_alignment", why, "joint.method: fixmatch")
    if of_consistency(joint) and joint.policy.view in {"weak", "clean"} and joint.augment.changes_nothing:
        why = "joint.augment changes no image, so a weak view is the image as it is"
        yield from _idle("joint.policy", joint.policy, "view", why, "for example joint.augment.shift: 0.1")


def of_consistency(joint: JointConfig) -> bool:
    """Does the method live on the gap between a weak and a strong view?"""
    return joint.labels_every_step and joint.facts.view == "weak"
