"""The section about the kept model's confidence: before and after the temperature, and what could be certified."""

from collections.abc import Mapping, Sequence
from typing import Any

from semisup.calibration.words import holds, not_found, promise, who
from semisup.report.artifacts import Artifacts
from semisup.report.evaluation import confidence_row, confidence_sentence
from semisup.report.text import UNKNOWN, percent
from semisup.wording import counted

CLASS_HEADS = ["Class", "Calibration images", "Wrong", "Certified from"]


def context(artifacts: Artifacts) -> dict[str, Any]:
    """What the templates say of it; nothing where the pipeline has no stage `calibrate`."""
    if artifacts.calibration is None:
        return {"calibration": None}
    figures = artifacts.calibration.figures
    tempered = figures["method"] == "temperature"
    table = [["As it is", *confidence_row(figures["before"])]]
    if tempered:
        table.append([f"Temperature {figures['temperature']:.3g}", *confidence_row(figures["after"])])
    return {
        "calibration": {
            "sentence": _sentence(figures, tempered),
            "table": table,
            "wide": tempered,
            "promise": _promise(figures),
            "classes": _classes(figures, artifacts.class_names),
        }
    }


def _sentence(figures: Mapping[str, Any], tempered: bool) -> str:
    """What calibration images say of it, and what the temperature makes of it."""
    before, after, temperature = figures["before"], figures["after"], figures["temperature"]
    sentence = confidence_sentence(f"On {counted(figures['images'], 'calibration image')} the {who(figures)}", before)
    if not tempered:
        return sentence
    verdict = "" if after["verdict"] == "neither" else f"; it is {after['verdict']} then"
    effect = "less sure" if temperature > 1 else "surer" if temperature < 1 else "neither surer nor less sure"
    return (
        f"{sentence} The temperature {temperature:.3g}, fitted on {figures['temperature_images']:,} others, makes it "
        f"{effect} without changing any label: {percent(after['confidence'])} sure on average, ECE "
        f"{percent(before['ece'])} before and {percent(after['ece'])} after{verdict}."
    )


def _promise(figures: Mapping[str, Any]) -> str:
    """What is promised of the labels, in a few sentences, or why nothing is and what would help; "" unless asked."""
    found = promise(figures)
    if found is None:
        return ""
    if not holds(figures):
        instead = "" if figures["fallback"] is None else f"; the fallback threshold {figures['fallback']:g} applies"
        of = "all labels together" if figures.get("classes") else "the labels"
        return f"Nothing is promised of {of}. {not_found(figures)}{instead}.{_none_alone(figures)}"
    wrong = found["errors"]
    caveats = f" Not strictly so, for {', and '.join(figures['caveats'])}." if figures["caveats"] else ""
    seen = (
        f"Of {counted(found['accepted'], 'calibration image')} with a confidence of at least {found['threshold']:g}, "
        f"{wrong:,} {'was' if wrong == 1 else 'were'} labeled wrongly"
    )
    if "fdr" in found:
        return (
            f"{seen}. From this threshold up, at most {100 * found['fdr']:g}\u00a0% of the labels are wrong on average "
            "over the draw of calibration images and unlabeled images (false discovery rate); a draw for which no "
            "threshold is found counts as one without wrong labels. This run may have more wrong labels than that, and "
            f"so may single classes.{caveats}"
        )
    level, target = (f"{100 * found[key]:g}\u00a0%" for key in ("level", "target_precision"))
    return (
        f"{seen}, which leaves up to {percent(found['upper_bound'])} plausible. So, at a confidence level of {level}, "
        f"at least {target} of the labels are right that it gives to such images from this threshold up. This holds "
        f"for all of them together, not for each class.{_none_alone(figures)}{caveats}"
    )


def _none_alone(figures: Mapping[str, Any]) -> str:
    """Why no class is certified by itself; "" where one is."""
    classes = figures.get("classes") or []
    if not classes or any(row["threshold"] is not None for row in classes):
        return ""
    fewest, most = figures["certificate"]["fewest"], max(row["images"] for row in classes)
    why = f"; the most that are given one label are {most:,}" if most < fewest else ""
    return (
        f" No class could be certified by itself, which takes at least {counted(fewest, 'calibration image')} given "
        f"its label{why}."
    )


def _classes(figures: Mapping[str, Any], class_names: Sequence[str]) -> dict[str, Any] | None:
    """A row for each class: name, calibration images given its label, wrong ones, and from where it is certified."""
    if not figures.get("classes") or _none_alone(figures):
        return None
    rows = [
        [
            class_names[row["label"]],
            f"{row['accepted']:,} of {row['images']:,}" if row["threshold"] is not None else f"{row['images']:,}",
            f"{row['errors']:,}",
            UNKNOWN if row["threshold"] is None else f"{row['threshold']:.4f}",
        ]
        for row in figures["classes"]
    ]
    level, target = (f"{100 * figures['certificate'][key]:g}\u00a0%" for key in ("level", "target_precision"))
    meaning = (
        f"From which confidence at least {target} of the labels of a class are right, certified for each class by "
        f"itself at a confidence level of {level}: how many of the calibration images given this label are as sure, "
        f"and how many of these are wrong. {UNKNOWN}: not certified, for there are too few, or too many are wrong."
    )
    return {"heads": CLASS_HEADS, "rows": rows, "meaning": meaning}
