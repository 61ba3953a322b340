"""What a benchmark's table says of figures beside those kept before."""

import pytest

from benchmarks import output
from benchmarks.output import Figure, publish_figures, worse_than_before


@pytest.mark.parametrize(
    ("goal", "median", "expected"),
    [
        ("≤ 1.03", 1.05, "as before"),
        ("≤ 1.03", 1.30, "WORSE"),
        ("≤ 1.03", 0.90, "better"),
        ("≥ 1.3", 1.30, "better"),
        ("≥ 1.3", 0.90, "WORSE"),
    ],
)
def test_a_figure_is_worse_where_it_lies_beyond_every_turn_of_before_on_the_wrong_side(goal, median, expected):
    assert Figure.of("speed", [median] * 3, goal).against({"lowest": 1.0, "highest": 1.1}) == expected


def test_what_is_kept_is_what_the_next_run_is_held_against(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(output, "RESULTS", tmp_path)
    first, second = ([Figure.of("a ratio", values, "≤ 2")] for values in ([1.0, 1.1, 1.2], [1.4, 1.5, 1.6]))
    assert worse_than_before("part", first) == []
    publish_figures("part", first)
    assert worse_than_before("part", second) == ["a ratio"]
    publish_figures("part", second)
    assert "WORSE" in capsys.readouterr().out
