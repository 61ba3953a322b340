"""What is known of the accepted pseudo-labels, in words."""

from collections.abc import Mapping
from typing import Any


def known_truths(summary: Mapping[str, Any]) -> str:
    """ "46 of 47 whose truth is known are right, none of them from unlabeled/", of a `summary.json`; "" of none."""
    known = summary.get("known", 0)  # older runs did not count
    if not known:
        return ""
    text = f"{summary['known_right']:,} of {known:,} whose truth is known {'is' if known == 1 else 'are'} right"
    if not summary["from_unlabeled"]:
        return text
    from_there = summary["known_from_unlabeled"]
    return f"{text}, {f'{from_there:,}' if from_there else 'none'} of them from unlabeled/"
