"""Versions of code that was written otherwise, or lay elsewhere, and makes the same bits: its results stay in use.

Whoever changes code without changing a result may add a line here, once runs of both have left equal digests. A later
change of that code has another version, and the line says nothing of it.
"""

SAME: dict[tuple[str, str], tuple[str, ...]] = {
    ("split", "97e5af2e463cd23c"): ("134e74e2d739b790",),
    ("choose", "8511fbe4e36dbf5c"): ("cc4963992b828b0d",),
    ("baseline", "1bc610b45fbeebcf"): ("5fe7653a0ddf0a52",),
    ("member", "160861cf25845166"): ("2e2612317f454fbd",),
    ("ensemble", "a1787b7edea308ee"): ("e61c0dbc2218baaf",),
    ("calibrate", "259f29de1ea272b1"): ("42a641332ed24f3e",),
    ("pseudo_label", "edcce74fd81b515a"): ("10cda8558e73b3c5",),
    ("joint", "520b332f83642679"): ("7a2098d835170395",),
    ("evaluate", "68b4b48fe325609d"): ("f534f44217426f26",),
    ("evaluate_ensemble", "226c348fe287bf84"): ("5b19892b7858fafc",),
    ("promote", "adfdc650d5249c08"): ("2662a38ca78df451",),
    ("regression_fit", "83756317a74e14be"): ("567e6959f8d67ce9",),
    ("regression_evaluate", "f216ad06dd0a1b7c"): ("5635de079e68c6fd",),
}
"""(stage, version of its code) → versions of before."""


def earlier_versions(stage: str, code: str) -> tuple[str, ...]:
    """Versions of a stage's code whose results are those of this version, bit for bit."""
    return SAME.get((stage, code), ())
