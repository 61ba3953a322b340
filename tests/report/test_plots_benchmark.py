"""What the figures of a benchmark show is read back from their artists."""

from io import BytesIO

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from semisup.evaluation.comparison import spread
from semisup.plots.benchmark import accuracy_by_seed, label_efficiency


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))


def is_whole(figure: Figure) -> bool:
    """Does nothing that can be seen reach outside the figure (but for a hundredth of an inch)?"""
    figure.savefig(BytesIO(), format="png")
    seen, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return min(seen.x0, seen.y0) > -0.01 and seen.x1 < width + 0.01 and seen.y1 < height + 0.01


def dots(*accuracies: float) -> Figure:
    values, seeds = list(accuracies), list(range(len(accuracies)))
    said = spread(values, seeds)
    return accuracy_by_seed([("digits", "baseline", values, said), ("a name" * 12, "student", values, said)])


def test_every_seed_is_a_point_and_the_mean_a_stroke_with_its_figure():
    axes = dots(0.9, 0.92, 0.94).axes[0]
    points = [line for line in axes.lines if line.get_marker() == "o"]
    means = [line for line in axes.lines if line.get_marker() == "|"]
    for line in points:
        np.testing.assert_allclose(line.get_xdata(), [90, 92, 94])
    assert [float(np.asarray(line.get_xdata())[0]) for line in means] == pytest.approx([92, 92])
    assert "92.00" in words(dots(0.9, 0.92, 0.94))


def test_one_seed_has_no_bar_and_says_so():
    figure = dots(0.9)
    assert [line for line in figure.axes[0].lines if len(np.asarray(line.get_xdata())) == 2] == []
    assert "nothing can be said" in words(figure)


def test_the_lines_of_label_efficiency_run_through_the_means():
    supervised, student = np.array([[0.5, 0.7], [0.8, 0.9]]), np.array([[0.6, 0.8], [0.9, 0.9]])
    axes = label_efficiency([50, 100], {"supervised": supervised, "semi-supervised": student}).axes[0]
    lines = {str(line.get_label()): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(lines["supervised"], [60, 85])
    np.testing.assert_allclose(lines["semi-supervised"], [70, 90])
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["50", "100"]


@pytest.mark.parametrize("labels", [[50], [50, 60, 70], [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000]])
@pytest.mark.parametrize("seeds", [1, 5])
def test_nothing_reaches_outside_a_figure(labels, seeds):
    values = np.linspace(0.5, 0.99, len(labels) * seeds).reshape(len(labels), seeds)
    figure = label_efficiency(labels, {"supervised": values - 0.01, "semi-supervised": values}, "digits, 5 seeds")
    assert is_whole(figure)
    assert is_whole(dots(*values[0]))
