"""How a regression was trained, and where it errs."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from semisup.plots.style import BLUE, GRAY, MANY_POINTS, ORANGE, PAGE_WIDTH, FloatArray, house_style

POINTS: Any = {"linestyle": "none", "marker": "o", "markersize": 5, "alpha": 0.6, "markeredgewidth": 0, "color": BLUE}
DASHED: Any = {"color": GRAY, "linestyle": "--", "linewidth": 1.3}


@house_style
def loss_curves(history: pd.DataFrame, best_epoch: int, stopped_early: bool) -> Figure:
    """Training and validation loss per epoch, with the epoch kept and the epoch of the end."""
    figure = Figure(figsize=(PAGE_WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    marker = "o" if len(history) < MANY_POINTS else ""
    last = int(history["epoch"].max())
    epochs = history["epoch"]
    axes.plot(epochs, history["train_loss"], marker=marker, color=ORANGE, linestyle="--", label="training")
    axes.plot(epochs, history["validation_loss"], marker=marker, color=BLUE, label="validation")
    kept = history[history["epoch"] == best_epoch]
    mark: Any = {"color": BLUE, "marker": "o", "markersize": 7, "linestyle": "none"}
    axes.plot(kept["epoch"], kept["validation_loss"], label=f"weights kept (epoch {best_epoch})", **mark)
    end = f"stopped early (epoch {last})" if stopped_early else f"last epoch ({last})"
    axes.axvline(last, color=GRAY, linewidth=1.3, linestyle=":", label=end)
    axes.set_ylim(bottom=0)
    axes.set_title("Loss: mean squared error, 1 = predicting the training mean")
    axes.set_ylabel("Loss (variances of the target)")
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


@house_style
def residuals(truth: FloatArray, predicted: FloatArray, title: str) -> Figure:
    """Predicted against true values, residuals (true − predicted) against predicted ones, and their normal Q–Q plot.

    Values (N,) in the target's own units. On the dashed lines a prediction is right; in the last panel, residuals are
    normally distributed.
    """
    figure = Figure(figsize=(PAGE_WIDTH, 3.7), layout="constrained")
    against_truth, against_predicted, quantiles = figure.subplots(1, 3)
    figure.suptitle(title, x=0.008, ha="left")
    errors = truth - predicted

    both = np.concatenate([truth, predicted])
    against_truth.axline((float(both.mean()), float(both.mean())), slope=1, **DASHED)
    against_truth.plot(predicted, truth, **POINTS)
    margin = 0.05 * float(np.ptp(both))
    limits = (float(both.min()) - margin, float(both.max()) + margin)
    against_truth.set(xlim=limits, ylim=limits, title="True by predicted", xlabel="Predicted", ylabel="True")
    against_truth.set_box_aspect(1)  # so that the diagonal is one

    against_predicted.axhline(0, **DASHED)
    against_predicted.plot(predicted, errors, **POINTS)
    against_predicted.set(title="Residuals by predicted", xlabel="Predicted", ylabel="True − predicted")
    against_predicted.set_box_aspect(1)

    _quantile_plot(quantiles, errors)
    return figure


def _quantile_plot(axes: Axes, errors: FloatArray) -> None:
    from scipy.special import ndtri  # as scipy.stats, which takes half a second to import, has it

    expected = ndtri((np.arange(1, len(errors) + 1) - 0.5) / len(errors))
    axes.axline((0, float(errors.mean())), slope=float(errors.std()), **DASHED)
    axes.plot(expected, np.sort(errors), **POINTS)
    axes.set(title="Are residuals normal?", xlabel="Normal quantile (standard deviations)", ylabel="True − predicted")
    axes.set_box_aspect(1)
