"""The section about what to do next: only what this run's own figures speak for, each with the figure that does."""

from collections.abc import Mapping
from typing import Any

from semisup.report.artifacts import MODELS, Artifacts
from semisup.report.text import percent, points

GOOD_ENOUGH = 0.95
"""Where the interval of the kept model's test accuracy reaches this, no other network or size is proposed."""
MANY_LEFT = 0.1
"""Share of the unlabeled images without an accepted label from which on labeling some of them is proposed."""
MUCH_LARGER = 1.25
"""Files of this many times the side that the network sees show it more in a larger input."""
STEP = 32
"""Pixels: the sides that pretrained networks take are multiples of it."""


def context(artifacts: Artifacts) -> dict[str, Any]:
    """What the templates say of it: a list of sentences, which may be empty."""
    metrics = artifacts.metrics
    kept = metrics[metrics.get("kept", {}).get("model", "student")]["accuracy"]
    advice = _more_labels(metrics.get("labels_worth"), artifacts.summary)
    if kept["high"] < GOOD_ENOUGH:
        advice += _larger_input(metrics.get("input")) + _other_network(artifacts)
    return {"advice": advice}


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


def _larger_input(sides: Mapping[str, Any] | None) -> list[str]:
    """Look at the files with more pixels, where they have more."""
    if sides is None or sides["files"] < MUCH_LARGER * sides["seen"]:
        return []
    larger = max(min(sides["files"], 2 * sides["seen"]) // STEP * STEP, sides["seen"] + STEP)
    return [
        f"Try a larger input. The shorter side of the usual file has {sides['files']:,} pixels, and the network sees "
        f"{sides['seen']:,}: `--set data.size={larger}`. What it costs grows with the square of the side."
    ]


def _other_network(artifacts: Artifacts) -> list[str]:
    """Another network, where a frozen one does not gain from labels, or where one began from nothing."""
    worth = artifacts.metrics.get("labels_worth")
    kept = artifacts.metrics.get("kept", {}).get("model", "student")
    right = percent(artifacts.metrics[kept]["accuracy"]["estimate"])
    if worth is not None and worth["difference"]["low"] <= 0:
        gain = worth["difference"]
        return [
            "Try another network. Four fifths of the labels in place of half brought no gain that chance would not "
            f"explain ({points(gain['estimate'])} points, 95\u00a0% interval {points(gain['low'])} to "
            f"{points(gain['high'])}), and the {MODELS[kept].lower()} gets {right} of the test images right: "
            "other features may bring more than other labels. `model.name: timm:NAME` has others; `recipe: steps` with "
            "`model.train: last_2` learns its own."
        ]
    if artifacts.metrics.get("input", {}).get("from_nothing"):
        return [
            f"Try a pretrained network. This one began from nothing, and the {MODELS[kept].lower()} gets {right} of "
            "the test images right: `--set model.name=efficientnet_lite0` begins with what ImageNet taught."
        ]
    return []
