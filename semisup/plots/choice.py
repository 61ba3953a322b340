"""What each way to learn is worth, before one is chosen."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from semisup.plots.style import BLUE, figure_of_rows, house_style, short

LONGEST_NAME = 28
PROBES = ("baseline", "student", "graph")
"""Ways to learn upon the frozen network; with `model.train: auto` there are more."""
WAYS = {
    "baseline": "probe, labels alone",
    "student": "probe, graph's labels too",
    "graph": "graph of neighbors",
    "last_2": "last blocks, labels alone",
    "last_2_student": "last blocks, graph's too",
    "all": "whole network",
    "scratch": "network from scratch",
}
"""Name of a way to learn → what people read."""


@house_style
def worth_of_ways(ways: Sequence[Mapping[str, Any]]) -> Figure:
    """One row for each way to learn: its accuracy on held-out labels and the 95 % interval, as percentages."""
    names = [short(WAYS[way["name"]], LONGEST_NAME) for way in ways]
    figure, axes = figure_of_rows(names, head=1.0, above=0.8)
    for row, way in enumerate(ways):
        ends = [100 * way["low"], 100 * way["high"]]
        axes.plot(ends, [row, row], color=BLUE, linewidth=4, alpha=0.25, solid_capstyle="round")
        axes.plot(100 * way["accuracy"], row, color=BLUE, marker="o", linestyle="none")
        axes.annotate(
            f"{100 * way['accuracy']:.1f}",
            (100 * way["accuracy"], row),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
        )
    axes.margins(x=0.06)
    axes.set_xlabel("Held-out labels that were right (%), with 95 % intervals")
    return figure
