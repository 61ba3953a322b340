"""Axes with a class at each tick."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

MOST_NAMED_CLASSES = 20  # beyond it, names and counts would be too small to read


def name_classes(axes: Axes, class_names: Sequence[str], side: str) -> None:
    axis = axes.xaxis if side == "x" else axes.yaxis
    if len(class_names) > MOST_NAMED_CLASSES:
        axis.set_major_locator(MaxNLocator(8, integer=True))
        axis.set_label_text("Class (number)")
        return
    names = [short(name) for name in class_names]
    slanted = side == "x" and max(map(len, names)) > 3
    turn: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axis.set_ticks(range(len(names)), names, **turn)
    axis.set_tick_params(length=0)
    axis.set_label_text("Class")


def short(name: str, most: int = 14) -> str:
    name = " ".join(name.split())
    return name if len(name) <= most else name[: most - 1] + "…"
