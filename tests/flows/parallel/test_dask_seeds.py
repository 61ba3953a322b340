"""The runs of a benchmark on a Dask cluster."""

import json
import os
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from flows.cli import app
from semisup.config.files import to_yaml
from semisup.tracking.tracker import Tracker
from tests.flows.interrupting import interrupted
from tests.flows.parallel.dask_clusters import cluster
from tests.variants import changed
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.prefect,
    # MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


@pytest.fixture(scope="module")
def address(prefect_server, tmp_path_factory) -> Iterator[str]:
    with cluster(tmp_path_factory.mktemp("cluster"), "--no-nanny") as (address, _):
        yield address


def benchmark(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["benchmark", *arguments], env={"COLUMNS": "200"}, catch_exceptions=False)


@pytest.fixture
def config(tiny_config, store) -> str:
    (store / "tiny.yaml").write_text(to_yaml(tiny_config), encoding="utf-8")
    return "tiny.yaml"


@pytest.fixture
def not_here(monkeypatch) -> None:
    """This process runs no job; those of the cluster's are not patched."""

    def here(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("flows.seeds.benchmark.run_jobs", here)


def test_runs_on_a_cluster_are_those_of_this_machine(address, store, config, not_here):
    outcome = benchmark(config, "--seeds", "2", "--dask", address, "--json")
    assert outcome.exit_code == 0, outcome.output
    report = json.loads(outcome.stdout.splitlines()[-1])
    assert [row["seed"] for row in report["rows"]] == [0, 1]
    assert not any(row["reused"] for row in report["rows"])
    assert outcome.stderr.count("tiny, seed") == 2  # a line for each, as soon as it is there
    tracker = Tracker.existing(store)
    trained = [run for run in tracker.search("tags.stage = 'joint'") if run.complete]
    assert len({run.tags["pid"] for run in trained} | {str(os.getpid())}) == 3
    bits = {run.tags["seed"]: run.tags["output_digest"] for run in trained}

    here = benchmark(config, "--seeds", "2", "--json", "--set", "runtime.state=elsewhere")
    again = json.loads(here.stdout.splitlines()[-1])
    assert all(row["reused"] for row in again["rows"])
    assert again["configs"] == report["configs"]

    one = ["--set", "seed=0", "--set", "runtime.threads=1", "--set", "promote.enabled=false"]
    forced = CliRunner().invoke(app, ["run", config, *one, "--force", "joint", "--json"])
    result = json.loads(forced.stdout.splitlines()[-1])
    assert not result["stages"]["joint"]["reused"]
    assert tracker.get(result["stages"]["joint"]["run_id"]).tags["output_digest"] == bits["0"]


def test_a_run_that_fails_there_ends_the_benchmark_in_one_line(address, store, config, not_here):
    endless = ["--set", "baseline.epochs=100000", "--set", "baseline.early_stopping.patience=100000"]
    limit = ["--set", "runtime.stage_timeout=3"]
    outcome = benchmark(config, "--seeds", "2", "--dask", address, *endless, *limit)
    assert outcome.exit_code == 2, outcome.output
    last = outcome.stderr.splitlines()[-1]
    assert last.startswith("error: tiny, seed ")
    assert "runtime.stage_timeout=3" in last
    wait_until(lambda: not Tracker.existing(store).search("attributes.status = 'RUNNING'"))


def test_ctrl_c_ends_the_runs_and_leaves_them_killed(address, store, tiny_config, tmp_path):
    endless = changed(tiny_config, baseline={"epochs": 100_000, "early_stopping": {"patience": 100_000}})
    (store / "tiny.yaml").write_text(to_yaml(endless), encoding="utf-8")

    def they_are_the_workers(pid: int) -> None:
        own = {child.name() + " ".join(child.cmdline()) for child in psutil.Process(pid).children(True)}
        assert not any("flows.run_process" in command for command in own)

    arguments = ["benchmark", "tiny.yaml", "--seeds", "2", "--dask", address]
    status, stderr = interrupted(arguments, store, tmp_path, training="baseline", meanwhile=they_are_the_workers)
    assert status == 130
    tracker = Tracker.existing(store)
    assert "Traceback" not in stderr
    wait_until(lambda: not tracker.search("attributes.status = 'RUNNING'"))
    statuses = sorted((run.tags["stage"], run.status) for run in tracker.search("tags.stage LIKE '%'"))
    killed = [("baseline", "KILLED")] * 2 + [("benchmark", "KILLED")] + [("pipeline", "KILLED")] * 2
    assert statuses == [*killed, *[("split", "FINISHED")] * 2]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("tcp://127.0.0.1:9", "error: --dask tcp://127.0.0.1:9 cannot be used"),
        ("tls://127.0.0.1:9", "error: --dask tls://127.0.0.1:9 needs certificates"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_one_line_and_nothing_is_written(where, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = benchmark("digits", "--dask", where)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(said)
    assert list(tmp_path.iterdir()) == []
