"""Versions of code that was written otherwise, or lay elsewhere, and makes the same bits: its results stay in use.

Whoever changes code without changing a result may add a line here, once runs of both have left equal digests. A later
change of that code has another version, and the line says nothing of it.
"""

SAME: dict[tuple[str, str], tuple[str, ...]] = {
    ("split", "64f7876944838190"): ("134e74e2d739b790",),
    ("choose", "98719e90bf170176"): ("cc4963992b828b0d",),
    ("baseline", "9fb227656dae1769"): ("5fe7653a0ddf0a52",),
    ("member", "9db861da4d407819"): ("2e2612317f454fbd",),
    ("ensemble", "384e023f3b730ca3"): ("e61c0dbc2218baaf",),
    ("calibrate", "195c729dd10705d2"): ("42a641332ed24f3e",),
    ("pseudo_label", "3b6b6d157c0e7243"): ("10cda8558e73b3c5",),
    ("joint", "2746a53b3c58b9e4"): ("7a2098d835170395",),
    ("evaluate", "d8162bb9983a52f0"): ("f534f44217426f26",),
    ("evaluate_ensemble", "a5cb165102620a8a"): ("5b19892b7858fafc",),
    ("promote", "dfaa860c2666faf7"): ("2662a38ca78df451",),
    ("regression_fit", "22d99ebd19ea6daa"): ("567e6959f8d67ce9",),
    ("regression_evaluate", "002612198c5d2160"): ("5635de079e68c6fd",),
}
"""(stage, version of its code) → versions of before."""


def earlier_versions(stage: str, code: str) -> tuple[str, ...]:
    """Versions of a stage's code whose results are those of this version, bit for bit."""
    return SAME.get((stage, code), ())
