"""The section about the pseudo-labels: what was accepted, what was not and why, round by round, class by class."""

from collections.abc import Mapping
from typing import Any

from semisup.report.artifacts import Artifacts
from semisup.report.text import UNKNOWN, percent

REASONS = {
    "below_threshold": "Below the threshold",
    "beyond_top_share": "Beyond its class's top share",
    "beyond_round_share": "Beyond the round's share",
    "disagreement": "The members disagree",
    "uncertain": "The passes differ",
}


def context(artifacts: Artifacts) -> dict[str, Any]:
    """What the templates say of it."""
    return {
        "audited": artifacts.correct is not None,
        "truth_known": artifacts.summary["precision"] is not None,
        "rounds": _rounds_sentence(artifacts.summary),
        "rounds_table": _rounds_table(artifacts.summary),
        "reasons_table": _reasons_table(artifacts.summary),
        "accepted_table": _accepted_table(artifacts),
    }


def _rounds_sentence(summary: Mapping[str, Any]) -> str:
    """What the last of several rounds changed; "" where there was only one."""
    number, total = summary["round"], summary["unlabeled"]
    if number == 1:
        return ""
    return (
        f"This is round {number} of self-training: the student of round {number - 1} labeled every unlabeled image "
        f"anew, and a fresh student learned from its labels. {summary['flipped']:,} of {total:,} labels "
        f"({percent(summary['flipped'] / total)}) are others than in round {number - 1}; "
        f"{summary['newly_accepted']:,} images were accepted for the first time. The pseudo-labels below and the "
        "student are those of this round."
    )


def _rounds_table(summary: Mapping[str, Any]) -> list[list[str]]:
    """Round, pseudo-labels accepted, of these for the first time, labels changed since the round before, precision."""
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
