"""Members of an ensemble on a Dask cluster: a scheduler and two workers, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow, task
from prefect.settings import PREFECT_API_URL

from flows.parallel.members import check_cluster, run_at_once
from flows.pipeline.ensemble import ensemble
from flows.pipeline.results import StageResult
from semisup.config import RuntimeConfig
from semisup.config.files import to_yaml
from semisup.errors import UserError
from semisup.pipeline.plan import ensemble_plan
from semisup.tracking.tracker import Tracker
from tests.flows.interrupting import interrupted
from tests.flows.parallel.dask_clusters import PYTHONPATH, cluster
from tests.flows.pipeline.test_ensemble_flow import assert_bits_of_members_trained_here
from tests.variants import changed
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.prefect,
    # MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
MEMBERS = ("member-1", "member-2", "member-3")


@pytest.fixture(scope="module")
def address(prefect_server, tmp_path_factory) -> Iterator[str]:
    with cluster(tmp_path_factory.mktemp("cluster"), "--no-nanny") as (address, _):
        yield address


def test_members_have_the_bits_of_members_trained_in_turn_here(address, store, tiny_config, tmp_path):
    config = changed(tiny_config, ensemble={"members": 3}, runtime={"dask": address})
    result = ensemble(config)
    tracker = Tracker.existing(store)
    runs = {name: tracker.get(result["stages"][name]["run_id"]) for name in MEMBERS}
    assert len({run.tags["pid"] for run in runs.values()} - {str(os.getpid())}) == 3  # a process for each
    assert all(run.complete for run in runs.values())
    assert_bits_of_members_trained_here(config, result, tracker, tmp_path)


# --- how they end -----------------------------------------------------------------------------------------------------


@task
def note_and_wait(name: str, folder: str) -> StageResult:
    """The first to come with a name notes its process, and its parent, and would wait for ever; "fails" fails."""
    if name == "fails":
        wait_until(lambda: bool(list(Path(folder).iterdir())))
        raise UserError("this member diverged; use a smaller learning rate")
    if (note := Path(folder) / name).exists():
        return StageResult(name, "digest", 0.0, {})
    whole = Path(folder).parent / name
    whole.write_text(json.dumps([os.getpid(), os.getppid()]), encoding="utf-8")
    whole.rename(note)
    time.sleep(3600)
    raise AssertionError


@flow
def members(names: list[str], folder: str, runtime: RuntimeConfig) -> list[StageResult]:
    return run_at_once([(note_and_wait, {"name": name, "folder": folder}) for name in names], runtime)


@pytest.fixture
def notes(tmp_path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_first_failure_is_raised_and_ends_the_others(address, store, notes):
    with pytest.raises(UserError, match="this member diverged"):
        members(["waits", "fails"], str(notes), RuntimeConfig(dask=address))
    pid, _ = json.loads((notes / "waits").read_text(encoding="utf-8"))
    wait_until(lambda: not is_there(pid))


def test_members_end_when_the_command_is_killed(address, store, notes):
    script = (
        "import sys, flows, test_dask_members as tests\n"
        "from semisup.config import RuntimeConfig\n"
        "tests.members(['waits'], sys.argv[1], RuntimeConfig(dask=sys.argv[2]))\n"
    )
    environment = os.environ | PYTHONPATH | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    with subprocess.Popen([sys.executable, "-c", script, str(notes), address], env=environment) as process:
        try:
            wait_until((notes / "waits").exists)
        finally:
            process.kill()
    pid, _ = json.loads((notes / "waits").read_text(encoding="utf-8"))
    wait_until(lambda: not is_there(pid))


def test_a_member_whose_worker_is_killed_is_trained_by_another_one(prefect_server, store, notes, tmp_path):
    with cluster(tmp_path, "--no-nanny") as (address, _):

        def kill_the_worker() -> None:
            wait_until((notes / "member").exists)
            os.kill(json.loads((notes / "member").read_text(encoding="utf-8"))[1], signal.SIGKILL)

        killer = threading.Thread(target=kill_the_worker)
        killer.start()
        results = members(["member"], str(notes), RuntimeConfig(dask=address))
        killer.join()
        assert [result.run_id for result in results] == ["member"]
        pid, _ = json.loads((notes / "member").read_text(encoding="utf-8"))
        wait_until(lambda: not is_there(pid))


def test_ctrl_c_ends_the_members_and_leaves_all_runs_killed(address, store, tiny_config, tmp_path):
    endless = changed(
        tiny_config,
        baseline={"epochs": 2000, "early_stopping": {"patience": 2000}},
        ensemble={"members": 2},
        runtime={"dask": address},
    )
    (tmp_path / "endless.yaml").write_text(to_yaml(endless), encoding="utf-8")
    _, stderr = interrupted(["ensemble", str(tmp_path / "endless.yaml")], store, tmp_path, training="member")
    tracker = Tracker.existing(store)
    assert "Traceback" not in stderr
    assert "KILLED in MLflow" in stderr.splitlines()[-1]
    wait_until(lambda: not tracker.search("attributes.status = 'RUNNING'"))
    statuses = {run.tags["step"]: run.status for run in tracker.search("tags.stage = 'member'")}
    assert statuses == dict.fromkeys(("member-1", "member-2"), "KILLED")


# --- what cannot be used ----------------------------------------------------------------------------------------------


def test_an_address_where_no_scheduler_is_is_one_line(tiny_config):
    config = changed(tiny_config, ensemble={"members": 2}, runtime={"dask": "tcp://127.0.0.1:9"})
    with pytest.raises(UserError, match=r"^runtime.dask='tcp://127.0.0.1:9' cannot be used .*leave it out"):
        check_cluster(config.runtime, ensemble_plan(config))


def test_a_cluster_is_not_asked_for_where_nothing_would_run_on_it(tiny_config):
    config = changed(tiny_config, runtime={"dask": "tcp://127.0.0.1:9"})
    check_cluster(config.runtime, [step for step in ensemble_plan(config) if step.stage != "member"])


def test_workers_of_another_store_are_refused(address, store, notes, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@mlflow:5000")
    with pytest.raises(UserError, match=r"keeps its runs in 'sqlite.* this run is in 'http://\*\*\*@mlflow:5000'"):
        members(["member"], str(notes), RuntimeConfig(dask=address))


def test_workers_that_may_begin_no_process_are_told_how_they_may(prefect_server, store, notes, tmp_path):
    with (
        cluster(tmp_path, "--nanny") as (address, _),
        pytest.raises(UserError, match="may begin no processes; start it with --no-nanny"),
    ):
        members(["member"], str(notes), RuntimeConfig(dask=address))
