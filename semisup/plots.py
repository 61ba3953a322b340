"""Every figure of the project, in one quiet house style.

Matplotlib's object API only: each function returns a `Figure` that belongs to its caller; pyplot is never imported.
Rates come in as fractions and are drawn as percentages. Blue and orange are told apart by colour-blind readers, and
a line style, a hatch or a word always says the same as the colour.
"""

import hashlib
import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter
from numpy.typing import NDArray

P = ParamSpec("P")
BoolArray: TypeAlias = NDArray[np.bool_]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]

INK = "#1f2328"  # text and axes; becomes currentColor in inline SVG, so no data may be drawn in it
# Mid-tones: legible on white and on near-black.
BLUE, ORANGE, TEAL, PURPLE, RED, GREY = "#3a7fc1", "#e0812b", "#259a8b", "#9270c4", "#d6404f", "#8b929c"

PAGE_WIDTH = 10.0  # inches
MOST_NAMED_CLASSES = 20  # beyond it, names and counts would be too small to read
MANY_POINTS = 12  # a shorter line is drawn with markers: a single epoch has no line at all
GRID_COLUMNS = 12
ROLES = {"labeled": "Labelled", "validation": "Validation", "unlabeled": "Unlabelled", "test": "Test"}
GROUPS = {"accepted": "Accepted", "borderline": "Borderline", "rejected": "Rejected"}

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "figure.titlesize": 10.5,
    "figure.titleweight": "bold",
    "font.family": ["sans-serif"],
    "font.size": 9,
    "grid.alpha": 0.12,
    "grid.color": INK,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.7,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.7,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5"
    "xtick.color": INK,
    "xtick.labelsize": 8.5,
    "xtick.major.width": 0.6,
    "ytick.color": INK,
    "ytick.labelsize": 8.5,
    "ytick.major.width": 0.6,
}


def _house_style(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """The style holds while a figure is made: the caller's own matplotlib settings are neither used nor changed."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(_STYLE):
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()  # ticks are made when first drawn, and take the settings of that moment
            figure.set_layout_engine("none")  # laid out once; saving need not do it again
        return figure

    return styled


@_house_style
def class_counts(counts: Mapping[str, Sequence[int] | None], class_names: Sequence[str]) -> Figure:
    """Images per class, one panel per role; a role of unknown classes (None, or all zero) says so."""
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
            axes.text(0.5, 0.5, "classes unknown", ha="center", va="center", color=GREY, transform=axes.transAxes)
            axes.set_xticks([])
            continue
        bars = axes.barh(np.arange(len(values)), values, color=BLUE, height=0.72 if named else 1.0)
        axes.set_xlim(0, max(*values, 1) * 1.25)  # room for the numbers beside the bars
        if named:
            axes.bar_label(bars, labels=[f"{value:,}" for value in values], padding=3, fontsize=8)
    _name_classes(panels[0], class_names, "y")
    panels[0].set_ylim(len(class_names) - 0.4, -0.6)
    return figure


@_house_style
def learning_curves(
    history: pd.DataFrame, best_epoch: int, stopped_epoch: int, stopped_early: bool, title: str
) -> Figure:
    """Loss (nats) and accuracy per epoch, training and validation, with the epoch kept and the epoch of the end.

    A history with a column `alpha` gets a third panel: α, the weight of the unlabelled loss, and `mask_rate`, the
    share of each unlabelled batch that carries a pseudo-label.
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
        axes.axvline(stopped_epoch, color=GREY, linewidth=1.3, linestyle=":", label=end)
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


@_house_style
def confidence_histogram(
    confidence: FloatArray, accepted: BoolArray, threshold: float, correct: BoolArray | None
) -> Figure:
    """How many unlabelled images get which confidence (log scale), with the threshold.

    Right and wrong pseudo-labels are drawn apart where the truth is known, else accepted and rejected ones.
    """
    figure = Figure(figsize=(PAGE_WIDTH / 2, 3.3), layout="constrained")
    axes = figure.subplots()
    names = ("accepted", "rejected") if correct is None else ("right", "wrong")
    first = accepted if correct is None else correct
    lowest = min(float(confidence.min(initial=1.0)), threshold, 0.95)
    # The threshold is an edge between bins, unless it is too near to 1: no column is half accepted.
    width = 0.0125 if 1 - threshold < 0.004 else (1 - threshold) / max(1, round((1 - threshold) / 0.0125))
    bins = 1 - width * np.arange(np.floor((1 - lowest) / width) + 1, -1, -1)
    for name, members, color, hatch in ((names[0], first, BLUE, ""), (names[1], ~first, ORANGE, "////")):
        axes.hist(
            100 * confidence[members].clip(max=1),  # float32 softmax may end a hair above 1
            list(100 * bins),
            histtype="stepfilled",
            facecolor="none" if hatch else to_rgba(color, 0.22),
            edgecolor=color,
            hatch=hatch,
            linewidth=1.3,
            label=f"{name} ({int(members.sum()):,})",
        )
    axes.axvline(100 * threshold, color=GREY, linewidth=1.3, linestyle="--", label=f"threshold {threshold:g}")
    axes.set_xlim(100 * max(bins[0], 0.0), 100)
    if confidence.size:
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(bottom=0.7)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Teacher's confidence (%)")
    axes.set_ylabel("Unlabelled images (log scale)")
    figure.legend(loc="outside lower center", ncols=3, columnspacing=1.2, handlelength=1.6)
    return figure


@_house_style
def coverage_precision(confidence: FloatArray, correct: BoolArray, accepted: BoolArray, threshold: float) -> Figure:
    """What share of the accepted labels is right (precision) as the threshold moves and accepts more (coverage).

    The point is what was accepted in fact: it lies on the line where one threshold decides alone.

    Raises:
        ValueError: no images.
    """
    if confidence.size == 0:
        raise ValueError("confidence is empty: coverage and precision need at least one image")
    order = np.argsort(-confidence, kind="stable")
    count = np.arange(1, confidence.size + 1)
    # Images of equal confidence are accepted together, so only the last of each tie is a point of the line.
    last_of_tie = np.append(np.diff(confidence[order]) != 0, True)
    coverage = (count / confidence.size)[last_of_tie]
    precision = (np.cumsum(correct[order]) / count)[last_of_tie]

    figure = Figure(figsize=(PAGE_WIDTH / 2, 3.3), layout="constrained")
    axes = figure.subplots()
    axes.plot(100 * coverage, 100 * precision, color=BLUE, marker="o" if coverage.size < MANY_POINTS else None)
    lowest = precision.min()
    if accepted.any():
        chosen = correct[accepted].mean()
        lowest = min(lowest, chosen)
        axes.plot(
            100 * accepted.mean(),
            100 * chosen,
            color=ORANGE,
            marker="D",
            markersize=7,
            linestyle="none",
            clip_on=False,
            zorder=3,
            label=f"accepted (threshold {threshold:g}): {100 * chosen:.1f} % of {100 * accepted.mean():.1f} %",
        )
        figure.legend(loc="outside lower center")
    axes.set_xlim(0, 100)
    margin = max(0.5, 8 * (1 - lowest))
    axes.set_ylim(max(0.0, 100 * lowest - margin), 100 + min(margin, 1.5) * 0.5)
    axes.set_xlabel("Coverage: share of unlabelled images accepted (%)")
    axes.set_ylabel("Precision: share of them right (%)")
    return figure


@_house_style
def picture_grid(  # noqa: PLR0917 -- five columns of one table, and what their numbers mean
    images: NDArray[np.uint8],
    labels: IntArray,
    confidences: FloatArray,
    truths: IntArray,
    groups: Sequence[str],
    class_names: Sequence[str],
) -> Figure:
    """Pseudo-labelled images (M, C, H, W), grey or RGB, in blocks of accepted, borderline and rejected.

    Under each image its pseudo-label and the teacher's confidence; a wrong one has a frame and says what it really
    is. A truth of -1 is unknown and marked neither way.
    """
    blocks = [(name, [i for i, group in enumerate(groups) if group == key]) for key, name in GROUPS.items()]
    blocks = [(name, members) for name, members in blocks if members]
    heading, cell, gap = 0.45, 1.66, 0.16  # in units of a column's width
    height = sum(heading + cell * -(-len(members) // GRID_COLUMNS) for _, members in blocks)
    unit = PAGE_WIDTH / GRID_COLUMNS
    figure = Figure(figsize=(PAGE_WIDTH, unit * max(height, 0.5)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    top = 0.0
    for name, members in blocks:
        axes.text(gap / 2, top + heading * 0.6, f"{name} ({len(members)})", weight="bold", va="center", fontsize=10)
        top += heading
        for position, i in enumerate(members):
            row, column = divmod(position, GRID_COLUMNS)
            wrong_as = class_names[truths[i]] if truths[i] not in (-1, labels[i]) else None
            corner = (column + gap / 2, top + row * cell)
            captions = (class_names[labels[i]], float(confidences[i]), wrong_as)
            _draw_example(axes, images[i], corner, 1 - gap, captions)
        top += cell * -(-len(members) // GRID_COLUMNS)
    axes.set(xlim=(0, GRID_COLUMNS), ylim=(max(top, 0.5), 0), aspect="equal")
    return figure


@_house_style
def confusion_matrix(matrix: IntArray, class_names: Sequence[str], title: str) -> Figure:
    """Counts, true class by predicted; a cell's colour is its share of the true class, so rows compare.

    The colour grows with the square root of the share: one error in a hundred should be seen. Beyond 20 classes the
    counts and names are left out.
    """
    named = len(class_names) <= MOST_NAMED_CLASSES
    figure = Figure(figsize=(PAGE_WIDTH / 2, 4.6), layout="constrained")
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
    _name_classes(axes, class_names, "x")
    _name_classes(axes, class_names, "y")
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    axes.spines[:].set_visible(True)
    axes.spines[:].set_alpha(0.4)
    bar = figure.colorbar(image, cax=axes.inset_axes((1.04, 0, 0.035, 1)), ticks=[0, 0.01, 0.1, 0.25, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=None))
    bar.set_label("Share of the true class (%)")
    bar.outline.set_alpha(0.4)
    return figure


@_house_style
def accuracy_comparison(models: Mapping[str, tuple[float, float, float]]) -> Figure:
    """Test accuracy of each model as a point with its interval; values are (estimate, low, high), fractions."""
    figure = Figure(figsize=(PAGE_WIDTH, 0.75 + 0.42 * len(models)), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=False)
    axes.grid(visible=True, axis="x")
    for row, (estimate, low, high) in enumerate(models.values()):
        color = BLUE if row else GREY
        axes.plot([100 * low, 100 * high], [row, row], color=color, linewidth=4, alpha=0.4, solid_capstyle="round")
        axes.plot(100 * estimate, row, color=color, marker="o", markersize=8)
        digits = 2 if high - low < 0.01 else 1  # no more than the interval justifies
        text, above = f"{100 * estimate:.{digits}f} %", (0, 8)
        axes.annotate(text, (100 * estimate, row), above, textcoords="offset points", ha="center", fontsize=8.5)
    axes.set_yticks(range(len(models)), list(models))
    axes.set_ylim(len(models) - 0.5, -0.75)
    axes.margins(x=0.12)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("Test accuracy (%), with 95 % intervals")
    return figure


def save_png(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Writes the figure on white, without the traces (date, software) that would make equal figures differ."""
    figure.savefig(path, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})


def inline_svg(figure: Figure, label: str = "") -> str:
    """One <svg> element to put into a page: scalable, transparent, with real text in the page's own font.

    Text and axes take the colour of the surrounding text, so that the figure reads in light and dark mode. `label`
    is what a screen reader says. Ids begin with a digest of the picture: figures on one page do not clash, and equal
    figures are equal bytes.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "semisup", "svg.image_inline": True}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", facecolor="none", metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    # Its one rule would hold for the whole page; the root's own style says the same.
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    prefix = "f" + hashlib.sha256(svg.encode()).hexdigest()[:10]
    # Within tags only: a class may be called 'url(#a)' or '#1f2328'.
    svg = re.sub(r"<[^>]*>", lambda tag: _adapt_tag(tag.group(), prefix), svg)
    width, height = (float(size) for size in re.findall(r'(?:width|height)="([\d.]+)pt"', svg)[:2])
    spoken = f' role="img" aria-label="{html.escape(label)}"' if label else ' aria-hidden="true"'
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}"{spoken}'
        ' style="stroke-linejoin: round; stroke-linecap: butt">'
    )
    return root + re.sub(r"\s*\n\s*", "\n", svg[svg.index(">") + 1 :])


def _adapt_tag(tag: str, prefix: str) -> str:
    tag = re.sub(r'\bid="', f'id="{prefix}-', tag)
    tag = re.sub(r"url\(#", f"url(#{prefix}-", tag)
    tag = re.sub(r'xlink:href="(#?)', lambda m: f'href="#{prefix}-' if m.group(1) else 'href="', tag)
    tag = tag.replace(INK, "currentColor")
    if tag.startswith("<text"):
        tag = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", tag)
        tag = re.sub(r"(font: [^;\"']*px )[^;\"]*", r"\1system-ui, sans-serif", tag)  # matplotlib's shorthand
    return tag


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
    axes.set_ylabel("α (weight of the unlabelled loss)", color=PURPLE)
    axes.set_ylim(0, 1.08 * max(float(history["alpha"].max()), 1e-6))
    right = axes.twinx()
    right.plot(epochs, 100 * history["mask_rate"], marker=marker, color=TEAL, linestyle="--")
    right.set_ylabel("Mask rate (% of the batch, dashed)", color=TEAL)
    right.set_ylim(0, 108)
    right.grid(visible=False)


def _marker(history: pd.DataFrame) -> str:
    return "o" if len(history) < MANY_POINTS else ""


def _draw_example(
    axes: Axes,
    image: NDArray[np.uint8],
    corner: tuple[float, float],
    size: float,
    captions: tuple[str, float, str | None],
) -> None:
    """One image (C, H, W) with its pseudo-label, confidence and, where the pseudo-label is wrong, its true class."""
    label, confidence, wrong_as = captions
    channels, rows, columns = image.shape
    pixels = image.transpose(1, 2, 0) if channels == 3 else image[0]
    width, height = size * columns / max(rows, columns), size * rows / max(rows, columns)
    left, top = corner[0] + (size - width) / 2, corner[1] + (size - height) / 2
    extent = (left, left + width, top + height, top)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="none")
    middle, line = corner[0] + size / 2, corner[1] + size + 0.13
    axes.text(middle, line, _short(label, 10), ha="center", va="center", fontsize=7.5)
    # Floored, not rounded: 99.96 % must not read as certainty.
    certainty = f"{np.floor(1000 * confidence) / 10:.1f} %"
    axes.text(middle, line + 0.175, certainty, ha="center", va="center", fontsize=7.5, alpha=0.7)
    if wrong_as is not None:
        axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=RED, linewidth=3))
        truth = f"is {_short(wrong_as, 10)}"
        axes.text(middle, line + 0.35, truth, ha="center", va="center", fontsize=7.5, color=RED, weight="bold")


def _name_classes(axes: Axes, class_names: Sequence[str], side: str) -> None:
    axis = axes.xaxis if side == "x" else axes.yaxis
    if len(class_names) > MOST_NAMED_CLASSES:
        axis.set_major_locator(MaxNLocator(8, integer=True))
        axis.set_label_text("Class (number)")
        return
    names = [_short(name) for name in class_names]
    slanted = side == "x" and max(map(len, names)) > 3
    turn: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axis.set_ticks(range(len(names)), names, **turn)
    axis.set_tick_params(length=0)
    axis.set_label_text("Class")


def _short(name: str, most: int = 14) -> str:
    name = " ".join(name.split())
    return name if len(name) <= most else name[: most - 1] + "…"
