"""The section about what to do next: only what this run's own figures speak for, each with the figure that does."""

from collections.abc import Mapping
from typing import Any

from semisup.evaluation.keeping import judges_in_words
from semisup.evaluation.scores import accuracy_interval
from semisup.report.artifacts import MODELS, Artifacts
from semisup.report.text import percent, points

GOOD_ENOUGH = 0.95
"""Where the interval of the kept model's accuracy reaches this, no other network or size is proposed. It is that on the
images that decided what to keep: whoever followed a proposal made by test images would choose by them."""
MANY_LEFT = 0.1
"""Share of the unlabeled images without an accepted label from which on labeling some of them is proposed."""
MUCH_LARGER = 1.25
"""Files of this many times the side that the network sees show it more in a larger input."""
STEP = 32
"""Pixels: the sides that pretrained networks take are multiples of it."""


def context(artifacts: Artifacts) -> dict[str, Any]:
    """What the templates say of it: a list of sentences, which may be empty."""
    metrics = artifacts.metrics
    kept = metrics.get("kept")
    advice = _more_labels(metrics.get("labels_worth"), artifacts.summary)
    if kept is not None and _could_be_better(kept):
        right = _right_in_words(kept)
        advice += _larger_input(metrics.get("input"), right) + _other_network(metrics, right)
    return {"advice": advice}


def _could_be_better(kept: Mapping[str, Any]) -> bool:
    right = round(kept[f"{kept['model']}_validation_accuracy"] * kept["images"])
    return accuracy_interval(right, kept["images"]).high < GOOD_ENOUGH


def _right_in_words(kept: Mapping[str, Any]) -> str:
    """ "the student gets 81.0 % of 100 validation images right"."""
    model = kept["model"]
    share = percent(kept[f"{model}_validation_accuracy"])
    return f"the {MODELS[model].lower()} gets {share} right of {judges_in_words(kept)}"


def _more_labels(worth: Mapping[str, Any] | None, summary: Mapping[str, Any]) -> list[str]:
    """Label more, where labels still pay or many images are left without a label that was accepted."""
    review = "`semisup review RUN` shows which images would teach most; `semisup runs` names the run."
    if worth is not None and worth["difference"]["low"] > 0:
        gain = worth["difference"]
        return [
            f"Label more images. With half of the labels {percent(worth['half'])} of the labels held out were right, "
            f"with four fifths of them {percent(worth['most'])} ({points(gain['estimate'])} points, 95\u00a0% interval "
            f"{points(gain['low'])} to {points(gain['high'])}), by the supervised regression. {review}"
        ]
    left = summary["unlabeled"] - summary["accepted"]
    if worth is None and summary["unlabeled"] and left >= MANY_LEFT * summary["unlabeled"]:
        return [
            f"Label some of the {left:,} images whose label was not accepted, "
            f"{percent(1 - summary['coverage'])} of the unlabeled ones. {review}"
        ]
    return []


def _larger_input(sides: Mapping[str, Any] | None, right: str) -> list[str]:
    """Look at the files with more pixels, where they have more."""
    if sides is None or sides["files"] < MUCH_LARGER * sides["seen"]:
        return []
    larger = max(min(sides["files"], 2 * sides["seen"]) // STEP * STEP, sides["seen"] + STEP)
    crop = sides.get("center_crop")  # older reports do not say
    also = "" if crop is None else f" --set model.center_crop={round(crop * larger / sides['seen'])}"
    return [
        f"Try a larger input. The shorter side of the usual file has {sides['files']:,} pixels, the network sees "
        f"{sides['seen']:,}, and {right}: `--set data.size={larger}{also}`. What it costs grows with the square of the "
        "side."
    ]


def _other_network(metrics: Mapping[str, Any], right: str) -> list[str]:
    """Another network, where a frozen one does not gain from labels, or where one began from nothing."""
    worth = metrics.get("labels_worth")
    if worth is not None and worth["difference"]["low"] <= 0:
        gain = worth["difference"]
        return [
            "Try another network. Four fifths of the labels in place of half brought no gain that chance would not "
            f"explain ({points(gain['estimate'])} points, 95\u00a0% interval {points(gain['low'])} to "
            f"{points(gain['high'])}), and {right}: "
            "other features may bring more than other labels. timm has others: `--set model.name=timm:NAME --set "
            "model.weights=DEFAULT --set model.download=true`. `--set recipe=auto` finds out whether more of the "
            "network should learn."
        ]
    if metrics.get("input", {}).get("from_nothing"):
        return [
            f"Try a pretrained network. This one began from nothing, and {right}: "
            "`--set model.name=efficientnet_lite0` begins with what ImageNet taught."
        ]
    return []
