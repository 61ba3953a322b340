"""What a benchmark's table says of figures beside those kept before."""

import json

import pytest

from benchmarks import output
from benchmarks.few_labels import accuracy
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


def test_seeds_measured_later_join_those_kept_and_each_column_is_over_the_seeds_that_have_it(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "RESULTS", tmp_path)
    first, other = accuracy.SETTINGS[:2]
    ours = [0.98, 0.97, 0.99, 0.96]

    def rows(*seeds: int) -> list[dict[str, float]]:
        return [
            {"seed": seed, "ours": ours[seed], "CPU s": 60, "supervised": ours[seed] - 0.01, "its CPU s": 61}
            for seed in seeds
        ]

    accuracy.keep(first, rows(0, 3))
    accuracy.keep(other, rows(1))
    monkeypatch.setattr(accuracy, "_version", lambda: "later")
    accuracy.keep(first, [{"seed": 0, "SelfTraining": 0.8, "SelfTraining, CPU s": 9}])
    accuracy.keep(first, [{"seed": 7, "LabelSpreading": 0.9, "LabelSpreading, CPU s": 5}])
    accuracy.keep(first, rows(1, 2))
    accuracy.keep(first, [{**rows(0)[0], "ours": 0.5}, *rows(0)])  # measured again: the later figure stands
    line, beside = json.loads((tmp_path / "accuracy.json").read_text())["rows"]
    assert [row["seed"] for row in line["by seed"]] == [0, 1, 2, 3, 7]
    assert line["seeds"] == 4
    assert line["ours"].startswith("97.50 ± 1.29")  # the sample's: √(5/3)
    assert line["worst seed"] == "96.00 (seed 3)"
    assert line["gain"].startswith("+1.00")
    assert line["by seed"][3]["made by"]["ours"] != "later"
    assert line["by seed"][0]["made by"]["SelfTraining"] == line["by seed"][1]["made by"]["ours"] == "later"
    assert line["LabelSpreading"] == "90.00 in 5 s, 1 seed"
    assert (beside["setting"], beside["seeds"], beside["ours"]) == (other.name, 1, "97.00")
