"""The sections about labels: what the student learned from, and what the model that is kept says in the end."""

from collections.abc import Mapping, Sequence
from typing import Any

from semisup.checks.warnings import expected_words
from semisup.pseudo_labels import REFUSED
from semisup.report.artifacts import Artifacts
from semisup.report.text import UNKNOWN, percent
from semisup.wording import counted

REASONS = {
    "below_threshold": "Below the threshold",
    "beyond_top_share": "Beyond its class's top share",
    "beyond_round_share": "Beyond the round's share",
    "disagreement": "The members disagree",
    "uncertain": "The passes differ",
    "unknown": "Of none of the classes",
    REFUSED: "Too few labels are right",
}


def context(artifacts: Artifacts) -> dict[str, Any]:
    """What the templates say of it."""
    return {
        "audited": artifacts.correct is not None,
        "truth_known": artifacts.summary["precision"] is not None,
        "unknown": _unknown_sentence(artifacts.summary),
        "final": _final_sentence(artifacts),
        "learned_from": _learned_from(artifacts),
        "rounds_table": _rounds_table(artifacts.learned_from) if artifacts.learned_from else [],
        "reasons_table": _reasons_table(artifacts.summary),
        "accepted_table": _accepted_table(artifacts),
    }


def _final_sentence(artifacts: Artifacts) -> str:
    """Whose labels these are."""
    model = artifacts.metrics.get("kept", {}).get("model", "student")
    return (
        f"The {model}, which is the model to keep, labeled every unlabeled image at the end. These are the labels "
        "that an export of this run holds."
    )


def _learned_from(artifacts: Artifacts) -> str:
    """Where the labels came from that the student learned from, and what became of them."""
    summary, number = artifacts.learned_from, artifacts.round
    if not summary:
        words = "The student labeled the unlabeled images itself, anew at every step, and learned from no table."
        return words if number == 1 else f"{words} It began with the weights of the student of round {number - 1}."
    total, precision = summary["unlabeled"], summary["precision"]
    right = "" if precision is None else f", {percent(precision)} of them right"
    words = (
        f"It learned from a table that its teacher had made: {summary['accepted']:,} of {total:,} labels were accepted"
        f"{right}{_weighed(artifacts)}."
    )
    if expected := summary.get("expected"):
        words += f" Beforehand: {expected_words(expected)}."
    if REFUSED in summary.get("reasons", ()):
        words += " That is too few (pseudo_label.least_precision), so the student learned from labels alone."
    if number == 1:
        return words
    return (
        f"{words} This is round {number} of self-training: the student of round {number - 1} labeled every unlabeled "
        f"image anew, and the next student learned from its labels. {summary['flipped']:,} of "
        f"{counted(total, 'label')} ({percent(summary['flipped'] / total)}) are others than in round {number - 1}; "
        f"{counted(summary['newly_accepted'], 'image was', 'images were')} accepted for the first time."
    )


def _weighed(artifacts: Artifacts) -> str:
    """What else a student learned from that weighs labels; "" where it was those that were accepted."""
    learned = artifacts.training["joint"].get("pseudo_labels", 0)
    if learned <= artifacts.learned_from["accepted"]:
        return ""
    which = "all" if learned == artifacts.learned_from["unlabeled"] else f"{learned:,} of them"
    return f"; the student learned from {which}, accepted or not, each by the teacher's confidence"


def _unknown_sentence(summary: Mapping[str, Any]) -> str:
    """How many images look as if they were of none of the classes; "" where nobody asked."""
    found = summary.get("unknown")
    if not found:
        return ""
    if found["threshold"] is None:
        return (
            f"Images of none of the classes were looked for, but {found['held_out']:,} held-out images are too few for "
            f"{percent(found['false_alarms'])} false alarms."
        )
    shown = (
        f"So, 95\u00a0% sure, at least {percent(found['at_least'])} of the pool are of none of the classes."
        if found["at_least"]
        else "That is no more than false alarms explain."
    )
    return (
        f"{found['flagged']:,} of {counted(summary['unlabeled'], 'unlabeled image')} ({percent(found['share'])}) look "
        "as if they were of none of the classes, and are not accepted; of images of the classes, at most "
        f"{percent(found['false_alarms'])} do, by {counted(found['held_out'], found['judges'] + ' image')}. "
        f"{shown}{_alike(found.get('groups', ()))}"
    )


def _alike(groups: Sequence[int]) -> str:
    """How many unknown images look alike, in how many groups; "" of none."""
    if not groups:
        return ""
    return (
        f" {sum(groups):,} of them look alike in {counted(len(groups), 'group')}, each perhaps a class that nobody has "
        "labeled: semisup review asks what they are."
    )


def _rounds_table(summary: Mapping[str, Any]) -> list[list[str]]:
    """Of each of several rounds: its number, labels accepted, of these for the first time, labels changed since the
    round before, precision."""
    if summary["round"] == 1:
        return []
    return [
        [
            str(line["round"]),
            f"{line['accepted']:,}",
            f"{line['newly_accepted']:,}",
            f"{line['flipped']:,}" if line["round"] > 1 else UNKNOWN,
            percent(line["precision"]),
        ]
        for line in summary["rounds"]
    ]


def _reasons_table(summary: Mapping[str, Any]) -> list[list[str]]:
    """Reason, images not accepted for it, their share of all unlabeled ones; empty where there is one reason at most.

    An image has the first reason that held it back.
    """
    counts = {reason: count for reason, count in summary.get("reasons", {}).items() if reason and count}
    if len(counts) < 2:
        return []
    return [
        [REASONS.get(reason, reason), f"{count:,}", percent(count / summary["unlabeled"])]
        for reason, count in counts.items()
    ]


def _accepted_table(artifacts: Artifacts) -> list[list[str]]:
    """Class, pseudo-labels accepted, their share of all accepted, precision."""
    summary = artifacts.summary
    rows = zip(artifacts.class_names, summary["accepted_per_class"], summary["precision_per_class"], strict=True)
    return [[name, f"{n:,}", percent(n / max(summary["accepted"], 1)), percent(right)] for name, n, right in rows]
