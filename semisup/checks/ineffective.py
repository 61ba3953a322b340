"""Warnings of options that change nothing: somebody set them and believes in them."""

from semisup.checks.idle_keys import idle_keys, of_consistency
from semisup.config import JointConfig, PipelineConfig, PolicyConfig, PseudoLabelConfig
from semisup.config.methods import METHODS

CHOICES = ("top_share", "max_disagreement", "share_per_round")
"""Options of `pseudo_label` that choose, beyond its threshold, what a student learns from."""
OF_SOME_METHODS = ("threshold", "fairness_weight", "deviations", "momentum")
"""Options of `joint.policy` that only some methods look at; the momentum is also that of distribution alignment."""


def ineffective_options(config: PipelineConfig, *, ensemble: bool = False) -> list[str]:
    """What is asked for and changes nothing, one line each; `ensemble`: of an ensemble alone, which teaches nobody."""
    return [
        *idle_keys(config, ensemble=ensemble),
        *_of_the_teacher(config),
        *_of_the_table(config),
        *_of_the_gate(config),
        *_of_the_policy(config.joint),
        *_of_the_views(config),
        *_of_features(config),
    ]


def _of_the_teacher(config: PipelineConfig) -> list[str]:
    joint, label, warnings = config.joint, config.pseudo_label, []
    method = f"joint.method={joint.method!r}"
    if not config.labels_before_training and label.teacher in {"ensemble", "champion"}:
        useless = "no ensemble is trained" if label.teacher == "ensemble" else "the champion is not asked"
        warnings.append(
            f"pseudo_label.teacher={label.teacher!r}, but {method} asks no teacher: {useless}; use "
            "pseudo_label.teacher: baseline, or joint.policy.ledger_share: 0.5"
        )
    if config.students < config.rounds:
        warnings.append(
            f"rounds={config.rounds}, but {method} takes nothing from the round before, so one round is run; use "
            "rounds: 1, or joint.policy.ledger_share: 0.5"
        )
    if joint.labels_every_step and joint.policy.ledger_share and not config.labels_before_training:
        warnings.append(
            f"joint.policy.ledger_share={joint.policy.ledger_share} acts from the second round on where "
            "joint.start='baseline', but rounds=1; use more rounds, or 0"
        )
    return warnings


def _of_the_table(config: PipelineConfig) -> list[str]:
    joint, label, defaults = config.joint, config.pseudo_label, PseudoLabelConfig()
    if joint.learns_from_accepted:
        return []
    return [
        f"pseudo_label.{name}={getattr(label, name)}, but joint.method={joint.method!r} learns from every image, "
        "whatever the table accepts; leave it out, or use joint.method: threshold"
        for name in CHOICES
        if getattr(label, name) != getattr(defaults, name)
    ]


def _of_the_gate(config: PipelineConfig) -> list[str]:
    label = config.pseudo_label
    if label.least_precision == PseudoLabelConfig().least_precision:
        return []
    why = ""
    if not config.labels_before_training:
        why = f"joint.method={config.joint.method!r} learns from no table that could be refused"
    elif label.teacher == "graph":
        why = "pseudo_label.teacher='graph' is judged by labels held out, and not refused"
    elif set_apart := next((name for name in CHOICES if getattr(label, name) is not None), ""):
        why = f"validation images cannot tell what pseudo_label.{set_apart} accepts"
    elif label.teacher == "champion" and config.rounds == 1:
        why = "a champion may have learned from the validation images"
    elif not config.split.validation_per_class and not config.data.facts.own_images:
        why = "split.validation_per_class=0: no image could judge"
    return [f"pseudo_label.least_precision={label.least_precision:g}, but {why}; leave it out"] if why else []


def _of_the_policy(joint: JointConfig) -> list[str]:
    method, policy, defaults = f"joint.method={joint.method!r}", joint.policy, PolicyConfig()
    if not joint.labels_every_step:
        if policy == defaults:
            return []
        return [
            f"joint.policy is set, but {method} takes the pseudo-label table's labels as they are; use another method"
        ]
    if joint.facts.is_its_own_target and policy == defaults and not joint.mixup_pseudo_labels:
        return [
            f"{method} with joint.policy as it is by default makes each prediction its own target, which "
            "teaches nothing; use for example joint.policy: {teacher: ema, view: clean, temperature: 0.5}"
        ]
    return [
        f"joint.policy.{name}={getattr(policy, name)}, but {method} does not look at it; leave it out, or use "
        f"joint.method: {' or '.join(sorted(known for known in METHODS.own if name in METHODS[known].heeds))}"
        for name in OF_SOME_METHODS
        if getattr(policy, name) != getattr(defaults, name)
        and name not in joint.facts.heeds
        and not (name == "momentum" and policy.distribution_alignment)
    ]


def _of_the_views(config: PipelineConfig) -> list[str]:
    joint, warnings = config.joint, []
    if of_consistency(joint) and joint.strong_augment is None:
        warnings.append(
            f"joint.method={joint.method!r} has the teacher look at a weak view and the student at a strong one, but "
            "joint.strong_augment is unset, so both are alike; use for example joint.strong_augment: {randaugment: 2, "
            "cutout: 0.5}"
        )
    if config.model.deskew and config.data.facts.photographs:
        warnings.append(
            f"model.deskew=true, but data.name={config.data.name!r} is not of bright strokes on a black ground, whose "
            "slant it is for; use false"
        )
    return warnings


def _of_features(config: PipelineConfig) -> list[str]:
    model = config.model
    if not (model.train == "head" or model.last_blocks) or model.kept_views:
        return []
    return [
        f"model.train={model.train!r}, but {stage} learns from augmented or mixed images: the whole network looks at "
        "them at every step; with model.kept_views: 6, or without augmentation and mixup, training takes seconds"
        for stage, train in (("baseline", config.baseline), ("joint", config.joint))
        if not train.sees_images_as_they_are
    ]
