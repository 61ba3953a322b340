"""`semisup runs`, `show`, `compare`, `status`, `stage`: what they say of the runs in a store."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from typer.testing import CliRunner

from flows.cli import app
from flows.cli.printing import duration
from flows.store.history import Evaluated, paired_test
from semisup.config import PipelineConfig
from semisup.config.files import to_yaml
from semisup.tracking.tracker import Tracker
from tests.variants import STEPS

pytestmark = [
    pytest.mark.prefect,
    # MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


def invoke(*arguments: str):
    quiet = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL"}
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"} | quiet, catch_exceptions=False)


def the_mistake(*arguments: str) -> str:
    outcome = invoke(*arguments)
    assert outcome.exit_code == 2, outcome.output
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def answer(*arguments: str):
    outcome = invoke(*arguments, "--json")
    assert outcome.exit_code == 0, outcome.output
    return json.loads(outcome.stdout)


@pytest.fixture
def config_file(finished_run, tmp_path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(to_yaml(finished_run.config), encoding="utf-8")
    return str(path)


@pytest.fixture
def two_pipelines(rerunnable, finished_run, config_file) -> tuple[str, str]:
    """Run ids of the finished pipeline and of one with another α."""
    outcome = invoke("run", config_file, "--set", "joint.alpha_final=0.25", "--json")
    assert outcome.exit_code == 0, outcome.output
    return finished_run.result["run_id"], json.loads(outcome.stdout)["run_id"]


def test_runs_lists_pipelines_newest_first_with_their_figures(two_pipelines, finished_run):
    first, second = two_pipelines
    found = answer("runs")
    assert [run["run_id"] for run in found] == [second, first]
    for name in ("baseline_test_accuracy", "student_test_accuracy_low", "mcnemar_p", "pseudo_label_coverage"):
        assert found[1][name] == finished_run.result[name]
    assert found[0]["reused"] == ["split", "baseline", "pseudo_label"]
    table = invoke("runs").stdout
    assert first[:8] in table
    assert f"{finished_run.result['student_test_accuracy']:.1%}" in table
    assert answer("runs", "--config", "another") == []
    assert len(answer("runs", "--limit", "1")) == 1


def test_show_tells_of_a_pipeline_and_of_a_stage_by_the_beginning_of_their_ids(rerunnable, finished_run):
    run_id = finished_run.result["run_id"]
    found = answer("show", run_id[:10])
    assert found["run_id"] == run_id
    assert found["stages"] == {name: stage["run_id"] for name, stage in finished_run.result["stages"].items()}
    assert Path(found["report"]).is_file()
    joint = answer("show", found["stages"]["joint"])
    assert (joint["stage"], joint["complete"]) == ("joint", True)
    assert joint["upstream"]["pseudo_label"] == found["stages"]["pseudo_label"]
    assert f"{finished_run.result['student_test_accuracy']:.1%}" in invoke("show", run_id).stdout


def test_show_without_a_run_is_about_the_newest_pipeline_and_says_so(two_pipelines):
    _, second = two_pipelines
    outcome = invoke("show", "--json")
    assert json.loads(outcome.stdout)["run_id"] == second
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(f"the newest pipeline: run {second[:8]}, tiny, seed 3 joint.alpha_final=0.25, ")


def test_compare_without_runs_is_about_the_newest_two_and_with_one_about_it_and_the_newest_other(two_pipelines):
    first, second = two_pipelines
    for named, pair in (((), (first, second)), ((first,), (first, second)), ((second,), (second, first))):
        outcome = invoke("compare", *named, "--json")
        found = json.loads(outcome.stdout)
        assert (found["first"]["run_id"], found["second"]["run_id"]) == pair
        assert len(outcome.stderr.splitlines()) == 2 - len(named)


def test_runs_that_differ_by_what_was_set_are_told_apart_in_the_list_and_have_all_of_it_on_their_page(two_pipelines):
    _, second = two_pipelines
    assert [run["set"] for run in answer("runs")] == ["joint.alpha_final=0.25", ""]
    assert "joint.alpha_final=0.25" in invoke("runs").stdout
    assert answer("show", second)["set"] == "joint.alpha_final=0.25"
    run = Tracker.existing(Path.cwd()).client.get_run(second)
    assert run.info.run_name.endswith(" tiny-seed3 joint.alpha_final=0.25")
    note = run.data.tags["mlflow.note.content"]
    assert "Set: `joint.alpha_final=0.25`" in note
    stages = answer("show", second)["stages"]
    kept = stages["joint" if run.data.metrics["student_kept"] else "baseline"]
    place = f"experiments/{run.info.experiment_id}/runs/{kept}?workflowType=machine_learning"
    assert note.startswith(f"[The model to keep](#/{place})\n\n| figure |")


def test_compare_tells_the_config_difference_and_the_paired_test_of_the_students(two_pipelines, rerunnable):
    first, second = two_pipelines
    found = answer("compare", first, second)
    assert found["config"] == {"joint.alpha_final": [1.0, 0.25]}
    tables = []
    for run_id in two_pipelines:
        report = Path(answer("show", run_id)["report"])
        tables.append(pd.read_parquet(report.parent / "predictions.parquet"))
    right = [(table["student_label"] == table["truth"]).to_numpy() for table in tables]
    test = found["test"]
    assert test["difference"]["estimate"] == pytest.approx(right[1].mean() - right[0].mean())
    b, c = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    assert (test["only_first_right"], test["only_second_right"]) == (b, c)
    assert test["mcnemar_p"] == pytest.approx(binomtest(b, b + c).pvalue if b + c else 1.0)
    text = invoke("compare", first[:8], second[:8]).stdout
    assert "joint.alpha_final" in text
    assert "McNemar p" in text


def test_a_pipeline_compared_with_itself_shows_no_difference(rerunnable, finished_run):
    run_id = finished_run.result["run_id"]
    outcome = invoke("compare", run_id, run_id[:8], "--json")
    assert outcome.stderr == "first and second are the same run; `semisup runs` lists the others\n"
    found = json.loads(outcome.stdout)
    by_name = invoke("compare", finished_run.config.name, finished_run.config.name, "--json")
    assert json.loads(by_name.stdout) == found
    assert by_name.stderr.startswith(f"{finished_run.config.name}: its newest complete pipeline, run {run_id[:8]}, ")
    assert by_name.stderr.count("\n") == 2  # which run the name is taken for, once, and that they are the same
    assert found["config"] == {}
    assert (found["test"]["mcnemar_p"], found["test"]["difference"]["estimate"]) == (1.0, 0.0)


def predictions(ids: list[str], truth: list[int], student: list[int], classes: str = "abc") -> Evaluated:
    return Evaluated(pd.DataFrame({"id": ids, "truth": truth, "student_label": student}), list(classes))


def test_predictions_are_paired_by_the_id_of_the_image_whatever_their_order():
    first = predictions(["a", "b", "c"], [0, 1, 2], [0, 0, 2])
    second = predictions(["c", "a", "b"], [2, 0, 1], [2, 0, 1])
    found = paired_test(first, second)
    assert found is not None
    assert (found["only_first_right"], found["only_second_right"], found["mcnemar_p"]) == (0, 1, 1.0)


def test_labels_are_compared_by_their_names_for_a_new_class_moves_the_numbers():
    first = predictions(["1", "2", "3"], [0, 1, 1], [0, 1, 0], classes="ac")
    second = predictions(["1", "2", "3"], [0, 2, 2], [0, 1, 2], classes="abc")
    found = paired_test(first, second)
    assert found is not None
    assert (found["only_first_right"], found["only_second_right"]) == (1, 1)
    assert paired_test(first, predictions(["1", "2", "3"], [0, 1, 1], [0, 1, 0], classes="ab")) is None


@pytest.mark.parametrize(
    "other",
    [
        predictions(["a", "x", "y"], [0, 1, 2], [0, 0, 2]),
        predictions(["a"], [0], [0]),
        predictions(["a", "b", "c"], [0, 1, 1], [0, 0, 2]),
    ],
)
def test_students_tested_on_other_images_are_not_paired(other):
    assert paired_test(predictions(["a", "b", "c"], [0, 1, 2], [0, 0, 2]), other) is None


def test_images_that_only_one_had_are_left_out_and_counted():
    first = predictions(["a", "b", "c"], [0, 1, 2], [0, 0, 2])
    second = predictions(["b", "c", "d", "e"], [1, 2, 3, 0], [1, 2, 3, 0], classes="abcd")
    found = paired_test(first, second)
    assert found is not None
    assert (found["test_images"], found["test_images_of_each"]) == (2, [3, 4])
    assert (found["only_first_right"], found["only_second_right"]) == (0, 1)


def test_of_two_students_the_one_that_is_clearly_better_is_named():
    truth = np.zeros(20, dtype=int)
    ids = [str(i) for i in range(20)]
    good, bad = predictions(ids, [*truth], [*truth]), predictions(ids, [*truth], [*(truth + 1)])
    for pair, verdict in (
        ((good, bad), "first better"),
        ((bad, good), "second better"),
        ((bad, bad), "no difference shown"),
    ):
        found = paired_test(*pair)
        assert found is not None
        assert found["verdict"] == verdict


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["runs"], ["show", "0123"], ["compare", "0123", "4567"], ["reap", "digits"]])
def test_without_a_store_there_is_nothing_to_tell_and_nothing_is_made(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "there is no MLflow store" in the_mistake(*command)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("run_id", "said"), [("ffffffffffff", "not in this store"), ("*", "no run id"), ("", "no run id")]
)
def test_a_run_that_is_not_there_is_named(run_id, said, rerunnable):
    assert said in the_mistake("show", run_id)


def test_a_beginning_that_several_runs_share_is_not_enough(store):
    tracker = Tracker.open("tests", store)
    ids = [
        tracker.client.create_run(tracker.experiment_id, tags={"semisup.version": "0"}).info.run_id for _ in range(17)
    ]
    shared = next(a[0] for a, b in itertools.pairwise(sorted(ids)) if a[0] == b[0])  # of 17, two begin alike
    assert "could be any of" in the_mistake("show", shared)


def test_a_stage_cannot_be_compared_with_a_pipeline(rerunnable, finished_run):
    stage = finished_run.result["stages"]["joint"]["run_id"]
    assert "no complete pipeline" in the_mistake("compare", finished_run.result["run_id"], stage)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "digits", "--force", "joined"], "'joined' does not exist"),
        (["stage", "joined", "digits"], "'joined'"),
        (["stage", "joint", "digits"], "reads 'split', which is missing"),
        (["stage", "joint", "digits", "--upstream", "nonsense"], "STAGE=RUN_ID"),
        (["stage", "joint", "digits", "--upstream", "split="], "STAGE=RUN_ID"),
        (["status", "digits", "--set", "sed=1"], "unknown key 'sed'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(arguments, said, store):
    assert said in the_mistake(*arguments)


# --- status, stage ----------------------------------------------------------------------------------------------------


def test_status_is_a_table_of_all_stages(rerunnable, config_file, finished_run):
    lines = invoke("status", config_file).stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [[name, "fresh"] for name in STEPS]
    found = answer("status", config_file, "--set", "joint.alpha_final=0.5")
    assert {row["stage"]: row["standing"] for row in found}["joint"] == "stale"
    assert found[0]["run_id"] == finished_run.result["stages"]["split"]["run_id"]
    assert all(row["age_seconds"] >= 0 for row in found)


@pytest.mark.usefixtures("prefect_server")
def test_stage_runs_one_stage_and_says_what_it_read(rerunnable, config_file, finished_run):
    reused = invoke("stage", "pseudo_label", config_file)
    assert reused.exit_code == 0
    assert "pseudo_label: reused" in reused.stdout
    forced = answer("stage", "pseudo_label", config_file, "--force")
    assert not forced["reused"]
    assert forced["upstream"]["teacher"] == finished_run.result["stages"]["baseline"]["run_id"]


def test_an_unset_promotion_model_is_named_after_the_pipeline():
    from flows.pipeline.promotion import model_name

    assert model_name(PipelineConfig(name="mine")) == "mine"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.04, "0.0 s"), (59.6, "60 s"), (119, "2 min"), (7199, "120 min"), (7300, "2 h"), (2e5, "2 d")],
)
def test_a_time_span_is_said_in_a_unit_that_people_would_choose(seconds, text):
    assert duration(seconds) == text
