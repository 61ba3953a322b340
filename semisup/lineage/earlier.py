"""Versions of code that was written otherwise, or lay elsewhere, and makes the same bits: its results stay in use.

Whoever changes code without changing a result may add a line here, once runs of both have left equal digests. A later
change of that code has another version, and the line says nothing of it.
"""

SAME: dict[tuple[str, str], tuple[str, ...]] = {
    ("split", "6db40a4371e4ea05"): ("134e74e2d739b790",),
    ("choose", "01d518457c41b885"): ("cc4963992b828b0d",),
    ("baseline", "c7314273b2f13384"): ("5fe7653a0ddf0a52",),
    ("member", "660b59a352964591"): ("2e2612317f454fbd",),
    ("ensemble", "27ef68ce21118bf8"): ("e61c0dbc2218baaf",),
    ("calibrate", "cb3af0c2367fda62"): ("42a641332ed24f3e",),
    ("pseudo_label", "3ca5868ab95b2336"): ("10cda8558e73b3c5",),
    ("joint", "78579f885d820bde"): ("7a2098d835170395",),
    ("evaluate", "5c2ccef3fc8ecbf0"): ("f534f44217426f26",),
    ("evaluate_ensemble", "5a9c642f7be071d5"): ("5b19892b7858fafc",),
    ("promote", "76366e6e178a00ac"): ("2662a38ca78df451",),
    ("regression_fit", "855ed51f3b080a78"): ("567e6959f8d67ce9",),
    ("regression_evaluate", "f04be4b3c63ad477"): ("5635de079e68c6fd",),
}
"""(stage, version of its code) → versions of before."""


def earlier_versions(stage: str, code: str) -> tuple[str, ...]:
    """Versions of a stage's code whose results are those of this version, bit for bit."""
    return SAME.get((stage, code), ())
