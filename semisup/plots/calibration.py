"""How far confidence can be trusted, and what a threshold's certificate rests on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from semisup.plots.style import BLUE, GRAY, MANY_POINTS, ORANGE, PAGE_WIDTH, RED, TEAL, house_style

GAPS: dict[str, dict[str, Any]] = {
    "over-confident": {"facecolor": "none", "edgecolor": ORANGE, "hatch": "////"},
    "under-confident": {"facecolor": "none", "edgecolor": TEAL, "hatch": "...."},
}


@house_style
def reliability_diagram(models: Mapping[str, pd.DataFrame]) -> Figure:
    """Accuracy of the images in each bin of confidence, a panel per model (or before and after), with its ECE.

    Tables have the columns low, high, count, confidence, accuracy, accuracy_low and accuracy_high, as
    :func:`semisup.calibration.reliability` returns. The gap from a bin's accuracy to its mean confidence is hatched:
    what is missing to the confidence is over-confidence, what exceeds it under-confidence.
    """
    figure = Figure(figsize=(PAGE_WIDTH / 2 * max(len(models), 1), 4.4), layout="constrained")
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for axes, (name, table) in zip(panels, models.items(), strict=True):
        filled = table[table["count"] > 0]
        gap = (filled["confidence"] - filled["accuracy"]).abs()
        error = float((gap * filled["count"]).sum() / filled["count"].sum())
        axes.set_title(f"{name}: ECE {100 * error:.1f} %", pad=18)
        _bins(axes, filled)
        _counts(axes, table)
        axes.set_xlabel("Confidence (%)")
        axes.set_ylabel("Accuracy (%), with 95 % intervals")
    handles = [
        Patch(facecolor=to_rgba(BLUE, 0.35), edgecolor=BLUE, label="accuracy"),
        *(Patch(label=name, **look) for name, look in GAPS.items()),
        Line2D([], [], color=GRAY, linestyle="--", linewidth=1.3, label="confidence = accuracy"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4 if len(models) > 1 else 2)
    return figure


def _bins(axes: Axes, filled: pd.DataFrame) -> None:
    left, width = 100 * filled["low"], 100 * (filled["high"] - filled["low"])
    accuracy, confidence = 100 * filled["accuracy"], 100 * filled["confidence"]
    axes.bar(left, accuracy, width, align="edge", facecolor=to_rgba(BLUE, 0.35), edgecolor=BLUE, linewidth=0.8)
    for name, members in (("over-confident", confidence > accuracy), ("under-confident", confidence < accuracy)):
        bottom, top = np.minimum(accuracy, confidence), np.maximum(accuracy, confidence)
        axes.bar(
            left[members],
            (top - bottom)[members],
            width[members],
            bottom=bottom[members],
            align="edge",
            linewidth=0.8,
            **GAPS[name],
        )
    axes.vlines(
        left + width / 2, 100 * filled["accuracy_low"], 100 * filled["accuracy_high"], color=GRAY, linewidth=1.1
    )
    axes.plot([0, 100], [0, 100], color=GRAY, linestyle="--", linewidth=1.3)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)


def _counts(axes: Axes, table: pd.DataFrame) -> None:
    """How many images each bin holds, above it."""
    size = 7.0 if table["count"].max() < 10_000 else 5.5
    across = axes.get_xaxis_transform()
    for low, high, count in table[["low", "high", "count"]].itertuples(index=False):
        middle = 50 * (low + high)
        axes.text(middle, 1.015, f"{int(count):,}", transform=across, ha="center", va="bottom", fontsize=size)
    axes.text(-1.5, 1.015, "images", transform=across, ha="right", va="bottom", fontsize=7)


@house_style
def certificate_walk(certificate: Mapping[str, Any]) -> Figure:
    """The thresholds tested from strict to loose: errors seen and their upper bound, by share of the pool accepted.

    `certificate` is that of `calibration.json`. The diamond is the threshold certified, the cross the test that ended
    the walk.
    """
    path = pd.DataFrame(certificate["path"])
    allowed = 100 * (1 - certificate["target_precision"])
    share, bound = 100 * path["share"], 100 * path["upper_bound"]
    seen = 100 * path["errors"] / path["accepted"].clip(lower=1)
    marker = "o" if len(path) < MANY_POINTS else ""
    passed = int((path["share"] <= certificate["share"]).sum()) if certificate["certified"] else 0

    figure = Figure(figsize=(PAGE_WIDTH / 2, 3.6), layout="constrained")
    axes = figure.subplots()
    level = f"{100 * certificate['level']:g} %"
    axes.plot(share, bound, color=BLUE, marker=marker, markersize=4, label=f"upper bound ({level} sure)")
    axes.plot(share, seen, color=ORANGE, linestyle="--", marker=marker, markersize=4, label="errors seen")
    axes.axhline(allowed, color=GRAY, linestyle=":", linewidth=1.5, label=f"allowed: {allowed:.3g} %")
    if passed:
        chosen = f"certified: {certificate['threshold']:.4g} accepts {100 * certificate['share']:.0f} %"
        _mark(axes, share[passed - 1], bound[passed - 1], color=BLUE, marker="D", label=chosen)
    if passed < len(path):
        ended = "end of the walk" if passed else "first test failed: nothing certified"
        _mark(axes, share[passed], bound[passed], color=RED, marker="X", label=ended)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 1.15 * max(allowed, float(bound.max())))
    axes.set_xlabel("Share of the unlabeled images accepted (%)")
    axes.set_ylabel("Wrong among the accepted (%)")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _mark(axes: Axes, x: float, y: float, *, color: str, marker: str, label: str) -> None:
    axes.plot(x, y, color=color, marker=marker, markersize=8, linestyle="none", clip_on=False, zorder=4, label=label)
