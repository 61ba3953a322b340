"""Warnings that save an afternoon: legal configs and results that hardly anybody can mean."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np

from semisup.calibration.certificate import fewest_accepted
from semisup.calibration.false_discovery import fewest_for
from semisup.checks.ineffective import ineffective_options
from semisup.config import CalibratedThreshold, JointConfig, PipelineConfig
from semisup.evaluation.keeping import judges_in_words
from semisup.evaluation.scores import SIGNIFICANCE_LEVEL
from semisup.pseudo_labels import REFUSED
from semisup.wording import counted

FEWEST_DISCORDANT = 6
"""Images that one model must have right and the other wrong, all the same way round, before McNemar's exact test shows
a difference: 2 · ½⁶ = 0.031."""
WIDE = 0.1
"""Ten points: a difference, or a drift of class shares, that nobody should have to overlook."""
SURPRISE = 0.001
SETTLED = 3.0
"""Memories long that a training has to be: then a running mean keeps 5 % of where it began."""
LEAST_SHARE = 0.01
"""Of the unlabeled loss in the gradient."""


def config_warnings(
    config: PipelineConfig, num_classes: int, validation_images: int | None = None, *, ensemble: bool = False
) -> list[str]:
    """What a config says that cannot work well, one line each; `ensemble`: for an ensemble alone.

    `validation_images` is how many there are, where that is not validation_per_class of each class: an own folder may
    hold them, and copies among them go out.
    """
    warnings = []
    warnings += _starvation(config, num_classes)
    validation = validation_images or config.split.validation_per_class * num_classes
    if validation and FEWEST_DISCORDANT / validation > WIDE:
        # An own folder may name its validation images itself, and copies among them go out.
        key, present = "split.validation_per_class", config.split.validation_per_class
        asked, more = f"{key}={present}: ", ""
        if config.data.facts.own_images:
            asked, more = "", f" (raise {key}, which is {present}, or name more of your own)"
        warnings.append(
            f"{asked}there {'is' if validation == 1 else 'are'} {counted(validation, 'validation image')}, too few to "
            f"tell apart two models that differ by less than "
            f"{FEWEST_DISCORDANT / validation:.0%}; use more{more}, or read differences in validation accuracy as ties"
        )
    for stage, train in (("baseline", config.baseline), ("joint", config.joint)):
        if train.sampling == "balanced" and train.class_weights != "none":
            warnings.append(
                f"{stage}.sampling='balanced' and {stage}.class_weights={train.class_weights!r} both mend the same "
                "imbalance, so that rare classes outweigh frequent ones; use one of them"
            )
    wanted = config.pseudo_label.threshold
    if isinstance(wanted, CalibratedThreshold) and (shortage := too_few_to_certify(config)):
        warnings.append(f"{shortage}; the fallback threshold {wanted.fallback} will apply")
    warnings += ineffective_options(config, ensemble=ensemble)
    warnings += [] if ensemble else _unknown_images_are_learned_from(config)
    if config.joint.alpha_final == 0:
        warnings.append("joint.alpha_final=0: the pseudo-labels have no weight; use for example 1.0")
    return warnings


def _unknown_images_are_learned_from(config: PipelineConfig) -> list[str]:
    """Who labels at every step does so before anybody asks which images are of none of the classes."""
    false_alarms, joint = config.pseudo_label.unknown.false_alarms, config.joint
    if false_alarms is None or not joint.labels_every_step:
        return []
    return [
        f"pseudo_label.unknown.false_alarms={false_alarms:g}, but joint.method={joint.method!r} labels every unlabeled "
        "image itself at every step: unknown images are not accepted in the end, but learned from; use joint.method: "
        "confidence or threshold"
    ]


def _starvation(config: PipelineConfig, num_classes: int) -> list[str]:
    """Can the teacher reach the threshold? Its targets cap what a perfect fit is sure of."""
    train, threshold = config.baseline, config.pseudo_label.threshold
    smoothing, disturbed = train.label_smoothing, train.disturb_label / 100
    highest = (1 - disturbed) * smoothing.highest_target(num_classes) + disturbed / num_classes
    if isinstance(threshold, CalibratedThreshold) or config.calibrate.method != "none":
        return []
    if config.joint.labels_every_step or highest == 1 or threshold < highest:
        return []
    causes = [f"baseline.label_smoothing.epsilon={smoothing.epsilon}"] if smoothing.epsilon else []
    causes += [f"baseline.disturb_label={train.disturb_label:g}"] if disturbed else []
    return [
        f"pseudo_label.threshold={threshold} can hardly be reached: {' and '.join(causes)} "
        f"{'teaches' if len(causes) == 1 else 'teach'} the baseline a confidence of at most {highest:.3g}; lower the "
        "threshold, train the teacher without, or calibrate it (calibrate.method: temperature)"
    ]


def too_few_to_certify(config: PipelineConfig) -> str:
    """What is missing for any threshold to be certified, known before anything is trained; "" where nothing is.

    Without a single error, n accepted images certify a precision p with probability 1 − p^n.
    """
    wanted, images = config.pseudo_label.threshold, config.split.calibration_images
    if not isinstance(wanted, CalibratedThreshold):
        return ""
    if wanted.fdr is None:
        verb, fewest = "certify", fewest_accepted(wanted.target_precision, wanted.confidence)
    else:
        verb, fewest = "keep", fewest_for(wanted.fdr)
    left = images - config.calibrate.temperature_images(images)
    if left >= fewest:
        return ""
    share = 1 - left / images
    return (
        f"split.calibration_images={images} leaves {left} to {verb} "
        f"pseudo_label.threshold.{wanted.asked} with, which takes at least {fewest} even "
        f"without any error; use at least {ceil(fewest / (1 - share)) + 1}, better twice as many"
    )


def pseudo_label_warnings(summary: Mapping[str, Any], joint: JointConfig, *, drift: bool = True) -> list[str]:
    """What a pseudo-label summary shows that cannot help the student of `joint`, one line each; `drift`: of class
    shares, too.

    Of a method that weighs all labels of the table, those are asked about, for it matters to nobody what was accepted.
    """
    if REFUSED in summary.get("reasons", ()):
        return [
            f"the pseudo-labels are refused, for too few are right: {expected_words(summary['expected'])}, below "
            "pseudo_label.least_precision; the student learns from labeled images alone. Label more images, or raise "
            "pseudo_label.threshold"
        ]
    drifts = _drift(summary, "the teacher", ", and consider pseudo_label.top_share") if drift else []
    if not joint.learns_from_accepted:
        return _one_class(summary["predicted_per_class"], "pseudo-labels") + drifts
    if summary["accepted"] == 0 and set(summary.get("reasons", ())) - {"below_threshold"}:
        return [
            "no pseudo-label was accepted: "
            + ", ".join(f"{count:,} × {reason}" for reason, count in summary["reasons"].items())
            + "; loosen these limits or train a better baseline"
        ]
    if summary["accepted"] == 0:
        return [
            f"no unlabeled image reached pseudo_label.threshold={summary['threshold']:g}; "
            "lower it or train a better baseline"
        ]
    return _one_class(summary["accepted_per_class"], "accepted pseudo-labels") + drifts


def _one_class(per_class: Sequence[int], which: str) -> list[str]:
    if sum(count > 0 for count in per_class) != 1:
        return []
    return [f"all {which} are of one class; the student can only drift toward it"]


def expected_words(expected: Mapping[str, Any]) -> str:
    """What validation images say of the pseudo-labels (`expected` of a summary), as a part of a sentence."""
    judges = counted(expected["judges"], "validation image")
    if "precision" not in expected:
        return f"none of {judges} is labeled as surely"
    precision = expected["precision"]
    return (
        f"of {expected['accepted']:,} of {judges} that are labeled as surely, {precision['estimate']:.1%} are right "
        f"(95 % interval {precision['low']:.1%} … {precision['high']:.1%})"
    )


def final_label_warnings(summary: Mapping[str, Any]) -> list[str]:
    """What the summary of the final labels shows that nobody will want to take away, one line each."""
    if summary["accepted"] == 0:
        return [
            f"the kept model is sure of no unlabeled image: none reached pseudo_label.threshold="
            f"{summary['threshold']:g}, so `export` has nothing to write; lower it, or label more images"
        ]
    return _drift(summary, "the kept model")


def training_warnings(training: Mapping[str, Any], joint: JointConfig) -> list[str]:
    """What a student's `training.json` shows that makes pseudo-labels useless, one line each."""
    if joint.alpha_final == 0:  # of that there is a warning already
        return []
    return [*_weightless(training, joint), *_everything_counts(training, joint), *_unsettled(training, joint)]


def _weightless(training: Mapping[str, Any], joint: JointConfig) -> list[str]:
    share = training.get("unlabeled_share")
    if share is None or share >= LEAST_SHARE:
        return []
    return [
        f"joint.alpha_final={joint.alpha_final:g}: the unlabeled loss makes up less than {LEAST_SHARE:.0%} of the "
        "gradient, too little to matter; use a larger one, such as 1"
    ]


def _everything_counts(training: Mapping[str, Any], joint: JointConfig) -> list[str]:
    """Is the method another one under its own name?"""
    if not joint.facts.leaves_images_out or training.get("mask_rate", 0) < 1:
        return []
    return [
        f"joint.method={joint.method!r} gave every unlabeled image full weight at every step (mask_rate 1), as "
        "joint.method='online' does; use more steps, or a higher threshold or lower momentum in joint.policy"
    ]


def _unsettled(training: Mapping[str, Any], joint: JointConfig) -> list[str]:
    """Did the running means have the steps that they need?"""
    policy, steps = joint.policy, training.get("steps")
    if steps is None or not joint.labels_every_step:
        return []
    means = {"distribution alignment": True} if joint.alignment else {}
    means |= {f"joint.method={joint.method!r}": False} if joint.facts.remembers else {}
    return [
        f"joint.policy.momentum={momentum:g} of {whose} does not settle in {counted(steps, 'step')}: it remembers "
        f"about {1 / (1 - momentum):,.0f} of them; leave it unset, or use at most {max(0.0, 1 - SETTLED / steps):.3g}"
        for whose, of_alignment in means.items()
        if (1 - (momentum := policy.memory(steps, of_alignment=of_alignment))) * steps < SETTLED
    ]


def comparison_warnings(kept: Mapping[str, Any], joint: JointConfig) -> list[str]:
    """What the validation images say against the student of `joint`, one line; `kept` is that of `metrics.json`."""
    if kept["model"] == "student":
        return []
    shown = kept["mcnemar"]["p_value"] < SIGNIFICANCE_LEVEL
    ways = ["label more images", "train a better teacher"]
    ways += ["accept fewer of its labels"] if joint.learns_from_accepted else []
    return [
        f"the baseline is the model to keep: of {judges_in_words(kept)} it is right in "
        f"{kept['baseline_validation_accuracy']:.1%}, the student in {kept['student_validation_accuracy']:.1%} "
        f"(McNemar p = {kept['mcnemar']['p_value']:.2g}); these pseudo-labels {'did harm' if shown else 'did not help'}"
        f": {', '.join(ways[:-1])} or {ways[-1]}"
    ]


def _drift(summary: Mapping[str, Any], who: str, advice: str = "") -> list[str]:
    """Do the unlabeled images, as somebody sees them, hold another mix of classes than the validation images?

    Those were picked per class, and so were the labeled ones, of which a tail may be asked for: their shares are no
    sample, and the predicted ones are tested against them.
    """
    predicted, picked = (np.array(summary[name]) for name in ("predicted_per_class", "validation_per_class"))
    if not predicted.any():  # all are of none of the classes
        return []
    shares, expected = predicted / predicted.sum(), picked / picked.sum()
    distance = np.abs(shares - expected).sum() / 2
    known = picked > 0  # the teacher has never seen an image of the others
    if distance < WIDE:
        return []
    from scipy.stats import chisquare  # a second of a command's start that hardly any needs

    if chisquare(predicted[known], (expected * predicted[known].sum())[known]).pvalue > SURPRISE:
        return []
    worst = int(np.abs(shares - expected).argmax())
    return [
        f"{who} sees class {summary['class_names'][worst]!r} in {shares[worst]:.1%} of the unlabeled images, "
        f"but {expected[worst]:.1%} of those with labels are of it: the pool is another mix, or {who} drifts; "
        f"look at its errors{advice}"
    ]
