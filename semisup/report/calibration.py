"""The section about the kept model's confidence: before and after the temperature, and what could be certified."""

from collections.abc import Mapping
from typing import Any

from semisup.calibration.words import uncertified, who
from semisup.report.artifacts import Artifacts
from semisup.report.evaluation import confidence_row, confidence_sentence
from semisup.report.text import percent
from semisup.wording import counted


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
            "certificate": _certificate(figures) if figures["certificate"] else "",
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


def _certificate(figures: Mapping[str, Any]) -> str:
    """The certificate in one sentence, or why there is none and what would help."""
    certificate = figures["certificate"]
    if not figures["certified"]:
        instead = "" if figures["fallback"] is None else f"; the fallback threshold {figures['fallback']:g} applies"
        return f"Nothing is certified. {uncertified(figures)}{instead}."
    wrong, accepted = certificate["errors"], certificate["accepted"]
    level, target = (f"{100 * certificate[key]:g}\u00a0%" for key in ("level", "target_precision"))
    caveats = f" Not strictly so, for {', and '.join(figures['caveats'])}." if figures["caveats"] else ""
    return (
        f"Of {counted(accepted, 'calibration image')} with a confidence of at least {certificate['threshold']:g}, "
        f"{wrong:,} {'was' if wrong == 1 else 'were'} labeled wrongly, which leaves up to "
        f"{percent(certificate['upper_bound'])} plausible. So, at a confidence level of {level}, at least {target} "
        "of the labels are right that it gives to such images from this threshold up. This holds for all of "
        f"them together, not for each class.{caveats}"
    )
