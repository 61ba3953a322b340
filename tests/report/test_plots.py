"""What a figure shows is read back from its artists and its SVG; nobody here compares pixels with stored ones."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from semisup import plots
from semisup.plots import style


def assert_close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected)


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))


def history(epochs: int, joint: bool = False) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    columns: dict[str, Any] = {"epoch": epoch}
    for part in ("train", "validation"):
        columns |= {f"{part}_loss": 1 / epoch, f"{part}_accuracy": 1 - 0.5 / epoch}
    if joint:
        columns |= {"alpha": epoch / epochs, "mask_rate": np.full(epochs, 0.8)}
    return pd.DataFrame(columns)


def grid(truths: list[int], channels: int = 1) -> Figure:
    count = len(truths)
    images = np.arange(count * channels * 64, dtype=np.int64).reshape(count, channels, 8, 8).astype(np.uint8)
    groups = ["accepted", "borderline", "rejected"] * count
    return plots.picture_grid(
        images, np.zeros(count, int), np.full(count, 0.9996), np.array(truths), groups[:count], ["cat", "dog"]
    )


def compound() -> Figure:
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 8, 8), dtype=np.uint8)
    truths = np.tile([0, 1], (5, 1))
    return plots.compound_grid(images, truths, {"Baseline": truths, "Student": truths[:, ::-1]}, ["cat", "dog"])


def every_figure() -> list[Figure]:
    confidence, correct = np.array([0.5, 0.9, 0.96, 0.99]), np.array([False, True, True, True])
    return [
        plots.class_counts({"labeled": [3, 4], "unlabeled": None}, ["cat", "dog"]),
        plots.learning_curves(history(20), 7, 20, True, "Baseline"),
        plots.learning_curves(history(20, joint=True), 7, 20, False, "Student"),
        plots.confidence_histogram(confidence, confidence >= 0.95, 0.95, correct),
        plots.confidence_histogram(confidence, confidence >= 0.95, 0.95, None),
        plots.coverage_precision(confidence, correct, confidence >= 0.95, 0.95),
        grid([0, 1, -1]),
        plots.confusion_matrix(np.array([[3, 1], [0, 4]]), ["cat", "dog"], "Student"),
        plots.accuracy_comparison({"Baseline": (0.9, 0.88, 0.92), "Student": (0.95, 0.94, 0.96)}),
        compound(),
    ]


def test_every_figure_keeps_the_callers_settings_and_cuts_no_text_off() -> None:
    before = dict(mpl.rcParams)
    for figure in every_figure():
        drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert -0.01 <= drawn.x0 <= drawn.x1 <= width + 0.01
        assert -0.01 <= drawn.y0 <= drawn.y1 <= height + 0.01
    assert dict(mpl.rcParams) == before


def test_every_axis_with_ticks_has_a_label() -> None:
    for figure in every_figure():
        for axes in figure.axes:
            if axes.axison and axes.get_xticks().size and not axes.get_xlabel():
                assert axes.get_ylabel(), figure  # a color bar or a twin has one axis of its own


def test_inline_svgs_of_one_page_share_no_id_and_keep_every_reference() -> None:
    seen: set[str] = set()
    for figure in every_figure():
        svg = plots.inline_svg(figure, "a figure")
        ids = re.findall(r'\bid="([^"]*)"', svg)
        references = set(re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', svg))
        assert len(ids) == len(set(ids))
        assert {one or other for one, other in references} <= set(ids)
        assert seen.isdisjoint(ids)
        seen |= set(ids)


def test_inline_svg_is_one_element_that_takes_color_and_font_from_the_page() -> None:
    for figure in every_figure():
        svg = plots.inline_svg(figure, 'says "a" & b')
        root = ET.fromstring(svg)
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"] == 'says "a" & b'
        assert "currentColor" in svg
        assert "DejaVu" not in svg
        assert "#000000" not in svg  # matplotlib's own black: an artist that missed the house style
        assert style.INK not in svg
        assert "<style" not in svg  # it would hold for the whole page
        assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]


def test_equal_figures_are_equal_bytes(tmp_path: Path) -> None:
    for number, (first, second) in enumerate(zip(every_figure(), every_figure(), strict=True)):
        assert plots.inline_svg(first) == plots.inline_svg(second)
        plots.save_png(first, tmp_path / f"{number}a.png", dpi=50)
        plots.save_png(second, tmp_path / f"{number}b.png", dpi=50)
        assert (tmp_path / f"{number}a.png").read_bytes() == (tmp_path / f"{number}b.png").read_bytes()


def test_save_png_is_opaque_white_at_the_asked_resolution(tmp_path: Path) -> None:
    plots.save_png(grid([0]), tmp_path / "grid.png", dpi=40)
    with Image.open(tmp_path / "grid.png") as image:
        assert image.width == 40 * style.PAGE_WIDTH
        assert image.convert("RGBA").getpixel((image.width - 1, image.height - 1)) == (255, 255, 255, 255)


def test_svg_shows_hostile_class_names_as_text_and_never_as_markup_or_mathematics() -> None:
    names = ["$x$", '<b>"&', "url(#a)", 'id="a"', style.INK]
    svg = plots.inline_svg(plots.confusion_matrix(np.eye(5, dtype=int), names, "$t$"))
    shown = ["".join(text.itertext()) for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {*names, "$t$"} <= set(shown)


@pytest.mark.parametrize(("early", "end"), [(True, "stopped early (epoch 20)"), (False, "last epoch (20)")])
def test_learning_curves_mark_the_epoch_kept_and_the_end(early: bool, end: str) -> None:
    figure = plots.learning_curves(history(20), 7, 20, early, "Baseline")
    assert "weights kept (epoch 7)" in words(figure)
    assert end in words(figure)
    assert len(figure.axes) == 2
    kept = [line for line in figure.axes[0].get_lines() if str(line.get_label()).startswith("weights kept")]
    assert_close(kept[0].get_xydata(), [[7, 1 / 7]])  # the validation loss of epoch 7


def test_learning_curves_of_a_joint_run_show_alpha_and_mask_rate_in_percent() -> None:
    figure = plots.learning_curves(history(20, joint=True), 7, 20, True, "Student")
    alpha, mask_rate = figure.axes[2], figure.axes[3]
    assert_close(alpha.get_lines()[0].get_ydata(), np.arange(1, 21) / 20)
    assert_close(mask_rate.get_lines()[0].get_ydata(), 80)


def test_a_single_epoch_is_still_seen() -> None:
    figure = plots.learning_curves(history(1), 1, 1, False, "Baseline")
    assert all(line.get_marker() == "o" for line in figure.axes[0].get_lines()[:2])


def test_confidence_histogram_counts_every_image_and_splits_no_column_at_the_threshold() -> None:
    confidence = np.random.default_rng(0).uniform(0.3, 1, 500)
    accepted = confidence >= 0.93
    figure = plots.confidence_histogram(confidence, accepted, 0.93, None)
    text = words(figure)
    assert f"accepted ({accepted.sum()})" in text
    assert f"rejected ({(~accepted).sum()})" in text
    accepted_outline = figure.axes[0].patches[0].get_path().vertices
    assert accepted_outline is not None
    filled = np.asarray(accepted_outline)
    assert filled[filled[:, 1] > 1][:, 0].min() == pytest.approx(93)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.999, 1.0])
def test_confidence_histogram_takes_every_threshold_and_an_empty_table(threshold: float) -> None:
    for confidence in (np.array([]), np.array([0.1, 1.0])):
        accepted = confidence >= threshold
        plots.inline_svg(plots.confidence_histogram(confidence, accepted, threshold, None))


def test_coverage_precision_is_the_running_share_of_right_labels_at_each_distinct_confidence() -> None:
    confidence = np.array([0.9, 0.8, 0.8, 0.6])
    correct = np.array([True, False, True, False])
    figure = plots.coverage_precision(confidence, correct, confidence >= 0.8, 0.8)
    line, chosen = figure.axes[0].get_lines()
    assert_close(line.get_xydata(), [[25, 100], [75, 200 / 3], [100, 50]])
    assert_close(chosen.get_xydata(), [[75, 200 / 3]])


def test_coverage_precision_of_nothing_is_an_error() -> None:
    nothing = np.array([], dtype=bool)
    with pytest.raises(ValueError, match="confidence is empty"):
        plots.coverage_precision(np.array([]), nothing, nothing, 0.9)


def test_picture_grid_frames_and_names_exactly_the_wrong_ones() -> None:
    figure = grid([0, 1, -1, 1])  # every pseudo-label is class 0
    frames = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert len(frames) == 2
    assert words(figure).count("is dog") == 2


def test_picture_grid_never_rounds_a_confidence_up_to_certainty() -> None:
    assert "99.9 %" in words(grid([0]))  # of 0.9996
    assert "100" not in words(grid([0]))


@pytest.mark.parametrize("channels", [1, 3])
def test_picture_grid_shows_the_pixels_as_they_are(channels: int) -> None:
    (picture,) = grid([0], channels).axes[0].get_images()
    pixels = np.arange(channels * 64).reshape(channels, 8, 8)
    np.testing.assert_array_equal(picture.get_array(), pixels.transpose(1, 2, 0) if channels == 3 else pixels[0])
    assert picture.get_interpolation() == "none"


def test_picture_grid_of_no_pictures_is_a_figure() -> None:
    plots.inline_svg(grid([]))


def test_confusion_matrix_writes_counts_and_colors_the_share_of_the_row() -> None:
    figure = plots.confusion_matrix(np.array([[30, 10], [0, 0]]), ["cat", "dog"], "Student")
    assert_close(figure.axes[0].get_images()[0].get_array(), [[0.75, 0.25], [0, 0]])
    assert {"30", "10"} <= set(words(figure).split("\n"))


def test_confusion_matrix_of_many_classes_has_neither_counts_nor_names() -> None:
    names = [f"class {index}" for index in range(21)]
    figure = plots.confusion_matrix(777 * np.eye(21, dtype=int), names, "Student")
    assert "777" not in words(figure)
    assert "class 7" not in words(figure)


def test_class_counts_of_unknown_classes_say_so_and_so_does_a_role_without_images() -> None:
    counts = {"labeled": [1200, 0], "unlabeled": [0, 0], "validation": [0, 0], "test": None}
    figure = plots.class_counts(counts, ["cat", "dog"])
    assert words(figure).count("classes unknown") == 2
    assert words(figure).count("no images") == 1
    assert "1,200" in words(figure)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_written_beside_an_axis_is_not_cut_off_where_ticks_have_wide_numbers(seed):
    """Ticks that are made while a picture is saved are those that room was made for."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.3, 1, 576)
    correct = rng.uniform(size=576) < np.clip(confidence + 0.25 * rng.uniform(), 0, 1)
    svg = plots.inline_svg(plots.coverage_precision(confidence, correct, confidence >= 0.8, 0.8))
    (x,) = re.findall(r'<text[^>]* x="([\d.]+)"[^>]*>Precision: share', svg)
    assert float(x) >= 9  # its letters of 9 points stand left of it
