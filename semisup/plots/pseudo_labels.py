"""What the teacher made of the unlabeled images."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from semisup.data.own_images.reading.many import as_picture
from semisup.plots.style import (
    BLUE,
    GRAY,
    MANY_POINTS,
    ORANGE,
    PAGE_WIDTH,
    RED,
    BoolArray,
    FloatArray,
    IntArray,
    house_style,
    short,
)
from semisup.wording import counted

GRID_COLUMNS = 12
GROUPS = {"accepted": "Accepted", "borderline": "Borderline", "rejected": "Rejected", "errors": "Most confident errors"}
HEADING, CELL, GAP = 0.45, 1.66, 0.16
"""Of a grid of images, in units of a column's width."""


@house_style
def confidence_histogram(
    confidence: FloatArray, accepted: BoolArray, threshold: float, correct: BoolArray | None
) -> Figure:
    """How many unlabeled images get which confidence (log scale), with the threshold.

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
    axes.axvline(100 * threshold, color=GRAY, linewidth=1.3, linestyle="--", label=f"threshold {threshold:g}")
    axes.set_xlim(100 * max(bins[0], 0.0), 100)
    if confidence.size:
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(bottom=0.7)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Confidence (%)")
    axes.set_ylabel("Unlabeled images (log scale)")
    figure.legend(loc="outside lower center", ncols=3, columnspacing=1.2, handlelength=1.6)
    return figure


@house_style
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
    axes.set_xlabel("Coverage: share of unlabeled images accepted (%)")
    axes.set_ylabel("Precision: share of them right (%)")
    return figure


@house_style
def picture_grid(  # noqa: PLR0917 -- five columns of one table, and what their numbers mean
    images: NDArray[np.uint8],
    labels: IntArray,
    confidences: FloatArray,
    truths: IntArray,
    groups: Sequence[str],
    class_names: Sequence[str],
) -> Figure:
    """Pseudo-labeled images (M, C, H, W), gray or RGB, in blocks of accepted, borderline and rejected; or test images.

    Under each image its label and the confidence; a wrong one has a frame and says what it really
    is. A truth of -1 is unknown and marked neither way.
    """
    blocks = [(name, [i for i, group in enumerate(groups) if group == key]) for key, name in GROUPS.items()]
    blocks = [(name, members) for name, members in blocks if members]
    height = max(sum(HEADING + CELL * -(-len(members) // GRID_COLUMNS) for _, members in blocks), 0.5)
    axes = _grid_of(height)
    top = 0.0
    for name, members in blocks:
        axes.text(GAP / 2, top + HEADING * 0.6, f"{name} ({len(members)})", weight="bold", va="center", fontsize=10)
        top += HEADING
        for position, i in enumerate(members):
            row, column = divmod(position, GRID_COLUMNS)
            wrong_as = class_names[truths[i]] if truths[i] not in (-1, labels[i]) else None
            corner = (column + GAP / 2, top + row * CELL)
            captions = (class_names[labels[i]], _certainty(confidences[i]), wrong_as)
            _draw_example(axes, images[i], corner, 1 - GAP, captions)
        top += CELL * -(-len(members) // GRID_COLUMNS)
    return _end(axes, height)


@house_style
def neighbor_grid(  # noqa: PLR0917 -- columns of one table, and what their numbers mean
    images: NDArray[np.uint8],
    labels: IntArray,
    confidences: FloatArray,
    neighbor_labels: IntArray,
    cosines: FloatArray,
    class_names: Sequence[str],
) -> Figure:
    """Pseudo-labeled images, each followed by the labeled ones that are nearest to it.

    `images` (Q, 1 + K, C, H, W), gray or RGB: under the first of each row its pseudo-label (Q,) and confidence (Q,),
    under the others their label (Q, K) and how near they are, a cosine (Q, K); a red frame marks another class.
    """
    width = images.shape[1] + 1  # one place is left free
    across = max(1, GRID_COLUMNS // width)
    height = CELL * max(1, -(-len(images) // across))
    axes = _grid_of(height)
    for number, row in enumerate(images):
        down, right = divmod(number, across)
        captions = [(class_names[labels[number]], _certainty(confidences[number]), None)]
        for label, cosine in zip(neighbor_labels[number], cosines[number], strict=True):
            captions.append((class_names[label], f"{cosine:.2f}", None))
        for place, (image, caption) in enumerate(zip(row, captions, strict=True)):
            corner = (right * width + place + (0.3 if place else 0) + GAP / 2, CELL * down + GAP / 2)
            other = place > 0 and neighbor_labels[number][place - 1] != labels[number]
            _draw_example(axes, image, corner, 1 - GAP, caption, framed=other)
    return _end(axes, height)


@house_style
def group_grid(images: NDArray[np.uint8], groups: IntArray, sizes: Sequence[int]) -> Figure:
    """Images that look alike, a group in each line.

    `images` (N, C, H, W), gray or RGB, lie in `groups` (N,), numbered from 1, of `sizes` images in all.
    """
    shown = np.unique(groups)
    height = CELL * max(1, len(shown))
    axes = _grid_of(height)
    for line, group in enumerate(shown):
        for place, image in enumerate(images[groups == group][:GRID_COLUMNS]):
            text = counted(int(sizes[group - 1]), "image") if not place else ""
            caption = (f"group {group}" if not place else "", text, None)
            _draw_example(axes, image, (place + GAP / 2, CELL * line + GAP / 2), 1 - GAP, caption)
    return _end(axes, height)


def _grid_of(height: float) -> Axes:
    """Room for GRID_COLUMNS images in a row, `height` columns high."""
    figure = Figure(figsize=(PAGE_WIDTH, PAGE_WIDTH / GRID_COLUMNS * height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    return axes


def _end(axes: Axes, height: float) -> Figure:
    """The figure; only now, for every image that is drawn sets the limits anew."""
    axes.set(xlim=(0, GRID_COLUMNS), ylim=(height, 0), aspect="equal")
    figure = axes.figure
    assert isinstance(figure, Figure)
    return figure


def _certainty(confidence: float) -> str:
    """Floored, not rounded: 99.96 % must not read as certainty."""
    return f"{np.floor(1000 * float(confidence)) / 10:.1f} %"


def _draw_example(
    axes: Axes,
    image: NDArray[np.uint8],
    corner: tuple[float, float],
    size: float,
    captions: tuple[str, str, str | None],
    *,
    framed: bool = False,
) -> None:
    """One image (C, H, W) with its label, a figure and, where the label is wrong, its true class and a frame."""
    label, figure, wrong_as = captions
    rows, columns = image.shape[1:]
    pixels = as_picture(image)
    width, height = size * columns / max(rows, columns), size * rows / max(rows, columns)
    left, top = corner[0] + (size - width) / 2, corner[1] + (size - height) / 2
    extent = (left, left + width, top + height, top)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="none")
    middle, line = corner[0] + size / 2, corner[1] + size + 0.13
    axes.text(middle, line, short(label, 10), ha="center", va="center", fontsize=7.5)
    axes.text(middle, line + 0.175, figure, ha="center", va="center", fontsize=7.5, alpha=0.7)
    if wrong_as is not None or framed:
        axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=RED, linewidth=3))
    if wrong_as is not None:
        truth = f"is {short(wrong_as, 10)}"
        axes.text(middle, line + 0.35, truth, ha="center", va="center", fontsize=7.5, color=RED, weight="bold")
