"""How a training went, epoch by epoch."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from semisup.plots.style import BLUE, GRAY, MANY_POINTS, ORANGE, PAGE_WIDTH, PURPLE, TEAL, house_style


@house_style
def learning_curves(
    history: pd.DataFrame, best_epoch: int, stopped_epoch: int, stopped_early: bool, title: str
) -> Figure:
    """Loss (nats) and accuracy per epoch, training and validation, with the epoch kept and the epoch of the end.

    A history with a column `alpha` gets a third panel: α, the weight of the unlabeled loss, and `mask_rate`, the
    share of each unlabeled batch that carries a pseudo-label.
    """
    joint = "alpha" in history
    figure = Figure(figsize=(PAGE_WIDTH, 3.4), layout="constrained")
    panels = figure.subplots(1, 3 if joint else 2)
    figure.suptitle(title, x=0.008, ha="left")
    _loss_or_accuracy(panels[0], history, "loss", best_epoch)
    _loss_or_accuracy(panels[1], history, "accuracy", best_epoch)
    if joint:
        _alpha_and_mask_rate(panels[2], history)
    end = f"stopped early (epoch {stopped_epoch})" if stopped_early else f"last epoch ({stopped_epoch})"
    for axes in panels:
        axes.axvline(stopped_epoch, color=GRAY, linewidth=1.3, linestyle=":", label=end)
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    # On the left, for a phone shows the left part first.
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=4)
    return figure


def _loss_or_accuracy(axes: Axes, history: pd.DataFrame, quantity: str, best_epoch: int) -> None:
    scale = 100 if quantity == "accuracy" else 1
    epochs, marker = history["epoch"], _marker(history)
    axes.plot(
        epochs, scale * history[f"train_{quantity}"], marker=marker, color=ORANGE, linestyle="--", label="training"
    )
    axes.plot(
        epochs, scale * history[f"validation_{quantity}"], marker=marker, color=BLUE, linestyle="-", label="validation"
    )
    kept = history[history["epoch"] == best_epoch]
    axes.plot(
        kept["epoch"],
        scale * kept[f"validation_{quantity}"],
        color=BLUE,
        marker="o",
        markersize=7,
        linestyle="none",
        label=f"weights kept (epoch {best_epoch})",
    )
    axes.set_ylabel("Accuracy (%)" if quantity == "accuracy" else "Loss (nats)")


def _alpha_and_mask_rate(axes: Axes, history: pd.DataFrame) -> None:
    epochs, marker = history["epoch"], _marker(history)
    axes.plot(epochs, history["alpha"], marker=marker, color=PURPLE, linestyle="-")
    axes.set_ylabel("α (weight of the unlabeled loss)", color=PURPLE)
    axes.set_ylim(0, 1.08 * max(float(history["alpha"].max()), 1e-6))
    right = axes.twinx()
    right.plot(epochs, 100 * history["mask_rate"], marker=marker, color=TEAL, linestyle="--")
    right.set_ylabel("Mask rate (% of the batch, dashed)", color=TEAL)
    right.set_ylim(0, 108)
    right.grid(visible=False)


def _marker(history: pd.DataFrame) -> str:
    return "o" if len(history) < MANY_POINTS else ""
