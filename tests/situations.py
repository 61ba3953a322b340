"""For every key of a config: where it changes what comes out, and where it cannot, which has to be said.

Each situation is overrides of `BASE`. The tests hold the table against the schema, so a new key has to be entered here.
"""

from dataclasses import dataclass, field
from typing import Any

Overrides = dict[str, Any]

BASE: Overrides = {
    "split.labeled_per_class": 2,
    "split.validation_per_class": 2,
    "model.width": 0.25,
    "baseline.epochs": 2,
    "baseline.batch_size": 10,
    "pseudo_label.threshold": 0.12,
    "joint.epochs": 2,
    "joint.batch_size": 10,
    "joint.epoch_over": "labeled",
    "joint.unlabeled_batch_size": 16,
    "runtime.device": "cpu",
    "runtime.threads": 1,
}
"""Digits, four steps of training."""


@dataclass(frozen=True)
class Key:
    """A key, a value that is not its default, and its situations."""

    name: str
    value: Any
    awake: Overrides = field(default_factory=dict)
    """Here the value changes what comes out."""
    asleep: Overrides | None = None
    """Here it cannot, and `ineffective_options` says so; None: there is no such place."""
    others_asleep: tuple[Overrides, ...] = ()


def _augmentation(at: str, awake: Overrides, asleep: Overrides | None = None) -> list[Key]:
    """The keys of one augmentation; `asleep`, where its section has no effect, is asked of the section as a whole."""
    values = {"rotation": 45, "scale": 0.3, "shear": 0.3, "elastic": 2.0, "randaugment": 3, "cutout": 0.5}
    values |= {"shift": 0.25} | ({} if "test_time" in at else {"paste": 0.6})
    keys = [Key(f"{at}.{name}", value, awake, asleep) for name, value in values.items()]
    drawn, shifted = awake | {f"{at}.randaugment": 3}, awake | {f"{at}.shift": 0.25}
    return [
        *keys,
        Key(f"{at}.magnitude", 0.1, drawn, awake),
        Key(f"{at}.reflect", True, shifted, awake),
    ]


def _training(stage: str) -> list[Key]:
    sgd = {f"{stage}.optimizer.name": "sgd"}
    step = {f"{stage}.schedule.name": "step"}
    down = step | {f"{stage}.schedule.milestones": [1]}
    last = {f"{stage}.early_stopping.keep": "last"}
    shaky = {f"{stage}.epochs": 10, f"{stage}.optimizer.lr": 0.05, f"{stage}.schedule.name": "constant"}
    calm = {f"{stage}.epochs": 6}
    still = {f"{stage}.epochs": 8, f"{stage}.optimizer.lr": 1e-9}
    tail = {"split.labeled_per_class": 8, "split.imbalance_ratio": 4}
    constant = {f"{stage}.schedule.name": "constant"}
    at = f"{stage}."
    return [
        Key(at + "epochs", 3),
        Key(at + "budget", "3 steps"),
        Key(at + "batch_size", 7),
        Key(at + "optimizer.name", "sgd"),
        Key(at + "optimizer.lr", 0.01),
        Key(at + "optimizer.momentum", 0.5, sgd, {}),
        Key(at + "optimizer.betas", [0.5, 0.9], {}, sgd),
        Key(at + "optimizer.weight_decay", 1.0),
        Key(at + "schedule.name", "one_cycle"),
        Key(at + "schedule.warmup", 0.5, {}, constant, (step,)),
        Key(at + "schedule.milestones", [1], step, {}),
        Key(at + "schedule.gamma", 0.5, down, {}, (step,)),
        Key(at + "early_stopping.keep", "last", shaky | {f"{stage}.early_stopping.monitor": "loss"}),
        Key(at + "early_stopping.monitor", "loss", shaky, last),
        Key(at + "early_stopping.patience", 1, still | {f"{stage}.early_stopping.min_delta": 0.5}, last),
        Key(at + "early_stopping.min_delta", 100, calm, last),
        *_augmentation(f"{stage}.augment", {}),
        Key(at + "mixup.alpha", 0.5),
        Key(at + "mixup.every_n_batches", 2, {f"{stage}.mixup.alpha": 0.5}, {}),
        Key(at + "label_smoothing.epsilon", 0.2),
        Key(at + "label_smoothing.spread", "others", {f"{stage}.label_smoothing.epsilon": 0.2}, {}),
        Key(at + "disturb_label", 50),
        Key(at + "sampling", "balanced"),
        Key(at + "class_weights", "inverse_frequency", tail, {}),
        Key(at + "ema_decay", 0.5),
        Key(at + "precision", "bfloat16"),
    ]


ENSEMBLE: Overrides = {"pseudo_label.teacher": "ensemble", "ensemble.members": 2}
BOOSTING = ENSEMBLE | {"ensemble.method": "boosting"}
CALIBRATED: Overrides = {"calibrate.method": "temperature", "split.calibration_images": 200}
CERTIFIED: Overrides = {
    "pseudo_label.threshold": {"target_precision": 0.7, "fallback": 0.2},
    "split.calibration_images": 300,
    "baseline.epochs": 40,
    "model.width": 0.5,
}
BY_RATE = CERTIFIED | {"pseudo_label.threshold": {"fdr": 0.2, "fallback": 0.2}}
PASSES: Overrides = {"model.dropout": 0.3, "pseudo_label.uncertainty.passes": 3}
UPS = PASSES | {"joint.method": "ups"}
LABELS = {"pseudo_label.threshold": 0.0}
PROBED: Overrides = {"model.name": "efficientnet_lite0", "model.width": 1.0, "model.train": "probe"}


def _method(name: str, **more: Any) -> Overrides:
    return {"joint.method": name} | {key.replace("__", "."): value for key, value in more.items()}


def _alignment(at: str, awake: Overrides) -> list[Key]:
    given = {"target": "given", "shares": {name: 0.3 if name == "3" else 0.7 / 9 for name in "0123456789"}}
    other = {name: 0.3 if name == "7" else 0.7 / 9 for name in "0123456789"}
    return [
        Key(f"{at}.distribution_alignment.target", "estimated", awake),
        Key(f"{at}.distribution_alignment.shares", other, awake | {f"{at}.distribution_alignment": given}),
    ]


PIPELINE = [
    Key("seed", 1),
    Key("recipe", "graph", {"model.name": "efficientnet_lite0", "model.width": 1.0}),
    Key("rounds", 2),
    Key("probe.baseline_c", 0.5, PROBED, {}),
    Key("probe.student_c", 0.5, PROBED, {}),
    Key("split.labeled_per_class", 3),
    Key("split.imbalance_ratio", 2),
    Key("split.validation_per_class", 3),
    Key("split.calibration_images", 250, CALIBRATED),
    Key("model.name", "paired_cnn"),
    Key("model.width", 0.5),
    Key("model.dropout", 0.3),
    Key("model.batch_norm", False),
    Key("model.deskew", True),
    Key("model.whiten", True, {"model.name": "pooled_cnn"}),
    Key("model.normalize", "imagenet"),
    *_training("baseline"),
    Key("ensemble.method", "boosting", ENSEMBLE, {}),
    Key("ensemble.members", 3, ENSEMBLE, {}),
    Key("ensemble.combine", "vote", ENSEMBLE, {}, (BOOSTING,)),
    Key(
        "calibrate.method",
        "temperature",
        {"pseudo_label.threshold": {"fallback": 0.12}} | {"split.calibration_images": 200},
    ),
    Key("calibrate.temperature_share", 0.6, CALIBRATED, {}),
    Key("pseudo_label.teacher", "ensemble", {"ensemble.members": 2}),
    Key("pseudo_label.threshold", 0.3),
    Key("pseudo_label.threshold.target_precision", 0.98, CERTIFIED, BY_RATE),
    Key("pseudo_label.threshold.confidence", 0.5, CERTIFIED, BY_RATE),
    Key("pseudo_label.threshold.fdr", 0.02, BY_RATE),
    Key(
        "pseudo_label.threshold.fallback",
        0.6,
        CERTIFIED | {"pseudo_label.threshold": {"target_precision": 0.98, "fallback": 0.2}},
    ),
    Key("pseudo_label.top_share", 0.1, LABELS),
    Key("pseudo_label.least_precision", 1.0, LABELS),
    Key("pseudo_label.max_disagreement", 0.0001, ENSEMBLE | LABELS),
    Key("pseudo_label.share_per_round", 0.1, LABELS),
    Key("pseudo_label.distribution_alignment", True),
    *_alignment("pseudo_label", {}),
    Key("pseudo_label.test_time.views", 3, {"pseudo_label.test_time.augment.shift": 0.25}),
    *_augmentation(
        "pseudo_label.test_time.augment",
        {"pseudo_label.test_time.views": 2, "pseudo_label.test_time.augment.rotation": 10},
    ),
    Key("pseudo_label.uncertainty.passes", 3, {"model.dropout": 0.3}),
    Key("pseudo_label.unknown.false_alarms", 0.3, LABELS),
    Key("pseudo_label.uncertainty.positive", 0.0001, PASSES | LABELS, {}),
    Key(
        "pseudo_label.uncertainty.negative_confidence",
        0.5,
        UPS | {"pseudo_label.uncertainty.negative": 1.0},
        {},
        (PASSES,),
    ),
    Key(
        "pseudo_label.uncertainty.negative",
        0.5,
        UPS | {"pseudo_label.uncertainty.negative_confidence": 0.5},
        {},
        (PASSES,),
    ),
    *_training("joint"),
    Key("joint.method", "online"),
    Key("joint.start", "teacher"),
    *_augmentation("joint.strong_augment", {"joint.strong_augment": {"shear": 0.1}}),
    Key("joint.strong_augment", {"shear": 0.3}),
    Key("joint.epoch_over", "unlabeled", {"joint.epoch_over": "labeled"}),
    Key("joint.unlabeled_batch_size", 17),
    Key("joint.alpha_final", 0.3),
    Key("joint.ramp_start", 1, {"joint.ramp_end": 2}),
    Key("joint.ramp_end", 2),
    Key("joint.mixup_pseudo_labels", True, {"joint.mixup.alpha": 0.5}, {}),
    Key("joint.smooth_pseudo_labels", True, {"joint.label_smoothing.epsilon": 0.2}, {}),
    Key("joint.policy.teacher", "ema", _method("online", joint__ema_decay=0.5)),
    Key("joint.policy.view", "clean", _method("fixmatch", joint__augment__shift=0.25, joint__policy__threshold=0.1)),
    Key("joint.policy.threshold", 0.1, _method("fixmatch"), _method("online")),
    Key("joint.policy.momentum", 0.5, _method("freematch"), _method("online")),
    Key("joint.policy.fairness_weight", 1.0, _method("freematch"), _method("softmatch")),
    Key("joint.policy.deviations", 0.5, _method("softmatch", joint__policy__momentum=0.1), _method("freematch")),
    Key("joint.policy.temperature", 0.5, _method("soft"), _method("online")),
    Key("joint.policy.distribution_alignment", True, _method("soft"), _method("adamatch")),
    *_alignment("joint.policy", _method("soft")),
    Key("joint.policy.ledger_share", 0.5, _method("online")),
    Key("evaluate.test_time.views", 3, {"evaluate.test_time.augment.shift": 0.25}),
    *_augmentation(
        "evaluate.test_time.augment", {"evaluate.test_time.views": 2, "evaluate.test_time.augment.rotation": 10}
    ),
    Key("evaluate.compound", True),
    Key("promote.enabled", False),
]
"""All that can be shown on the embedded digits."""

WHERE_AND_HOW = {
    "name": "what runs are called",
    "promote.model": "what the champion is called",
    "data.root": "where files are",
    "data.url": "where objects are",
    "data.download": "how files come",
    "data.manifest": "where labels are",
    "data.features": "where vectors are; what they say is data",
    "data.annotations": "where annotations are; what they say is data",
    "data.max_broken": "when to refuse",
    "data.cache": "where decoded images are",
    "data.cache_limit": "how many of them",
    "model.download": "how weights come",
    "pseudo_label.drift_limit": "when to warn",
    "pseudo_label.batch_size": "how fast",
    **{
        f"runtime.{name}": "where and how fast"
        for name in ("device", "threads", "processes", "channels_last", "inference", "compile")
    },
    **{f"runtime.{name}": "where and how fast" for name in ("parallel_members", "dask", "state", "stage_timeout")},
    **{f"tracking.{name}": "records" for name in ("experiment", "system_metrics")},
}
"""Keys that shall not change a result: what they are for instead."""

ASLEEP_ELSEWHERE = [
    *(
        Key(f"data.{name}", value, asleep={})
        for name, value in {
            "size": [32, 32],
            "resize": "pad",
            "channels": "gray",
            "range": [0, 4095],
            "test_share": 0.3,
            "max_broken": 0.5,
            "duplicates": "warn",
            "cache": "elsewhere",
            "cache_limit": "1 GB",
            "root": "elsewhere",
            "download": True,
        }.items()
    ),
    Key("pseudo_label.drift_limit", 0.5, asleep={}),
    Key("pseudo_label.test_time.augment", {"rotation": 45}, asleep={}),
    Key("evaluate.test_time.augment", {"rotation": 45}, asleep={}),
    Key("promote.model", "other", asleep={"promote.enabled": False}),
    Key(
        "runtime.parallel_members", 3, asleep={}, others_asleep=(BOOSTING, ENSEMBLE | {"runtime.dask": "tcp://host:1"})
    ),
    Key("runtime.dask", "tcp://host:1", asleep={}, others_asleep=(BOOSTING,)),
    Key("joint.policy.view", "clean", asleep=_method("fixmatch")),
]
"""Further places where a key is of no use."""

OF_OWN_IMAGES = (
    "data.name",
    "data.size",
    "data.resize",
    "data.channels",
    "data.range",
    "data.test_share",
    "data.duplicates",
    "data.group",
)
"""Keys that change what becomes of a folder of images: shown in the tests of folders, or in ours of one."""
OF_WEIGHTS = (
    "model.weights",
    "model.train",
    "model.kept_views",
    "model.mirror",
    "model.center_crop",
    "model.precision",
    "choose.budget",
)
