"""Images per class and role."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from semisup.plots.style import BLUE, GRAY, MOST_NAMED_CLASSES, PAGE_WIDTH, house_style, name_classes

ROLES = {
    "labeled": "Labeled",
    "validation": "Validation",
    "calibration": "Calibration",
    "unlabeled": "Unlabeled",
    "test": "Test",
}


@house_style
def class_counts(counts: Mapping[str, Sequence[int] | None], class_names: Sequence[str]) -> Figure:
    """Images per class, one panel per role; a role of unknown classes (None; of unlabeled images all zero) says so."""
    named = len(class_names) <= MOST_NAMED_CLASSES
    height = 1.0 + 0.22 * len(class_names) if named else 4.5
    figure = Figure(figsize=(PAGE_WIDTH, max(2.0, height)), layout="constrained")
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for axes, (role, values) in zip(panels, counts.items(), strict=True):
        axes.set_title(ROLES.get(role, role))
        axes.set_xlabel("Images")
        axes.grid(visible=False)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if values is None or not any(values):
            said = "classes unknown" if values is None or role == "unlabeled" else "no images"
            axes.text(0.5, 0.5, said, ha="center", va="center", color=GRAY, transform=axes.transAxes)
            axes.set_xticks([])
            continue
        bars = axes.barh(np.arange(len(values)), values, color=BLUE, height=0.72 if named else 1.0)
        axes.set_xlim(0, max(*values, 1) * 1.25)  # room for the numbers beside the bars
        if named:
            axes.bar_label(bars, labels=[f"{value:,}" for value in values], padding=3, fontsize=8)
    name_classes(panels[0], class_names, "y")
    panels[0].set_ylim(len(class_names) - 0.4, -0.6)
    return figure
