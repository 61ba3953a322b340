"""What the models do on the test images."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from semisup.data.own_images.reading.many import as_picture
from semisup.plots.style import (
    BLUE,
    GRAY,
    INK,
    MOST_NAMED_CLASSES,
    PAGE_WIDTH,
    RED,
    IntArray,
    figure_of_rows,
    house_style,
    name_classes,
    short,
)

COMPOUND_COLUMNS = 4


@house_style
def confusion_matrix(matrix: IntArray, class_names: Sequence[str], title: str) -> Figure:
    """Counts, true class by predicted; a cell's color is its share of the true class, so rows compare.

    The color grows with the square root of the share: one error in a hundred should be seen. Beyond 20 classes the
    counts and names are left out.
    """
    named = len(class_names) <= MOST_NAMED_CLASSES
    figure = Figure(figsize=(PAGE_WIDTH / 2, 4.6))
    figure.set_layout_engine("constrained", w_pad=0.09)  # inches; with less, a browser's own font is cut off
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    colors = LinearSegmentedColormap.from_list("house", [to_rgba(BLUE, 0.0), to_rgba(BLUE, 1.0)])
    image = axes.imshow(share, cmap=colors, norm=PowerNorm(0.5, 0, 1), interpolation="none")
    axes.set_title(title)
    axes.grid(visible=False)
    for row, column in zip(*np.nonzero(matrix), strict=True) if named else ():
        axes.text(
            column,
            row,
            f"{matrix[row, column]:,}",
            ha="center",
            va="center",
            fontsize=8 if len(class_names) <= 10 else 6,
            color="white" if share[row, column] > 0.4 else INK,
        )
    name_classes(axes, class_names, "x")
    name_classes(axes, class_names, "y")
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    axes.spines[:].set_visible(True)
    axes.spines[:].set_alpha(0.4)
    bar = figure.colorbar(image, cax=axes.inset_axes((1.04, 0, 0.035, 1)), ticks=[0, 0.01, 0.1, 0.25, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=None))
    bar.set_label("Share of the true class (%)")
    bar.outline.set_alpha(0.4)
    return figure


@house_style
def accuracy_comparison(models: Mapping[str, tuple[float, float, float]]) -> Figure:
    """Test accuracy of each model as a point with its interval; values are (estimate, low, high), fractions."""
    figure, axes = figure_of_rows(list(models), head=0.75, above=0.75)
    for row, (estimate, low, high) in enumerate(models.values()):
        color = BLUE if row else GRAY
        axes.plot([100 * low, 100 * high], [row, row], color=color, linewidth=4, alpha=0.4, solid_capstyle="round")
        axes.plot(100 * estimate, row, color=color, marker="o", markersize=8)
        digits = 2 if high - low < 0.01 else 1  # no more than the interval justifies
        text, above = f"{100 * estimate:.{digits}f} %", (0, 8)
        axes.annotate(text, (100 * estimate, row), above, textcoords="offset points", ha="center", fontsize=8.5)
    axes.margins(x=0.12)
    axes.set_xlabel("Test accuracy (%), with 95 % intervals")
    return figure


@house_style
def compound_grid(
    images: NDArray[np.uint8], truths: IntArray, predicted: Mapping[str, IntArray], class_names: Sequence[str]
) -> Figure:
    """Compound images (M, C, H, W), gray or RGB, with their two true classes (M, 2).

    Beside each the two likeliest classes (M, 2) of every model, with a tick where they are the true ones.
    """
    rows = max(1, -(-len(images) // COMPOUND_COLUMNS))
    cell = 0.5  # height in units of a column's width
    figure = Figure(figsize=(PAGE_WIDTH, PAGE_WIDTH / COMPOUND_COLUMNS * cell * rows))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for i, image in enumerate(images):
        row, column = divmod(i, COMPOUND_COLUMNS)
        answers = {
            name: (_both(classes[i], class_names), set(classes[i]) == set(truths[i]))
            for name, classes in predicted.items()
        }
        _draw_compound(axes, image, (column + 0.02, cell * row + 0.04), _both(truths[i], class_names), answers)
    axes.set(xlim=(0, COMPOUND_COLUMNS), ylim=(cell * rows, 0), aspect="equal")
    return figure


def _both(classes: IntArray, class_names: Sequence[str]) -> str:
    return " + ".join(short(class_names[k], 9) for k in classes)


def _draw_compound(
    axes: Axes,
    image: NDArray[np.uint8],
    corner: tuple[float, float],
    truth: str,
    answers: Mapping[str, tuple[str, bool]],
) -> None:
    """One image (C, H, W) with its classes and, per model, the classes that it names and whether they are these."""
    height, width = image.shape[1:]
    pixels, scale = as_picture(image), 0.42 / max(height, width)
    (left, top), right = corner, corner[0] + 0.46
    extent = (left, left + width * scale, top + height * scale, top)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="none")
    axes.text(right, top + 0.04, truth, weight="bold", va="center", fontsize=8)
    for number, (model, (classes, correct)) in enumerate(answers.items()):
        line = top + 0.14 + 0.17 * number
        axes.text(right, line, model, alpha=0.7, va="center", fontsize=8)
        sign, color = ("✓", INK) if correct else ("✗", RED)
        axes.text(right, line + 0.08, f"{sign} {classes}", color=color, va="center", fontsize=8)
