"""The one quiet house style, and how a figure becomes a file or a part of a page."""

import hashlib
import html
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

P = ParamSpec("P")
BoolArray: TypeAlias = NDArray[np.bool_]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]

INK = "#1f2328"  # text and axes; becomes currentColor in inline SVG, so no data may be drawn in it
# Mid-tones: legible on white and on near-black.
BLUE, ORANGE, TEAL, PURPLE, RED, GRAY = "#3a7fc1", "#e0812b", "#259a8b", "#9270c4", "#d6404f", "#8b929c"

PAGE_WIDTH = 10.0  # inches
MOST_NAMED_CLASSES = 20  # beyond it, names and counts would be too small to read
MANY_POINTS = 12  # a shorter line is drawn with markers: a single epoch has no line at all

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


def house_style(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """The style holds while a figure is made: the caller's own matplotlib settings are neither used nor changed."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(_STYLE):
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()  # ticks are made when first drawn, and take the settings of that moment
            figure.set_layout_engine("none")  # laid out once; saving need not do it again
        return figure

    return styled


def save_png(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Writes the figure on white, without the traces (date, software) that would make equal figures differ."""
    with _printable(figure, "white", dpi):
        FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})


def inline_svg(figure: Figure, label: str = "") -> str:
    """One <svg> element to put into a page: scalable, transparent, with real text in the page's own font.

    Text and axes take the color of the surrounding text, so that the figure reads in light and dark mode. `label`
    is what a screen reader says. Ids begin with a digest of the picture: figures on one page do not clash, and equal
    figures are equal bytes.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "semisup", "svg.image_inline": True}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        with _printable(figure, "none", figure.dpi):
            FigureCanvasSVG(figure).print_svg(buffer, metadata=nothing)
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


@contextmanager
def _printable(figure: Figure, background: str, dpi: float) -> Iterator[None]:
    """As `Figure.savefig` does, which would draw once more for a layout that is made already.

    In the house style, as room was made for: how many ticks there are hangs on the size that is set for their labels.
    """
    before = figure.get_facecolor(), figure.dpi
    figure.set_facecolor(background)
    figure.dpi = dpi
    try:
        with mpl.rc_context(_STYLE):
            yield
    finally:
        figure.set_facecolor(before[0])
        figure.dpi = before[1]


def _adapt_tag(tag: str, prefix: str) -> str:
    tag = re.sub(r'\bid="', f'id="{prefix}-', tag)
    tag = re.sub(r"url\(#", f"url(#{prefix}-", tag)
    tag = re.sub(r'xlink:href="(#?)', lambda m: f'href="#{prefix}-' if m.group(1) else 'href="', tag)
    tag = tag.replace(INK, "currentColor")
    if tag.startswith("<text"):
        tag = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", tag)
        tag = re.sub(r"(font: [^;\"']*px )[^;\"]*", r"\1system-ui, sans-serif", tag)  # matplotlib's shorthand
    return tag


def figure_of_rows(names: Sequence[str], *, head: float, above: float) -> tuple[Figure, Axes]:
    """A figure of one row for each name, the first on top, whose values lie along the x axis.

    `head` is its height in inches without the rows, `above` the room over the first one, in rows.
    """
    figure = Figure(figsize=(PAGE_WIDTH, head + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=False)
    axes.grid(visible=True, axis="x")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -above)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return figure, axes


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
