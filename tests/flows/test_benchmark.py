"""`semisup benchmark`: what it says of given rows, its mistakes, and a real one over two seeds."""

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from flows.cli import app
from flows.parallel.cluster import Cluster
from flows.seeds import plan as seeds_plan
from flows.seeds.names import seeds_of
from flows.seeds.plan import BenchmarkPlan, Job, Variant, planned
from flows.seeds.report import report_of
from flows.seeds.runs import run_jobs
from flows.seeds.tables import markdown, reuse, saved_words, tables
from semisup.budget import Budget
from semisup.config import PipelineConfig
from semisup.config.files import load_config, to_yaml
from semisup.errors import UserError
from semisup.stages.preflight.check import DataDigests
from semisup.tracking.tracker import Tracker
from tests.flows.interrupting import interrupted
from tests.variants import changed

pytestmark = [
    # MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

# --- what is said of given rows ---------------------------------------------------------------------------------------


def variant(config: PipelineConfig, name: str, seeds: int, labels: int | None = None) -> Variant:
    configs = [changed(config, name=name, seed=seed) for seed in range(seeds)]
    jobs = [Job(name, (f"seed={c.seed}",), c, DataDigests("pool", "test"), labels) for c in configs]
    return Variant(name, labels, tuple(jobs))


def row(config: str, seed: int, baseline: float, student: float, labels: int | None = None, **other: Any) -> Any:
    values = {"pseudo_label_coverage": 0.5, "pseudo_label_precision": 0.75, "cpu_seconds": 60.0, "reused": False}
    accuracies = {"baseline_test_accuracy": baseline, "student_test_accuracy": student}
    return (
        {"config": config, "labels": labels, "seed": seed, "split": f"split of {seed}"}
        | {"runs": {"evaluate": f"{config}-{labels}-{seed}"}}
        | accuracies
        | values
        | other
    )


@pytest.fixture
def plan(tiny_config) -> BenchmarkPlan:
    by_labels = (variant(tiny_config, "a", 2, 100), variant(tiny_config, "a", 2, 400))
    return BenchmarkPlan(variant(tiny_config, "a", 2), (variant(tiny_config, "b", 2),), by_labels, ())


ROWS = [
    row("a", 0, 0.75, 0.875),
    row("a", 1, 0.5, 0.75, cpu_seconds=120.0),
    row("b", 0, 0.75, 1.0),
    row("b", 1, 0.5, 0.625, split="another", pseudo_label_precision=None),
    row("a", 0, 0.75, 0.8125, labels=100),
    row("a", 1, 0.75, 0.8125, labels=100),
    row("a", 0, 0.875, 0.75, labels=400),
    row("a", 1, 0.875, 0.75, labels=400),
]


def test_a_report_has_the_figures_of_its_rows(plan):
    ours, theirs = report_of(plan, ROWS)["configs"]
    assert (ours["student"]["mean"], ours["baseline"]["mean"]) == (0.8125, 0.625)
    assert ours["student"]["std"] == pytest.approx(0.125 / np.sqrt(2))
    assert (ours["student"]["worst"], ours["student"]["worst_seed"]) == (0.75, 1)
    assert (ours["difference"]["mean"], ours["difference"]["wins"]) == (0.1875, 2)
    assert (ours["cpu_minutes"], theirs["cpu_minutes"]) == (1.5, 1.0)
    assert (ours["pseudo_label_precision"], theirs["pseudo_label_precision"]) == (0.75, None)


def test_students_are_compared_seed_by_seed_and_it_is_said_which_seeds_share_their_split(plan):
    (found,) = report_of(plan, ROWS)["comparisons"]
    assert (found["config"], found["against"]) == ("b", "a")
    assert (found["difference"]["mean"], found["difference"]["wins"]) == (0.0, 1)
    assert found["same_splits"] == [True, False]


def test_labels_saved_are_read_off_the_supervised_curve(plan):
    """At 100 labels the student has 0.8125, halfway from 0.75 (100 labels) to 0.875 (400): 200 labels."""
    first, second = report_of(plan, ROWS)["label_efficiency"]
    assert first["as_good_with"] == pytest.approx(200)
    assert saved_words(first) == "200 (× 2.0)"
    assert "worse" in saved_words(second)
    assert saved_words(second | {"more_than": 5000}) == "more than 5,000"


def test_every_table_has_as_many_cells_in_every_line(plan):
    for table in tables(report_of(plan, ROWS)):
        assert {len(cells) for cells in table.rows} == {len(table.columns)}


def test_the_tables_show_percent_and_say_which_splits_are_shared(plan):
    text = markdown(report_of(plan, ROWS))
    assert "| a | 62.50 ± 17.68 | 81.25 ± 8.84 | 75.00 (seed 1) | 50.0 | 75.00 | 1.50 |" in text
    assert "| students: b − a | +0.00 |" in text
    assert "same in 1 of 2" in text
    assert "b and a do not have the same labeled images" in text


def test_of_one_seed_nothing_is_claimed(tiny_config):
    plan = BenchmarkPlan(variant(tiny_config, "a", 1), (variant(tiny_config, "b", 1),), (), ())
    text = markdown(report_of(plan, [row("a", 0, 0.5, 0.75), row("b", 0, 0.5, 0.5)]))
    assert "| a: student − baseline | +25.00 | – | – | 1 of 1 | same |" in text
    assert "whether it is more than chance cannot be said" in text
    assert "±" not in text.partition("\n\n|")[2]


def test_a_run_that_stands_in_two_rows_is_counted_once(plan):
    again = [
        row("a", seed, 0.5, 0.75, labels=labels, runs={"evaluate": f"{seed}"}) for seed in (0, 1) for labels in (1, 2)
    ]
    assert reuse({"rows": again}) == "2 runs, all of them new."
    assert "all 2 runs" in reuse({"rows": [one | {"reused": True} for one in again]})


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    empty = tmp_path / "work"
    empty.mkdir()
    monkeypatch.chdir(empty)
    return empty


def the_mistake(*arguments: str) -> str:
    """The one line on stderr of a benchmark that ends with status 2 and writes nothing."""
    outcome = CliRunner().invoke(app, ["benchmark", *arguments], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert (outcome.exit_code, outcome.stdout) == (2, ""), outcome.output
    (line,) = outcome.stderr.splitlines()
    assert list(Path.cwd().iterdir()) == []
    return line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["nope"], ["'nope'", "digits"], id="unknown config"),
        pytest.param(["digits", "--compare", "nope"], ["--compare nope", "digits"], id="unknown compared config"),
        pytest.param(["digits", "--seeds", "0"], ["--seeds 0", "at least one"], id="no seeds"),
        pytest.param(["digits", "--seeds", "4-3"], ["--seeds 4-3", "at least one"], id="a range without seeds"),
        pytest.param(["digits", "--seeds", "5-999999999"], ["--seeds 5-999999999", "1,000"], id="a range of millions"),
        pytest.param(["digits", "--seeds", "1,2"], ["--seeds 1,2", "5-9"], id="no range"),
        pytest.param(["digits", "--parallel", "0"], ["--parallel 0"], id="no processes"),
        pytest.param(["digits", "--labels", "55"], ["--labels 55", "10 classes"], id="not divisible"),
        pytest.param(["digits", "--labels", "0"], ["--labels 0", "10 classes"], id="no labels"),
        pytest.param(["digits", "--labels", "50,many"], ["50,many", "whole numbers"], id="no numbers"),
        pytest.param(["digits", "--labels", "50,5000"], ["--labels 5000", "class '0'"], id="more than images"),
        pytest.param(["digits", "--compare", "digits"], ["--compare digits", "'digits'", "name"], id="equal names"),
        pytest.param(["digits", "--set", "seed=3"], ["seed=3", "--seeds"], id="seed"),
        pytest.param(["digits", "--dask", "host:8786"], ["--dask", "'host:8786'", "tcp://host:8786"], id="no address"),
        pytest.param(["digits", "--dask", ""], ["--dask", "''", "tcp://host:8786"], id="an empty address"),
        pytest.param(["digits", "--dask", "tcp://h:1:2"], ["--dask", "'tcp://h:1:2'"], id="two ports"),
        pytest.param(["digits", "--dask", "tcp://h:1", "--parallel", "2"], ["--parallel 2", "--dask"], id="two ways"),
        pytest.param(
            ["digits", "--dask", "tcp://h:1", "--set", "runtime.dask=tcp://h:2"],
            ["runtime.dask=tcp://h:2", "--dask"],
            id="two clusters",
        ),
        pytest.param(["digits", "--set", "promote.enabled=true"], ["promote.enabled"], id="promotion"),
        pytest.param(["digits", "--set", "joint.alpha_finl=3"], ["joint.alpha_final"], id="misspelt key"),
        pytest.param(
            ["digits", "--labels", "50", "--set", "split.imbalance_ratio=2"], ["imbalance_ratio=2"], id="long tail"
        ),
        pytest.param(["diabetes"], ["diabetes"], id="regression"),
        pytest.param(["digits", "--equal-time"], ["--equal-time", "baseline.budget=unset"], id="no budget"),
        pytest.param(
            ["digits", "--equal-time", "--set", "baseline.budget=9s", "--set", "joint.budget=90 steps"],
            ["joint.budget=90 steps"],
            id="a budget of steps",
        ),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(arguments, said, folder):
    line = the_mistake(*arguments)
    for word in said:
        assert word in line


def test_seeds_are_a_number_of_them_or_a_range_with_both_its_ends():
    assert [list(seeds_of(words)) for words in ("3", "0-2", "7-7", " 5-9 ")] == [
        [0, 1, 2],
        [0, 1, 2],
        [7],
        [5, 6, 7, 8, 9],
    ]


def test_a_range_of_seeds_is_run_and_named(folder):
    plan = planned("digits", [], range(3, 5), None, [])
    assert plan.seeds == [job.config.seed for job in plan.jobs()] == [3, 4]


def test_the_tables_name_the_seeds_that_ran(plan):
    config = plan.main.jobs[0].config
    jobs = tuple(replace(plan.main.jobs[0], config=config.model_copy(update={"seed": seed})) for seed in (3, 4))
    later = replace(plan, main=replace(plan.main, jobs=jobs))
    text = markdown(report_of(later, [row_ | {"seed": row_["seed"] + 3} for row_ in ROWS]))
    assert "over seeds 3–4" in text
    assert "seeds 0" not in text


def test_every_run_has_its_seed_one_thread_and_no_promotion(folder):
    plan = planned("digits", [], range(3), "50", ["joint.epochs=20", "joint.ramp_end=10"])
    assert plan.seeds == [0, 1, 2]
    for job in plan.jobs():
        assert (job.config.runtime.threads, job.config.promote.enabled, job.config.joint.epochs) == (1, False, 20)
    assert [job.config.split.labeled_per_class for job in plan.jobs()] == [10] * 3 + [5] * 3
    assert plan.jobs()[3].words == "digits, 50 labels, seed 0"


def test_which_config_a_name_is_taken_for_is_told_once_however_many_labels_it_is_run_with(folder, capsys):
    Path("digits").mkdir()
    assert len(planned("digits", [], range(1), "50,100,200", []).by_labels) == 3
    assert capsys.readouterr().err.count("digits is taken for the ready-made config") == 1


def test_with_equal_time_every_run_has_a_supervised_one_that_trains_for_as_long(folder):
    budgets = ["baseline.budget=2s", "joint.budget=0.1 min", "rounds=2", "joint.ramp_end=3"]
    budgets += ["baseline.early_stopping.monitor=loss", "baseline.early_stopping.min_delta=0.5"]
    plan = planned("digits", [], range(2), "50", budgets, equal_time=True)
    assert len(plan.all_jobs()) == 2 * len(plan.jobs()) == 8
    for job in plan.jobs():
        assert job.supervised is not None
        ours, theirs = job.config, job.supervised.config
        assert Budget.parse(theirs.baseline.budget) == Budget(2 + 2 * 6, "CPU seconds")
        assert (theirs.rounds, theirs.joint.budget, theirs.baseline.early_stopping.keep) == (1, "1 steps", "best")
        stopping = (
            theirs.baseline.early_stopping
        )  # of every epoch it must be able to keep the one that is right most often
        assert (stopping.monitor, stopping.min_delta) == ("accuracy", 0)
        assert theirs.baseline.augment == ours.baseline.augment
        assert (theirs.seed, theirs.split, theirs.model) == (ours.seed, ours.split, ours.model)
        assert "supervised for as long" in job.supervised.words


def test_a_run_on_a_cluster_trains_its_members_itself(folder, monkeypatch):
    """It would hold the worker that its members wait for."""
    asked: list[Cluster] = []

    def check(cluster: Cluster) -> None:
        asked.append(cluster)

    monkeypatch.setattr(seeds_plan, "check_cluster", check)
    (folder / "mine.yaml").write_text("data: {name: digits}\nruntime: {dask: 'tcp://h:1'}\n", encoding="utf-8")
    cluster = Cluster.of_option("tcp://h:2")
    for job in planned("mine.yaml", [], range(2), None, [], cluster=cluster).jobs():
        assert job.config.runtime.dask is None
        assert load_config(Path("mine.yaml"), job.command[3:-1:2]).runtime.dask is None  # as its process reads it
    assert asked == [cluster]
    assert planned("mine.yaml", [], range(1), None, []).jobs()[0].config.runtime.dask == "tcp://h:1"


def test_what_was_supervised_for_as_long_is_said(plan):
    rows = [row_ | {"supervised_cpu_seconds": 90.0} for row_ in ROWS]
    text = markdown(report_of(replace(plan, equal_time=True), rows))
    assert "| a: student − supervised |" in text
    assert "it took 1.50, 1.50 CPU minutes" in text
    assert "baseline |" not in text


def test_what_a_run_says_is_wrong_is_passed_on_with_config_and_seed(tiny_config, folder):
    job = variant(tiny_config, "nowhere", 1).jobs[0]
    with pytest.raises(UserError, match=r"^nowhere, seed 0: config 'nowhere' is neither a file nor"):
        run_jobs([job], 2, {}, ended=lambda job, result: None)


# --- a real one -------------------------------------------------------------------------------------------------------


def benchmark(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["benchmark", *arguments], env={"COLUMNS": "200"}, catch_exceptions=False)


@pytest.fixture(scope="module")
def arguments(tiny_config, tmp_path_factory) -> list[str]:
    """Two configs that share splits and baselines; 50 labels is what the first one has anyway."""
    folder = tmp_path_factory.mktemp("configs")
    other = changed(tiny_config, name="short", joint={"epochs": 4})
    for config in (tiny_config, other):
        (folder / f"{config.name}.yaml").write_text(to_yaml(config), encoding="utf-8")
    return [str(folder / "tiny.yaml"), "--compare", str(folder / "short.yaml"), "--seeds", "2", "--labels", "50"]


@pytest.fixture(scope="module")
def finished(prefect_server, store_template, arguments, tmp_path_factory) -> tuple[Path, dict[str, Any], str]:
    """A benchmark of two configs over two seeds, once: its folder, the JSON that it printed, and its stderr."""
    folder = tmp_path_factory.mktemp("benchmark")
    shutil.copy(store_template, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        outcome = benchmark(*arguments, "--json")
    assert outcome.exit_code == 0, outcome.output
    return folder, json.loads(outcome.stdout.splitlines()[-1]), outcome.stderr


@pytest.mark.slow
@pytest.mark.prefect
def test_the_figures_of_a_benchmark_are_those_of_its_runs(finished):
    folder, report, _ = finished
    tracker = Tracker.existing(folder)
    assert [(row["config"], row["labels"], row["seed"]) for row in report["rows"]] == [
        *(("tiny", None, seed) for seed in (0, 1)),
        *(("short", None, seed) for seed in (0, 1)),
        *(("tiny", 50, seed) for seed in (0, 1)),
    ]
    for row in report["rows"]:
        metrics = {name: tracker.get(run_id).metrics for name, run_id in row["runs"].items()}
        for name in ("baseline_test_accuracy", "student_test_accuracy"):
            assert row[name] == metrics["evaluate"][name]
        assert row["pseudo_label_coverage"] == metrics["labels"]["coverage"]
        makers = ("split", "baseline", "pseudo_label", "joint")
        assert row["cpu_seconds"] == pytest.approx(sum(metrics[name]["cpu_seconds"] for name in makers), abs=1e-3)
        assert row["cpu_seconds"] > 0
        assert tracker.get(row["runs"]["split"]).tags["seed"] == str(row["seed"])
    students = {
        name: [row["student_test_accuracy"] for row in report["rows"] if (row["config"], row["labels"]) == (name, None)]
        for name in ("tiny", "short")
    }
    assert report["configs"][0]["student"]["mean"] == pytest.approx(np.mean(students["tiny"]))
    (found,) = report["comparisons"]
    assert found["same_splits"] == [True, True]
    expected = stats.ttest_rel(students["short"], students["tiny"])
    assert found["difference"]["p_value"] == pytest.approx(expected.pvalue, nan_ok=True)


@pytest.mark.slow
@pytest.mark.prefect
def test_the_supervised_side_of_a_row_is_the_baseline_that_trained_for_as_long(
    prefect_server, store_template, tiny_config, tmp_path, monkeypatch
):
    config = changed(tiny_config, baseline={"budget": "1s"}, joint={"budget": "1s"})
    (tmp_path / "timed.yaml").write_text(to_yaml(config), encoding="utf-8")
    shutil.copy(store_template, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    outcome = benchmark("timed.yaml", "--seeds", "1", "--equal-time", "--json")
    assert outcome.exit_code == 0, outcome.output
    (only,) = json.loads(outcome.stdout.splitlines()[-1])["rows"]
    tracker = Tracker.existing(tmp_path)
    supervised = tracker.get(only["supervised_run"])
    assert only["baseline_test_accuracy"] == supervised.metrics["baseline_test_accuracy"]
    assert only["student_test_accuracy"] == tracker.get(only["runs"]["evaluate"]).metrics["student_test_accuracy"]
    assert only["supervised_run"] != only["runs"]["evaluate"]


@pytest.mark.slow
@pytest.mark.prefect
def test_what_configs_share_is_trained_once(finished):
    runs = Tracker.existing(finished[0]).search("tags.semisup.version LIKE '%'")
    stages = [run.tags["stage"] for run in runs]
    assert {stage: stages.count(stage) for stage in ("split", "baseline", "joint", "pipeline", "benchmark")} == {
        "split": 2,
        "baseline": 2,
        "joint": 4,
        "pipeline": 4,
        "benchmark": 1,
    }
    assert all(run.complete for run in runs)


@pytest.mark.slow
@pytest.mark.prefect
def test_one_mlflow_run_keeps_all_that_is_said(finished, tmp_path):
    folder, report, stderr = finished
    tracker = Tracker.existing(folder)
    run = tracker.get(report["run_id"])
    assert (run.tags["config"], run.tags["compared"], run.tags["seeds"], run.tags["labels"]) == (
        "tiny",
        "short",
        "0 1",
        "50",
    )
    assert run.metrics["student_mean"] == report["configs"][0]["student"]["mean"]
    assert run.metrics["against_mean.short"] == report["comparisons"][0]["difference"]["mean"]
    artifacts = tracker.artifacts(run.id, tmp_path)
    kept = json.loads((artifacts / "benchmark.json").read_text(encoding="utf-8"))
    assert kept == {name: value for name, value in report.items() if name in kept}
    assert (artifacts / "benchmark.md").read_text(encoding="utf-8") == markdown(report)
    table = pd.read_parquet(artifacts / "label_efficiency.parquet")
    assert table["student_test_accuracy"].tolist() == [row["student_test_accuracy"] for row in report["rows"][4:]]
    for picture in ("accuracy_by_seed.png", "label_efficiency.png"):
        assert (artifacts / picture).stat().st_size > 1000
    assert [line.partition(" ")[0] for line in stderr.splitlines() if line.startswith("[")] == [
        f"[{done}/4]" for done in (1, 2, 3, 4)
    ]


@pytest.mark.slow
@pytest.mark.prefect
def test_a_second_benchmark_trains_nothing_and_says_the_same(in_its_folder, finished, arguments):
    tracker = Tracker.existing(in_its_folder)
    before = {run.id for run in tracker.search("tags.semisup.version LIKE '%'")}
    outcome = benchmark(*arguments, "--json")
    again = json.loads(outcome.stdout.splitlines()[-1])
    assert {run.id for run in tracker.search("tags.semisup.version LIKE '%'")} - before == {again["run_id"]}
    assert all(row["reused"] for row in again["rows"])
    for part in ("configs", "comparisons", "label_efficiency"):
        assert again[part] == finished[1][part]
    assert "Nothing was trained: all 4 runs" in benchmark(*arguments).stdout


@pytest.mark.slow
@pytest.mark.prefect
def test_a_run_that_fails_ends_the_benchmark_in_one_line_with_its_config_and_seed(in_its_folder, finished, arguments):
    endless = ["--set", "baseline.epochs=100000", "--set", "baseline.early_stopping.patience=100000"]
    outcome = benchmark(arguments[0], "--seeds", "2", *endless, "--set", "runtime.stage_timeout=3")
    assert outcome.exit_code == 2, outcome.output
    last = outcome.stderr.splitlines()[-1]
    assert last.startswith("error: tiny, seed ")
    assert "runtime.stage_timeout=3" in last
    runs = Tracker.existing(in_its_folder).search("tags.semisup.version LIKE '%'")
    assert "RUNNING" not in {run.status for run in runs}
    assert next(run.status for run in runs if run.tags["stage"] == "benchmark") == "FAILED"


@pytest.mark.slow
@pytest.mark.prefect
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_benchmark_ends_its_processes_in_order(number, store, tiny_config, tmp_path):
    config = changed(tiny_config, baseline={"epochs": 100_000, "early_stopping": {"patience": 100_000}})
    (tmp_path / "tiny.yaml").write_text(to_yaml(config), encoding="utf-8")
    arguments = ["benchmark", str(tmp_path / "tiny.yaml"), "--seeds", "3"]
    status, stderr = interrupted(arguments, store, tmp_path, training="baseline", number=number)
    assert status == (130 if number == signal.SIGINT else 143)
    tracker = Tracker.existing(store)
    statuses = sorted((run.tags["stage"], run.status) for run in tracker.search("tags.stage LIKE '%'"))
    killed = [("baseline", "KILLED")] * 2 + [("benchmark", "KILLED")] + [("pipeline", "KILLED")] * 2
    assert statuses == [*killed, *[("split", "FINISHED")] * 2]
    assert "Traceback" not in stderr
    assert "KILLED in MLflow" in stderr.splitlines()[-1]
