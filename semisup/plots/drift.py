"""New images beside those that were known before."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from semisup.plots.style import (
    BLUE,
    MOST_NAMED_CLASSES,
    ORANGE,
    PAGE_WIDTH,
    BoolArray,
    FloatArray,
    IntArray,
    house_style,
    name_classes,
)


@house_style
def answer_drift(confidence: FloatArray, labels: IntArray, new: BoolArray, class_names: Sequence[str]) -> Figure:
    """Which share of the images has at most which confidence, and which share is predicted to be of which class."""
    named = len(class_names) <= MOST_NAMED_CLASSES
    figure = Figure(figsize=(PAGE_WIDTH, max(3.3, 1.0 + 0.3 * len(class_names) * named)), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = np.arange(len(class_names))
    for name, members, color, line, shift in (("known", ~new, BLUE, "-", -0.2), ("new", new, ORANGE, "--", 0.2)):
        label = f"{name} ({int(members.sum()):,})"
        left.ecdf(100 * confidence[members].clip(max=1), color=color, linestyle=line, label=label)
        shares = np.bincount(labels[members], minlength=len(class_names)) / max(int(members.sum()), 1)
        right.barh(rows + shift, 100 * shares, 0.38, color=color, hatch="////" if line == "--" else "", label=label)
    left.set_xlabel("Confidence, %")
    left.set_ylabel("Share of images with at most so much")
    left.set_title("Confidence")
    left.legend()
    right.set_xlabel("Share of images, %")
    right.set_title("Predicted classes")
    right.grid(visible=False)
    name_classes(right, class_names, "y")
    right.invert_yaxis()
    return figure
