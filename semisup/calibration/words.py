"""A calibration in words: one line each, from what stage `calibrate` left as `calibration.json`."""

from collections.abc import Mapping
from math import floor, log10
from typing import Any

from semisup.calibration.measures import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE
from semisup.wording import counted


def calibration_sentence(values: Mapping[str, Any]) -> str:
    """One line on a `calibration.json`: over- or under-confidence, what the temperature did, what is certified."""
    before, after = values["before"], values["after"]
    verdict = "not shown to be over- or under-confident" if before["verdict"] == "neither" else before["verdict"]
    shown = f"{before['confidence']:.1%} sure, {before['accuracy']:.1%} right on {counted(values['images'], 'image')}"
    text = f"the {who(values)} is {verdict} ({shown}; ECE {before['ece']:.1%})"
    if values["method"] == "temperature":
        text += (
            f"; temperature {values['temperature']:.3g} makes it {after['confidence']:.1%} sure, ECE {after['ece']:.1%}"
        )
    certificate = values["certificate"]
    if certificate is None:
        return text
    goal = (
        f"at least {100 * certificate['target_precision']:g}% of its labels right, {100 * certificate['level']:g}% sure"
    )
    if not certificate["certified"]:
        return f"{text}; no threshold is certified ({goal})"
    if not values["certified"]:
        return f"{text}; no threshold is certified ({goal}), for {other_images(values)}"
    text += (
        f"; threshold {certificate['threshold']:.4g} is certified ({goal}): {_errors(certificate)}, "
        f"{certificate['share']:.1%} of the unlabeled images accepted"
    )
    return text + "".join(f"; not strictly so, for {caveat}" for caveat in values["caveats"][:1])


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
    certificate = values["certificate"]
    if certificate is not None and not values["certified"]:
        instead = "" if values["fallback"] is None else f"; the fallback threshold {values['fallback']:g} applies"
        warnings.append(uncertified(values) + instead)
    return warnings


def uncertified(values: Mapping[str, Any]) -> str:
    """Why nothing is certified and what would help, in one line."""
    certificate, needed = values["certificate"], values["calibration_images_needed"]
    if certificate["certified"]:
        return (
            f"pseudo_label.threshold.target_precision={certificate['target_precision']:g} could not be certified: "
            f"{other_images(values)}; have some of the accepted labels audited (semisup review RUN --audit 200), or "
            "draw the calibration images from the unlabeled ones"
        )
    target, total = certificate["target_precision"], values["images"] + values["temperature_images"]
    if certificate["images"] < certificate["fewest"]:
        fewest = counted(certificate["fewest"], "calibration image")
        why = f"it takes {fewest} and no error, not {certificate['images']:,}"
    elif certificate["accepted"] < certificate["fewest"]:
        why = f"{_errors(certificate)}, but it takes at least {certificate['fewest']:,} and no error"
    else:
        why = f"{_errors(certificate)} leave up to {certificate['upper_bound']:.2%} errors possible"
    if needed is None and certificate["labels_needed"] is None:
        help_ = (
            f"by its own confidence the {who(values)} errs too often for that even where it is most sure; use a lower "
            "target_precision, or train it better"
        )
    elif needed is None:
        help_ = "more calibration images than the data set has would be needed; use a lower target_precision"
    elif needed <= total:
        help_ = (
            f"by its confidence the {who(values)} should have passed, so it errs more often than that or had bad luck; "
            "use a lower target_precision, or more split.calibration_images"
        )
    else:
        help_ = f"use split.calibration_images of about {_about(needed):,}, or a lower target_precision"
    return f"pseudo_label.threshold.target_precision={target:g} could not be certified ({why}): {help_}"


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
