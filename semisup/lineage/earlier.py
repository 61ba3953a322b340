"""Versions of code that was written otherwise, or lay elsewhere, and makes the same bits: its results stay in use.

Whoever changes code without changing a result may add a line here, once runs of both have left equal digests. A later
change of that code has another version, and the line says nothing of it.
"""

SAME: dict[tuple[str, str], tuple[str, ...]] = {
    ("split", "0b3c4ac61ac98254"): ("134e74e2d739b790",),
    ("choose", "9dbea996a384021e"): ("cc4963992b828b0d",),
    ("baseline", "a492d6f9c3db6866"): ("5fe7653a0ddf0a52",),
    ("member", "68cb288ad5d13a07"): ("2e2612317f454fbd",),
    ("ensemble", "a4df1b7d254b2031"): ("e61c0dbc2218baaf",),
    ("calibrate", "0f5f0fcdba3b3a18"): ("42a641332ed24f3e",),
    ("pseudo_label", "17532c4bde825bb7"): ("10cda8558e73b3c5",),
    ("joint", "f837b2b6dbed01f6"): ("7a2098d835170395",),
    ("evaluate", "c418592f6c496344"): ("f534f44217426f26",),
    ("evaluate_ensemble", "d241b9818542868e"): ("5b19892b7858fafc",),
    ("promote", "c10179c6d929f5fd"): ("2662a38ca78df451",),
    ("regression_fit", "836e08bc3561a35e"): ("567e6959f8d67ce9",),
    ("regression_evaluate", "b4401d6ef7832794"): ("5635de079e68c6fd",),
}
"""(stage, version of its code) → versions of before."""


def earlier_versions(stage: str, code: str) -> tuple[str, ...]:
    """Versions of a stage's code whose results are those of this version, bit for bit."""
    return SAME.get((stage, code), ())
