"""The result of a pipeline run, as JSON, as rows of a table and as Markdown, from figures written by hand."""

import json
import re
from dataclasses import replace

import pytest

from flows.pipeline.results import PipelineResult, StageResult, rows

EVALUATE = {
    "baseline_test_accuracy": 0.8,
    "baseline_test_accuracy_low": 0.75,
    "baseline_test_accuracy_high": 0.85,
    "baseline_macro_f1": 0.79,
    "student_test_accuracy": 0.905,
    "student_test_accuracy_low": 0.87,
    "student_test_accuracy_high": 0.93,
    "test_accuracy_difference": 0.105,
    "test_accuracy_difference_low": 0.06,
    "test_accuracy_difference_high": 0.15,
    "mcnemar_p": 0.000123,
}
PSEUDO = {"coverage": 0.625, "accepted": 625, "unlabeled": 1000}
PRECISION = {"precision": 0.984, "precision_low": 0.97, "precision_high": 0.993}


def a_result(pseudo: dict[str, float]) -> PipelineResult:
    stages = {
        "split": StageResult("run-1", "d1", 0.12345, {}),
        "labels": StageResult("run-2", "d2", 1.5, pseudo, reused=True),
        "evaluate": StageResult("run-3", "d3", 2.0, EVALUATE),
    }
    page = "http://127.0.0.1:5000/#/experiments/1/runs/run-0"
    return PipelineResult("run-0", 3.98765, stages, "student better", "report.html", page, "the champion stays")


def test_the_json_result_names_every_stage_with_its_run_its_seconds_and_whether_it_was_reused():
    result = a_result(PSEUDO | PRECISION).as_json()
    assert (result["run_id"], result["seconds"]) == ("run-0", 3.988)
    assert result["stages"] == {
        "split": {"run_id": "run-1", "seconds": 0.123, "reused": False},
        "labels": {"run_id": "run-2", "seconds": 1.5, "reused": True},
        "evaluate": {"run_id": "run-3", "seconds": 2.0, "reused": False},
    }


def test_the_json_result_has_the_key_figures_at_its_top_level():
    result = a_result(PSEUDO | PRECISION).as_json()
    expected = {name: value for name, value in EVALUATE.items() if name != "baseline_macro_f1"}
    expected |= {"pseudo_label_coverage": 0.625} | {f"pseudo_label_{name}": value for name, value in PRECISION.items()}
    expected |= {"verdict": "student better", "report": "report.html", "champion": "the champion stays"}
    expected |= {"page": "http://127.0.0.1:5000/#/experiments/1/runs/run-0"}
    assert {name: value for name, value in result.items() if name not in {"run_id", "seconds", "stages"}} == expected


def test_the_kept_model_is_the_one_that_validation_speaks_for():
    trained = {"baseline": StageResult("run-4", "d4", 1.0, {}), "joint": StageResult("run-5", "d5", 1.0, {})}
    for kept, run_id in ((1.0, "run-5"), (0.0, "run-4")):
        result = a_result(PSEUDO)
        evaluate = replace(result.stages["evaluate"], figures=EVALUATE | {"student_kept": kept})
        result = replace(result, stages={**result.stages, **trained, "evaluate": evaluate})
        assert result.kept.run_id == run_id


@pytest.mark.parametrize(
    ("verdict", "arrow"), [("student better", "↗"), ("baseline better", "↘"), ("no difference shown", "→")]
)
def test_the_headline_is_accuracies_with_an_arrow_for_the_verdict_then_coverage_and_precision_if_known(verdict, arrow):
    known, unknown = (replace(a_result(labels), verdict=verdict) for labels in (PSEUDO | PRECISION, PSEUDO))
    assert known.headline == f"80.0{arrow}90.5 62/98 %"  # 62.5 is rounded to the even 62
    assert unknown.headline == f"80.0{arrow}90.5 62/? %"
    assert (known.pseudo_labels, unknown.pseudo_labels) == (
        {"coverage": 0.625, "precision": 0.984},
        {"coverage": 0.625},
    )


def test_a_line_for_other_pages_leads_to_the_run_to_the_kept_model_and_to_all_runs():
    line = a_result(PSEUDO).links("http://kept", "http://all")
    assert re.findall(r"\]\((.*?)\)", line) == [
        "http://127.0.0.1:5000/#/experiments/1/runs/run-0",
        "http://kept",
        "http://all",
    ]


def test_the_json_result_survives_a_round_trip_through_json():
    result = a_result(PSEUDO | PRECISION).as_json()
    assert json.loads(json.dumps(result, allow_nan=False)) == result


COMPOUND = {
    "baseline_compound_accuracy": 0.3,
    "baseline_compound_accuracy_low": 0.25,
    "baseline_compound_accuracy_high": 0.35,
    "student_compound_accuracy": 0.45,
    "student_compound_accuracy_low": 0.4,
    "student_compound_accuracy_high": 0.5,
    "compound_accuracy_difference": 0.15,
    "compound_accuracy_difference_low": 0.1,
    "compound_accuracy_difference_high": 0.2,
}


def test_compound_figures_are_told_where_there_are_some():
    plain = a_result(PSEUDO)
    stages = dict(plain.stages) | {"evaluate": StageResult("run-3", "d3", 2.0, EVALUATE | COMPOUND)}
    result = replace(plain, stages=stages)
    assert {key: result.as_json()[key] for key in result.figures() if key not in plain.figures()} == COMPOUND
    assert rows(result.as_json())[len(rows(plain.as_json())) :] == [
        ("Baseline, compound images", "30.0%", "25.0% … 35.0%"),
        ("Student, compound images", "45.0%", "40.0% … 50.0%"),
        ("Difference, compound images", "+15.0%", "+10.0% … +20.0%"),
    ]


def timed(**cpu_seconds: float) -> PipelineResult:
    """A result in which these steps have counted what they cost."""
    plain = a_result(PSEUDO)
    stages = {
        name: replace(
            stage, figures=stage.figures | ({"cpu_seconds": cpu_seconds[name]} if name in cpu_seconds else {})
        )
        for name, stage in plain.stages.items()
    }
    return replace(plain, stages=stages)


def test_cpu_seconds_are_those_of_the_stages_that_make_the_model_reused_ones_included():
    trained = timed(split=0.5, labels=2.25, evaluate=100.0)
    trained = replace(
        trained, stages={**trained.stages, "joint": StageResult("run-4", "d4", 1.0, {"cpu_seconds": 2.25})}
    )
    assert trained.as_json()["cpu_seconds"] == 2.75


def test_cpu_seconds_are_not_told_where_a_stage_has_not_counted_them():
    assert "cpu_seconds" not in timed(evaluate=100.0).as_json()


def calibrated(*certificates: dict[str, float]) -> PipelineResult:
    """A result with a step `calibrate` of a teacher and one of the kept model."""
    names = ["calibrate", "calibrate-kept"]
    steps = {name: StageResult("run-c", "dc", 0.1, values) for name, values in zip(names, certificates, strict=False)}
    plain = a_result(PSEUDO)
    return replace(plain, stages=steps | dict(plain.stages))


def test_the_threshold_certified_for_the_kept_model_is_told():
    result = calibrated({"certified": 1.0, "threshold": 0.9}, {"certified": 1.0, "threshold": 0.8725})
    assert result.as_json()["certified_threshold"] == 0.8725
    assert ("Certified threshold", "0.8725", "") in rows(result.as_json())
    by_rate = calibrated({"fdr_controlled": 0.0}, {"fdr_controlled": 1.0, "threshold": 0.8125})
    assert by_rate.as_json()["fdr_threshold"] == 0.8125
    assert ("Threshold by the FDR", "0.8125", "") in rows(by_rate.as_json())


@pytest.mark.parametrize(
    "figures", [{"temperature": 1.5}, {"certified": 0.0, "threshold": 0.99}], ids=["no certificate", "fallback"]
)
def test_a_threshold_that_was_not_certified_is_not_called_so(figures):
    assert calibrated(figures, figures).figures() == a_result(PSEUDO).figures()
    assert "ertified" not in calibrated(figures, figures).markdown()


def test_where_the_truth_is_unknown_no_precision_is_claimed():
    result = a_result(PSEUDO)
    assert not [name for name in result.as_json() if "precision" in name]
    assert "right" not in result.markdown()


def test_every_row_shows_its_figure_in_percent_with_its_interval():
    assert rows(a_result(PSEUDO | PRECISION).as_json()) == [
        ("Baseline, test accuracy", "80.0%", "75.0% … 85.0%"),
        ("Student, test accuracy", "90.5%", "87.0% … 93.0%"),
        ("Difference, student − baseline", "+10.5%", "+6.0% … +15.0%"),
        ("McNemar p", "0.000123", "student better"),
        ("Pseudo-labels accepted", "62.5%", ""),
        ("Pseudo-labels right", "98.4%", "97.0% … 99.3%"),
    ]


@pytest.mark.parametrize(
    ("difference", "shown"), [(-0.02, "-2.0%"), (0.0, "+0.0%"), (0.02, "+2.0%")], ids=["worse", "same", "better"]
)
def test_the_difference_always_carries_its_sign(difference, shown):
    result = a_result(PSEUDO).as_json() | {"test_accuracy_difference": difference}
    assert ("Difference, student − baseline", shown) in [row[:2] for row in rows(result)]


def test_the_markdown_table_has_as_many_cells_in_every_line():
    lines = a_result(PSEUDO | PRECISION).markdown().splitlines()
    assert len(lines) == 2 + 6
    assert {line.count("|") for line in lines} == {4}
    assert set(lines[1]) <= set("| -:")
    assert "| Student, test accuracy | 90.5% | 87.0% … 93.0% |" in lines
