"""What the figures of confidence show, read back from their artists."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from semisup.calibration.certificate import certify
from semisup.calibration.measures import expected_calibration_error, reliability
from semisup.plots import certificate_walk, inline_svg, reliability_diagram


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))


def table() -> Any:
    """Two bins: 4 images of confidence 0.95, half of them right; 2 of 0.55, all right."""
    return reliability(np.array([0.95] * 4 + [0.55] * 2), np.array([True, True, False, False, True, True]))


def walk(right: float, images: int = 400) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    pool, confidence = 1 - 0.2 * rng.random(1_000), 1 - 0.2 * rng.random(images)
    return asdict(certify(confidence, rng.random(images) < right, pool, 0.95, 0.95))


def every_figure() -> list[Figure]:
    return [
        reliability_diagram({"Student": table()}),
        reliability_diagram({"Before": table(), "After": table()}),
        certificate_walk(walk(0.999)),
        certificate_walk(walk(0.5)),
        certificate_walk(walk(1.0, images=5)),
    ]


def test_every_figure_cuts_no_text_off_and_becomes_a_part_of_a_page():
    for figure in every_figure():
        drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert -0.01 <= drawn.x0 <= drawn.x1 <= width + 0.01
        assert -0.01 <= drawn.y0 <= drawn.y1 <= height + 0.01
        assert inline_svg(figure).startswith("<svg")


def test_a_panel_says_its_calibration_error_and_how_many_images_each_bin_holds():
    confidence, correct = np.array([0.95] * 4 + [0.55] * 2), np.array([True, True, False, False, True, True])
    figure = reliability_diagram({"Before": table(), "After": table()})
    # 4 images miss 0.45, 2 images exceed by 0.45.
    error = expected_calibration_error(confidence, correct)
    assert error == pytest.approx(0.45)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Before: ECE 45.0 %", "After: ECE 45.0 %"]
    counts = [text.get_text() for text in figure.axes[0].texts]
    assert counts == ["0", "0", "0", "0", "0", "2", "0", "0", "0", "4", "images"]


def test_bars_reach_the_accuracy_and_hatched_gaps_reach_from_there_to_the_confidence():
    axes = reliability_diagram({"Student": table()}).axes[0]
    bars = [bar for bar in axes.patches if isinstance(bar, Rectangle)]
    spans = {(bar.get_hatch() or "", round(bar.get_x())): (bar.get_y(), bar.get_y() + bar.get_height()) for bar in bars}
    assert spans["", 90] == pytest.approx((0, 50))
    assert spans["", 50] == pytest.approx((0, 100))
    assert spans["////", 90] == pytest.approx((50, 95))  # over-confident
    assert spans["....", 50] == pytest.approx((55, 100))  # under-confident
    assert len(spans) == 4
    assert {"over-confident", "under-confident"} <= set(words(axes.figure).splitlines())


def test_the_walk_draws_every_test_and_marks_the_threshold_certified():
    certificate = walk(0.999)
    assert certificate["certified"]
    lines = {str(line.get_label()): line for line in certificate_walk(certificate).axes[0].lines}
    path = certificate["path"]
    np.testing.assert_allclose(
        lines["upper bound (95 % sure)"].get_ydata(), [100 * step["upper_bound"] for step in path]
    )
    np.testing.assert_allclose(
        lines["errors seen"].get_ydata(), [100 * step["errors"] / step["accepted"] for step in path]
    )
    assert lines["allowed: 5 %"].get_ydata()[0] == pytest.approx(5)
    (marked,) = [line for label, line in lines.items() if label.startswith("certified")]
    assert marked.get_xdata()[0] == pytest.approx(100 * certificate["share"])
    assert marked.get_ydata()[0] == pytest.approx(100 * certificate["upper_bound"])


def test_a_walk_that_fails_at_once_says_that_nothing_is_certified():
    assert "nothing certified" in words(certificate_walk(walk(0.5)))
    assert "nothing certified" not in words(certificate_walk(walk(0.999)))
