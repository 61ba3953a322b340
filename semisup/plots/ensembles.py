"""What several members do alone and together."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from semisup.plots.style import BLUE, GRAY, MANY_POINTS, ORANGE, PAGE_WIDTH, house_style

Accuracy = tuple[float, float, float]
"""(estimate, low, high), fractions."""


@house_style
def ensemble_growth(members: Sequence[float], growth: Sequence[float], combine: Literal["mean", "vote"]) -> Figure:
    """Validation accuracy of every member alone, and of the first 1, 2, … M members together (fractions)."""
    figure = Figure(figsize=(PAGE_WIDTH * 0.7, 3.4), layout="constrained")
    axes = figure.subplots()
    numbers = np.arange(1, len(members) + 1)
    together = f"first ones together, by {combine}"
    axes.plot(numbers, 100 * np.array(members), "o", color=ORANGE, markersize=4, zorder=3, label="member alone")
    axes.axhline(100 * float(np.mean(members)), color=ORANGE, linewidth=1.3, linestyle=":", label="mean of the members")
    axes.plot(
        numbers, 100 * np.array(growth), color=BLUE, marker="s" if len(members) < MANY_POINTS else "", label=together
    )
    axes.set_title("Members alone and together")
    axes.set_xlabel("Members")
    axes.set_ylabel("Validation accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@house_style
def ensemble_comparison(baseline: Accuracy, members: Sequence[float], ensemble: Accuracy) -> Figure:
    """Test accuracy of baseline and ensemble with their intervals, and of every member between them (fractions)."""
    figure = Figure(figsize=(PAGE_WIDTH, 2.0), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=False)
    axes.grid(visible=True, axis="x")
    for row, (color, (estimate, low, high)) in {0: (GRAY, baseline), 2: (BLUE, ensemble)}.items():
        axes.plot([100 * low, 100 * high], [row, row], color=color, linewidth=2.2)
        axes.plot(100 * estimate, row, "o", color=color, markersize=7)
        axes.annotate(
            f"{estimate:.1%}  ({low:.1%} … {high:.1%})",
            (100 * estimate, row),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
        )
    spread = 0.16 * (np.arange(len(members)) % 3 - 1)  # equal accuracies shall not hide one another
    axes.plot(100 * np.array(members), 1 + spread, "D", color=ORANGE, markersize=4.5, alpha=0.8)
    axes.set_yticks([0, 1, 2], ["Baseline", f"{len(members)} members, each", "Ensemble"])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(2.4, -0.75)
    axes.margins(x=0.12)
    axes.set_xlabel("Test accuracy (%), with 95 % intervals")
    return figure
