"""What seeds say about configs, and labels about methods.

Not among those that `semisup.plots` offers: stages import that package, and their results do not follow from this file.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from semisup.evaluation.comparison import Spread
from semisup.plots.style import BLUE, GRAY, PAGE_WIDTH, FloatArray, figure_of_rows, house_style, short

LONGEST_NAME = 28
SMALLEST_RANGE = 0.01
"""Of accuracies: a figure that shows less would blow up what is nothing."""
MOST = 100.6
"""In percent: a little more than all, so that a point there is whole."""


@house_style
def accuracy_by_seed(rows: Sequence[tuple[str, str, Sequence[float], Spread]]) -> Figure:
    """One row for each (config, model, accuracies over seeds, what they say): points, the mean, its interval.

    `model` is "student", drawn in blue, or another word, in gray. Accuracies are fractions.
    """
    names = [f"{short(name, LONGEST_NAME)}, {model}" for name, model, *_ in rows]
    figure, axes = figure_of_rows(names, head=0.85, above=0.8)
    for row, (_, model, values, said) in enumerate(rows):
        color = BLUE if model == "student" else GRAY
        if said.low is not None and said.high is not None:
            ends = [100 * max(0.0, said.low), 100 * min(1.0, said.high)]
            axes.plot(ends, [row, row], color=color, linewidth=4, alpha=0.25, solid_capstyle="round")
        axes.plot(
            100 * np.asarray(values), np.full(len(values), row), color=color, marker="o", linestyle="none", alpha=0.75
        )
        axes.plot(100 * said.mean, row, color=color, marker="|", markersize=20, markeredgewidth=2.5)
        above = (0, 11)
        axes.annotate(
            f"{100 * said.mean:.2f}",
            (100 * said.mean, row),
            above,
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
        )
    axes.margins(x=0.06)
    _sensible(axes, "x")
    axes.set_xlabel(_said_of(max(len(values) for _, _, values, _ in rows)))
    return figure


@house_style
def label_efficiency(labels: Sequence[int], accuracies: Mapping[str, FloatArray], heading: str = "") -> Figure:
    """Test accuracy against the number of labels: a line through the means, every seed a point, their range shaded.

    `accuracies` maps "supervised" and "semi-supervised" to fractions (numbers of labels, seeds).
    """
    figure = Figure(figsize=(PAGE_WIDTH * 0.72, 4.2), layout="constrained")
    axes = figure.subplots()
    styles = {"supervised": (GRAY, "--", "s"), "semi-supervised": (BLUE, "-", "o")}
    for name, values in accuracies.items():
        color, line, marker = styles[name]
        percent = 100 * np.asarray(values)
        if percent.shape[1] > 1:
            axes.fill_between(labels, percent.min(axis=1), percent.max(axis=1), color=color, alpha=0.15, linewidth=0)
            for seed in percent.T:
                axes.plot(labels, seed, color=color, marker=marker, markersize=3, linestyle="none", alpha=0.5)
        axes.plot(labels, percent.mean(axis=1), color=color, linestyle=line, marker=marker, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(labels)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if len(labels) == 1:
        axes.set_xlim(labels[0] / 2, labels[0] * 2)
    crowded = any(b / a < 1.25 for a, b in pairwise(labels))
    axes.tick_params(axis="x", rotation=45 if crowded or len(labels) > 9 else 0)
    axes.margins(y=0.08)
    _sensible(axes, "y")
    axes.set_title(heading)
    axes.set_xlabel("Labeled training images (log scale)")
    axes.set_ylabel("Test accuracy (%)")
    several = max(np.asarray(values).shape[1] for values in accuracies.values()) > 1
    title = "line: mean, points: seeds" if several else None
    axes.legend(loc="lower right", title=title, title_fontsize=8, alignment="left")
    return figure


def _said_of(seeds: int) -> str:
    if seeds == 1:
        return "Test accuracy (%), one seed: nothing can be said about its spread"
    return "Test accuracy (%); point: one seed, stroke: mean, bar: its 95 % interval over seeds"


def _sensible(axes: Axes, axis: str) -> None:
    """No axis of accuracies goes far beyond 100 %, or shows less than a percentage point."""
    low, high = axes.get_xlim() if axis == "x" else axes.get_ylim()
    high = min(high, MOST)
    low = min(low, high - 100 * SMALLEST_RANGE)
    if axis == "x":
        axes.set_xlim(low, high)
    else:
        axes.set_ylim(low, high)
