"""A calibration in words: one line each, from what stage `calibrate` left as `calibration.json`."""

from collections.abc import Mapping
from math import floor, log10
from typing import Any

from semisup.calibration.measures import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE
from semisup.wording import counted

THRESHOLD_NAMES = {
    "certified": "certified threshold",
    "fdr": "threshold by the false discovery rate",
    "fallback": "fallback threshold",
}
"""What a threshold is called that is not the config's own number, by its kind in a pseudo-label summary."""


def calibration_sentence(values: Mapping[str, Any]) -> str:
    """One line on a `calibration.json`: over- or under-confidence, what the temperature did, what is promised."""
    before, after = values["before"], values["after"]
    verdict = "not shown to be over- or under-confident" if before["verdict"] == "neither" else before["verdict"]
    shown = f"{before['confidence']:.1%} sure, {before['accuracy']:.1%} right on {counted(values['images'], 'image')}"
    text = f"the {who(values)} is {verdict} ({shown}; ECE {before['ece']:.1%})"
    if values["method"] == "temperature":
        text += (
            f"; temperature {values['temperature']:.3g} makes it {after['confidence']:.1%} sure, ECE {after['ece']:.1%}"
        )
    found = promise(values)
    if found is None:
        return text
    if control := values.get("fdr_control"):
        goal, does = f"at most {100 * control['fdr']:g}% of its labels wrong, on average", "keeps the rate"
    else:
        target, level = (100 * found[key] for key in ("target_precision", "level"))
        goal, does = f"at least {target:g}% of its labels right, {level:g}% sure", "is certified"
    if not holds(values):
        why = f", for {other_images(values)}" if found["threshold"] is not None else ""
        return f"{text}; no threshold {does} ({goal}){why}"
    text += (
        f"; threshold {found['threshold']:.4g} {does} ({goal}): {_errors(found)}, "
        f"{found['share']:.1%} of the unlabeled images accepted"
    )
    return text + "".join(f"; not strictly so, for {caveat}" for caveat in values["caveats"][:1])


def promise(values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What calibration images found out about a threshold, certificate or control of the rate; None: not asked."""
    found: Mapping[str, Any] | None = values["certificate"] or values.get("fdr_control")
    return found


def holds(values: Mapping[str, Any]) -> bool:
    """Was a threshold found, and is the pool like the calibration images?"""
    return bool(values["certified"] or values.get("fdr_controlled"))


def calibration_warnings(values: Mapping[str, Any]) -> list[str]:
    """What a `calibration.json` asks attention for, one line each."""
    warnings = []
    if values["method"] == "temperature" and not values["temperature_errors"]:
        warnings.append(
            f"calibrate.method='temperature': all {counted(values['temperature_images'], 'image')} that should fit it "
            "are right, so any smaller temperature fits better and 1 is kept; use more split.calibration_images"
        )
    elif values["temperature"] in {LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE}:
        warnings.append(
            f"temperature {values['temperature']:g} is at the end of what is tried; look at the reliability diagram, "
            "and use more split.calibration_images"
        )
    before, after = values["before"], values["after"]
    if values["method"] == "temperature" and after["brier"] > before["brier"]:
        now = "" if after["verdict"] == "neither" else f", and it is {after['verdict']} now"
        warnings.append(
            f"temperature {values['temperature']:.3g} made the confidence worse on images it has not seen (Brier score "
            f"{before['brier']:.3f} → {after['brier']:.3f}{now}): {values['temperature_errors']} errors among "
            f"{counted(values['temperature_images'], 'image')} decided it; use more split.calibration_images, or a "
            "larger calibrate.temperature_share"
        )
    found = promise(values)
    if found is not None and not holds(values):
        instead = "" if values["fallback"] is None else f"; the fallback threshold {values['fallback']:g} applies"
        warnings.append(not_found(values) + instead)
    return warnings


def not_found(values: Mapping[str, Any]) -> str:
    """Why no threshold is certified or keeps the rate, and what would help, in one line."""
    found, needed = promise(values), values["calibration_images_needed"]
    assert found is not None, "a threshold was asked for"
    if "fdr" in found:
        subject, lower = f"pseudo_label.threshold.fdr={found['fdr']:g} could not be kept", "a higher fdr"
    else:
        subject = f"pseudo_label.threshold.target_precision={found['target_precision']:g} could not be certified"
        lower = "a lower target_precision"
    if found["threshold"] is not None:
        return (
            f"{subject}: {other_images(values)}; have some of the accepted labels audited (semisup review RUN --audit "
            "200), or draw the calibration images from the unlabeled ones"
        )
    total = values["images"] + values["temperature_images"]
    if needed is None and found["labels_needed"] is None:
        help_ = (
            f"by its own confidence the {who(values)} errs too often for that even where it is most sure; use {lower}, "
            "or train it better"
        )
    elif needed is None:
        help_ = f"more calibration images than the data set has would be needed; use {lower}"
    elif needed <= total:
        help_ = (
            f"by its confidence the {who(values)} should have passed, so it errs more often than that or had bad luck; "
            f"use {lower}, or more split.calibration_images"
        )
    else:
        help_ = f"use split.calibration_images of about {_about(needed):,}, or {lower}"
    return f"{subject} ({_why_not(found)}): {help_}"


def _why_not(found: Mapping[str, Any]) -> str:
    if found["images"] < found["fewest"]:
        return f"it takes {counted(found['fewest'], 'calibration image')} and no error, not {found['images']:,}"
    if "fdr" in found:
        return f"{_errors(found)} allow for {found['estimate']:.1%} wrong labels"
    if found["accepted"] < found["fewest"]:
        return f"{_errors(found)}, but it takes at least {found['fewest']:,} and no error"
    return f"{_errors(found)} leave up to {found['upper_bound']:.2%} errors possible"


def other_images(values: Mapping[str, Any]) -> str:
    """That calibration images and pool differ, and how sure that is."""
    compared = values["compared"]
    return (
        f"the unlabeled images are not like the calibration images (p = {compared['p_value']:.1g} on "
        f"{compared['calibration_images']:,} and {counted(compared['pool_images'], 'image')})"
    )


def who(values: Mapping[str, Any]) -> str:
    """Whose calibration it is: the "teacher" of a round, or the "kept model"."""
    return str(values.get("model", "teacher"))


def _errors(certificate: Mapping[str, Any]) -> str:
    errors, accepted = certificate["errors"], certificate["accepted"]
    return f"{errors:,} error{'s' * (errors != 1)} among {accepted:,} calibration image{'s' * (accepted != 1)}"


def _about(number: int) -> int:
    """Rounded up to two digits: an estimate should not look exact."""
    unit: int = 10 ** max(floor(log10(number)) - 1, 0)
    return -(-number // unit) * unit
