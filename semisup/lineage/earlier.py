"""Versions of code that was written otherwise, or lay elsewhere, and makes the same bits: its results stay in use.

Whoever changes code without changing a result may add a line here, once runs of both have left equal digests. A later
change of that code has another version, and the line says nothing of it.
"""

SAME: dict[tuple[str, str], tuple[str, ...]] = {}
"""(stage, version of its code) → versions of before."""


def earlier_versions(stage: str, code: str) -> tuple[str, ...]:
    """Versions of a stage's code whose results are those of this version, bit for bit."""
    return SAME.get((stage, code), ())
