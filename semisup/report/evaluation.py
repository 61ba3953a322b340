"""The section about the test images: both models class by class, their confidence, and compound images."""

from collections.abc import Mapping
from typing import Any

from semisup.report.artifacts import MODELS, Artifacts
from semisup.report.text import estimate, p_value, percent, points, shift
from semisup.wording import counted

CONFIDENCE_HEADS = ["Accuracy", "Mean confidence", "ECE", "Adaptive ECE", "NLL (nats)", "Brier score"]
CONFIDENCE_MEANING = (
    "ECE: mean distance of confidence from accuracy over 10 bins of equal width or (adaptive) of equally many images. "
    "NLL and Brier score also reward being sure where it is right. Of all four, less is better."
)
BARS = (
    "Bars are the accuracy of the images in each bin of confidence, with what the model is too sure (over-confident) "
    "or not sure enough (under-confident). The numbers above count images; where they are few, a bar says little."
)


def context(artifacts: Artifacts) -> dict[str, Any]:
    """What the templates say of it."""
    metrics, compound = artifacts.metrics, artifacts.metrics.get("compound")
    return {
        "discordant": _discordant_sentence(metrics),
        "class_table": _class_table(metrics),
        "confidence_sentences": [
            confidence_sentence(f"The {name.lower()}", metrics[key]["calibration"]) for key, name in MODELS.items()
        ],
        "confidence_heads": CONFIDENCE_HEADS,
        "confidence_meaning": CONFIDENCE_MEANING,
        "bars": BARS,
        "confidence_table": [[name, *confidence_row(metrics[key]["calibration"])] for key, name in MODELS.items()],
        "references": _references_sentence(metrics["references"]) if metrics.get("references") else "",
        "references_table": _references_table(metrics) if metrics.get("references") else [],
        "compound": _compound_sentence(compound) if compound else "",
        "compound_caption": _compound_caption(compound) if compound else "",
        "compound_table": [_compound_row(compound, key, name) for key, name in MODELS.items()] if compound else [],
    }


def _discordant_sentence(metrics: Mapping[str, Any]) -> str:
    test = metrics["mcnemar"]
    return (
        f"Of {counted(metrics['total'], 'test image')}, the student alone is right in {test['only_student_right']:,} "
        f"and the "
        f"baseline alone in {test['only_baseline_right']:,}; McNemar's exact test asks whether a fair coin would "
        f"split them so unevenly ({p_value(test['p_value'])})."
    )


def _class_table(metrics: Mapping[str, Any]) -> list[list[str]]:
    """Class, test images, then precision, recall and F1 of baseline and student; a dash where there is no image."""
    table = []
    for rows in zip(metrics["baseline"]["per_class"], metrics["student"]["per_class"], strict=True):
        support = rows[0]["support"]
        figures = [
            percent(row[figure] if support else None) for figure in ("precision", "recall", "f1") for row in rows
        ]
        table.append([rows[0]["name"], f"{support:,}", *figures])
    return table


def confidence_sentence(subject: str, measured: Mapping[str, Any]) -> str:
    """Over- or under-confidence in words, from :func:`semisup.calibration.measure`."""
    confidence, accuracy = measured["confidence"], measured["accuracy"]
    gap = f"{points(confidence - accuracy)}\u00a0points"
    facts = f"{percent(confidence)} sure on average, {percent(accuracy)} right ({gap})"
    if measured["verdict"] == "neither":
        return f"{subject} is about as sure as it is right: {facts}, no more than chance explains."
    return f"{subject} is {measured['verdict']}: {facts}."


def confidence_row(measured: Mapping[str, Any]) -> list[str]:
    """The cells below CONFIDENCE_HEADS, from :func:`semisup.calibration.measure`."""
    shares = [percent(measured[key]) for key in ("accuracy", "confidence", "ece", "adaptive_ece")]
    return [*shares, f"{measured['nll']:.3f}", f"{measured['brier']:.3f}"]


def _references_sentence(references: Mapping[str, Any]) -> str:
    known = f"{references['unlabeled']:,}"
    if references["unlabeled"] < references["unlabeled_there"]:
        known += f" of our {references['unlabeled_there']:,}"
    return (
        f"What scikit-learn makes of the same features: it knows the same {counted(references['labeled'], 'label')} "
        f"and {known} images without one, and is judged on the same {references['test']:,} test "
        "images. Its constants are fixed, ours are chosen by the labels at hand."
    )


def _references_table(metrics: Mapping[str, Any]) -> list[list[str]]:
    """Name, test accuracy, its interval, constants: the references, then both of our models."""
    rows = [[row["name"], *estimate(row), row["constants"]] for row in metrics["references"]["rows"]]
    return rows + [[name, *estimate(metrics[key]["accuracy"]), "of this run"] for key, name in MODELS.items()]


def _compound_sentence(compound: Mapping[str, Any]) -> str:
    right = {key: estimate(compound[key])[0] for key in MODELS}
    match compound["verdict"]:
        case "student better":
            opening = f"This student sees both classes more often: {right['student']} against {right['baseline']}"
        case "baseline better":
            opening = f"This baseline sees both classes more often: {right['baseline']} against {right['student']}"
        case _:
            opening = f"No difference shown: the student sees both in {right['student']}, the baseline in "
            opening += right["baseline"]
    return f"{opening} of {counted(compound['images'], 'compound image')} ({shift(compound)})."


def _compound_caption(compound: Mapping[str, Any]) -> str:
    return (
        "Each is the pixelwise maximum of two test images of different classes; the models learned from single ones. "
        f"Guessing two classes is right in {percent(compound['chance'])}. A test image is in two of them on average, "
        "so the true intervals are somewhat wider than these."
    )


def _compound_row(compound: Mapping[str, Any], key: str, name: str) -> list[str]:
    """Model, both right, its interval, at least one right, its interval."""
    return [name, *estimate(compound[key]), *estimate(compound["at_least_one"][key])]
