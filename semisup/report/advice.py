"""What to do next: only what this run's own figures speak for, each with the figure that does.

The report has all of it; `semisup review` says which comes first where it cannot tell wrong labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from semisup.evaluation.keeping import judges_in_words
from semisup.evaluation.scores import accuracy_interval
from semisup.report.artifacts import MODELS, Artifacts
from semisup.report.text import percent, points
from semisup.wording import counted

GOOD_ENOUGH = 0.95
"""Where the interval of the kept model's accuracy reaches this, no other network or size is proposed. It is that on the
images that decided what to keep: whoever followed a proposal made by test images would choose by them."""
MANY_LEFT = 0.1
"""Share of the unlabeled images without an accepted label from which on labeling some of them is proposed."""
MUCH_LARGER = 1.25
"""Files of this many times the side that the network sees show it more in a larger input."""
MUCH = 0.05
"""Five points: another network is proposed only where further labels are shown to bring less."""
STEP = 32
"""Pixels: the sides that pretrained networks take are multiples of it."""


@dataclass(frozen=True)
class Proposal:
    """What to try, and in a few sentences why."""

    what: Literal["labels", "input", "network"]
    text: str


FIRST = {
    "labels": "label more first",
    "network": "try another network first, as the run's report proposes",
    "input": "try a larger input first, as the run's report proposes",
}
"""As the end of a sentence, in the order of their worth."""


def context(artifacts: Artifacts) -> dict[str, Any]:
    """What the templates say of it: a list of sentences, which may be empty."""
    return {"advice": [proposal.text for proposal in proposals(artifacts.metrics, artifacts.summary)]}


def proposals(metrics: Mapping[str, Any], summary: Mapping[str, Any]) -> list[Proposal]:
    """What `metrics.json` of a run, and `summary.json` of its final labels, speak for."""
    kept = metrics.get("kept")
    right = _right_in_words(kept) if kept is not None and _could_be_better(kept) else ""
    found = [Proposal("labels", text) for text in _more_labels(metrics.get("labels_worth"), summary, right)]
    if right:
        found += [Proposal("input", text) for text in _larger_input(metrics.get("input"), right)]
        found += [Proposal("network", text) for text in _other_network(metrics, right)]
    return found


def first_step(metrics: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """The one of the :func:`proposals` that a model which knows too little needs first; of none, more labels."""
    proposed = {proposal.what for proposal in proposals(metrics, summary)}
    return next((words for what, words in FIRST.items() if what in proposed), FIRST["labels"])


def _could_be_better(kept: Mapping[str, Any]) -> bool:
    right = round(kept[f"{kept['model']}_validation_accuracy"] * kept["images"])
    return accuracy_interval(right, kept["images"]).high < GOOD_ENOUGH


def _right_in_words(kept: Mapping[str, Any]) -> str:
    """ "the student gets 81.0 % of 100 validation images right"."""
    model = kept["model"]
    share = percent(kept[f"{model}_validation_accuracy"])
    return f"the {MODELS[model].lower()} gets {share} right of {judges_in_words(kept)}"


def _more_labels(worth: Mapping[str, Any] | None, summary: Mapping[str, Any], right: str) -> list[str]:
    """Label more, where labels still pay or may, or many images are left without a label that was accepted.

    `right` says how often the kept model is right, and is "" where that is good enough.
    """
    review = "`semisup review RUN` shows which images would teach most; `semisup runs` names the run."
    if worth is not None and (worth["difference"]["low"] > 0 or (right and not _labels_bring_little(worth))):
        gain = worth["difference"]
        figures = (
            f"ith half of the labels {percent(worth['half'])} of the labels held out were right, with four fifths of "
            f"them {percent(worth['most'])} ({points(gain['estimate'])} points, 95\u00a0% interval "
            f"{points(gain['low'])} to {points(gain['high'])}), by the supervised regression"
        )
        if gain["low"] > 0:
            return [f"Label more images. W{figures}. {review}"]
        return [
            f"Label more images. There are {counted(worth['images'], 'label')}, too few to tell what further ones "
            f"bring: w{figures}; and {right}. {review}"
        ]
    left = summary["unlabeled"] - summary["accepted"]
    if worth is None and summary["unlabeled"] and left >= MANY_LEFT * summary["unlabeled"]:
        return [
            f"Label some of the {counted(left, 'image')} whose label was not accepted, "
            f"{percent(1 - summary['coverage'])} of the unlabeled ones. {review}"
        ]
    return []


def _labels_bring_little(worth: Mapping[str, Any]) -> bool:
    """Is it shown? A wide interval around nothing, as of few labels, shows nothing."""
    gain = worth["difference"]
    return bool(gain["low"] <= 0 and gain["high"] < MUCH)


def _larger_input(sides: Mapping[str, Any] | None, right: str) -> list[str]:
    """Look at the files with more pixels, where they have more."""
    if sides is None or sides["files"] < MUCH_LARGER * sides["seen"]:
        return []
    larger = max(min(sides["files"], 2 * sides["seen"]) // STEP * STEP, sides["seen"] + STEP)
    crop = sides.get("center_crop")  # older reports do not say
    also, sees = "", "the network sees"
    if crop is not None:  # a multiple, as transformers want it
        sees = "images are decoded with"
        also = f" --set model.center_crop={round(crop * larger / sides['seen'] / STEP) * STEP}"
    return [
        f"Try a larger input. The shorter side of the usual file has {sides['files']:,} pixels, {sees} "
        f"{sides['seen']:,}, and {right}: `--set data.size={larger}{also}`. What it costs grows with the square of the "
        "side."
    ]


def _other_network(metrics: Mapping[str, Any], right: str) -> list[str]:
    """Another network, where a frozen one does not gain from labels, or where one began from nothing."""
    worth = metrics.get("labels_worth")
    if worth is not None and _labels_bring_little(worth):
        gain = worth["difference"]
        return [
            "Try another network. Four fifths of the labels in place of half brought little, if anything "
            f"({points(gain['estimate'])} points, 95\u00a0% interval {points(gain['low'])} to "
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
