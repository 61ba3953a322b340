"""The top of the page: the verdict and the key figures."""

from collections.abc import Mapping
from typing import Any

from semisup.calibration.words import THRESHOLD_NAMES
from semisup.evaluation.keeping import judges_in_words
from semisup.open_world.words import known_truths
from semisup.report.artifacts import MODELS, Artifacts
from semisup.report.text import UNKNOWN, estimate, percent, shift
from semisup.wording import counted


def context(artifacts: Artifacts) -> dict[str, Any]:
    """What the templates say of it."""
    return {
        "verdict": _verdict(artifacts.metrics),
        "verdict_kind": artifacts.metrics["verdict"].split()[0],
        "cards": _cards(artifacts),
    }


def _verdict(metrics: Mapping[str, Any]) -> str:
    baseline, student = metrics["baseline"]["accuracy"], metrics["student"]["accuracy"]
    student_text, baseline_text = percent(student["estimate"]), percent(baseline["estimate"])
    match metrics["verdict"]:
        case "student better":
            opening = f"This student is better: {student_text} against {baseline_text} of the test images right"
        case "baseline better":
            opening = f"This baseline is better: {baseline_text} against {student_text} of the test images right"
        case _:
            opening = (
                f"No difference shown: this student gets {student_text} of the test images right, "
                f"this baseline {baseline_text}"
            )
    return f"{opening} ({shift(metrics)})."


def _cards(artifacts: Artifacts) -> list[dict[str, str]]:
    models = [_accuracy_card(name, artifacts.metrics[key]) for key, name in MODELS.items()]
    kept = artifacts.metrics.get("kept")  # older runs did not ask
    models += [_kept_card(kept)] if kept else []
    return [*models, _coverage_card(artifacts.summary), _precision_card(artifacts.summary), _labels_card(artifacts)]


def _accuracy_card(name: str, metrics: Mapping[str, Any]) -> dict[str, str]:
    value, interval = estimate(metrics["accuracy"])
    note = f"95\u00a0% interval {interval}; macro-F1 {percent(metrics['macro_f1'])}"
    return {"name": f"{name} test accuracy", "value": value, "note": note}


def _kept_card(kept: Mapping[str, Any]) -> dict[str, str]:
    shares = ", ".join(f"{key} {percent(kept[f'{key}_validation_accuracy'])}" for key in ("student", "baseline"))
    note = f"decided by {judges_in_words(kept)}: {shares} right"
    return {"name": "Model to keep", "value": MODELS[kept["model"]], "note": note}


def _coverage_card(summary: Mapping[str, Any]) -> dict[str, str]:
    limit = THRESHOLD_NAMES.get(summary.get("threshold_kind", "fixed"), "confidence")
    share = f"{summary['accepted']:,} of {counted(summary['unlabeled'], 'unlabeled image')}"
    note = f"{share}, {limit} ≥\u00a0{summary['threshold']:g}"
    return {"name": "Pseudo-label coverage", "value": percent(summary["coverage"]), "note": note}


def _precision_card(summary: Mapping[str, Any]) -> dict[str, str]:
    if audit := summary.get("audit"):
        return _audited_card(audit)
    value, note = UNKNOWN, known_truths(summary) or "the truth is not known"
    if summary["precision"] is not None:
        ends = {"estimate": summary["precision"], "low": summary["precision_low"], "high": summary["precision_high"]}
        value, interval = estimate(ends)
        note = f"95\u00a0% interval {interval}"
    elif summary["accepted"] == 0:
        note = "no pseudo-label was accepted"
    return {"name": "Pseudo-label precision", "value": value, "note": note}


def _audited_card(audit: Mapping[str, Any]) -> dict[str, str]:
    """What people found out about a random sample of the accepted labels."""
    ends = {"estimate": audit["precision"] or 0.0, "low": audit["low"], "high": audit["high"]}
    value, interval = estimate(ends)
    counts = [f"{audit['right']:,} right", f"{audit['wrong']:,} wrong"]
    counts += [f"{audit['unsure']:,} that nobody could tell"] if audit["unsure"] else []
    note = (
        f"audited: of {audit['looked_at']:,} drawn at random {', '.join(counts)}; 95\u00a0% interval {interval} "
        f"for all {audit['accepted']:,}"
    )
    known = value if audit["precision"] is not None else UNKNOWN
    return {"name": "Pseudo-label precision", "value": known, "note": note}


def _labels_card(artifacts: Artifacts) -> dict[str, str]:
    names = {"labeled": "labeled", "validation": "validation", "calibration": "calibration"}
    used = {name: count for role, name in names.items() if (count := artifacts.roles[role]) or role != "calibration"}
    note = " + ".join(f"{count:,} {name}" for name, count in used.items())
    return {"name": "Labels used", "value": f"{sum(used.values()):,}", "note": note}
