"""What killed processes left is closed; what lives is left alone."""

import contextlib
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, tags
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.runtime import flow_run
from prefect.states import Running

from flows.pipeline.reaper import close_lost_flow_runs, reaper
from flows.start.launch import MARK, mark_flow_run, marked
from semisup.config import PipelineConfig
from semisup.system.processes import SECONDS_UNTIL_GONE, beat, process_tags
from semisup.tracking.tracker import Tracker

pytestmark = pytest.mark.prefect


@pytest.fixture(scope="module")
def dead() -> dict[str, str]:
    """The tags of a process of this machine that has ended."""
    import json

    code = "import json; from semisup.system.processes import *; print(json.dumps(process_tags()))"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    tags: dict[str, str] = json.loads(outcome.stdout)
    return tags


def running(tracker: Tracker, **tags: str) -> str:
    run = tracker.client.create_run(tracker.experiment_id, tags={"semisup.version": "0", **tags})
    return str(run.info.run_id)


@pytest.mark.usefixtures("prefect_server")
def test_lost_runs_are_closed_and_living_ones_and_strangers_are_not(store, dead, monkeypatch):
    tracker = Tracker.open("semisup", Path.cwd())
    monkeypatch.setattr("semisup.tracking.reader.SECONDS_BETWEEN_BEATS", 0.1)
    away = {"machine": "elsewhere", "pid": "1", "pid.started": "1.0"}
    lost = running(tracker, **dead)
    silent = running(tracker, **away, heartbeat=str(float(beat()) - SECONDS_UNTIL_GONE - 5))
    beating = running(tracker, **away, heartbeat=beat())
    stranger = str(tracker.client.create_run(tracker.experiment_id, tags=dead).info.run_id)
    with tracker.run("mine", {}) as mine:
        assert reaper(PipelineConfig())["mlflow_runs"] == 2
        found = {run_id: tracker.get(run_id) for run_id in (lost, silent, beating, stranger, mine.id)}
    assert {run_id for run_id, run in found.items() if run.status == "KILLED"} == {lost, silent}
    assert {found[run_id].status for run_id in (beating, stranger, mine.id)} == {"RUNNING"}
    assert dead["pid"] in found[lost].tags["error"]
    assert reaper(PipelineConfig())["mlflow_runs"] == 0


def test_a_run_of_this_process_that_could_not_be_ended_is_lost_too(store, monkeypatch):
    """The store was away when its end was to be written; the process lives on and tries again."""
    tracker = Tracker.open("semisup", Path.cwd())
    with monkeypatch.context() as away:
        from mlflow.exceptions import MlflowException

        def no_answer(*_: Any, **__: Any) -> None:
            raise MlflowException("API request failed with exception: no route to host")

        with contextlib.suppress(RuntimeError), tracker.run("mine", {"fingerprint": "f"}) as run:
            away.setattr(type(tracker.client), "set_terminated", no_answer)
            assert tracker.running("f") != []
            raise RuntimeError("the first error")
    assert tracker.get(run.id).status == "RUNNING"
    assert tracker.running("f") == []
    assert [lost.id for lost in tracker.close_lost()] == [run.id]
    assert tracker.get(run.id).status == "KILLED"


def marked_flow_run(tags: dict[str, str]) -> Any:
    """A RUNNING flow run in Prefect whose process wrote these tags."""

    @flow
    def nothing() -> None:
        """Only its name is needed."""

    with get_client(sync_client=True) as client:
        marks = [MARK, *(f"{name}={tags[name]}" for name in ("host", "machine", "pid", "pid.started"))]
        return client.create_flow_run(nothing, tags=marks, state=Running())


def test_a_heart_that_beats_again_while_it_is_listened_to_is_alive(store, monkeypatch):
    """Its machine's clock is an hour behind, or the store was away for a while."""
    tracker = Tracker.open("semisup", Path.cwd())
    away = {"machine": "elsewhere", "pid": "1", "pid.started": "1.0"}
    hour_ago = float(beat()) - 3600
    run_id = running(tracker, **away, heartbeat=str(hour_ago))

    def it_beats(_seconds: float) -> None:
        tracker.client.set_tag(run_id, "heartbeat", str(hour_ago + 15))

    monkeypatch.setattr("semisup.tracking.reader.time.sleep", it_beats)
    assert tracker.close_lost() == []
    assert tracker.get(run_id).status == "RUNNING"


def test_a_run_that_ended_well_before_its_process_went_is_left_as_it_ended(store, dead, monkeypatch):
    """It was RUNNING at the first look."""
    tracker = Tracker.open("semisup", Path.cwd())
    run_id = running(tracker, **dead)
    before = tracker.search("")
    tracker.client.set_terminated(run_id, "FINISHED")
    monkeypatch.setattr(type(tracker), "search", lambda *_: before)
    assert tracker.close_lost() == []
    assert tracker.get(run_id).status == "FINISHED"


@pytest.mark.usefixtures("prefect_server")
def test_flow_runs_of_another_boot_are_crashed_once_their_mlflow_run_is_closed(store, dead):
    lost, living = (marked_flow_run(dead | {"machine": "elsewhere"}) for _ in range(2))
    tracker = Tracker.open("semisup", Path.cwd())
    for run, status in ((lost, "KILLED"), (living, "RUNNING")):
        run_id = running(tracker, **{"prefect.flow_run_id": str(run.id)})
        if status != "RUNNING":
            tracker.client.set_terminated(run_id, status)
    assert close_lost_flow_runs(tracker, logging.getLogger("test")) == [lost.name]


@pytest.mark.usefixtures("prefect_server")
def test_a_retried_flow_run_bears_the_marks_of_its_new_process_alone(dead):
    """Of two processes' marks the pid of one and the start of the other would make a process that never was."""

    @flow
    def retried() -> None:
        mark_flow_run()

    with tags(*(f"{name}={dead[name]}" for name in ("host", "machine", "pid", "pid.started")), "mine"):
        state = retried(return_state=True)
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(state.state_details.flow_run_id).tags
    now = process_tags()
    assert set(found) == {"mine", MARK, *(f"{n}={now[n]}" for n in ("host", "machine", "pid", "pid.started"))}


@pytest.mark.usefixtures("prefect_server")
def test_flow_runs_of_dead_processes_of_this_machine_are_crashed_and_others_left(store, dead):
    lost, mine = marked_flow_run(dead), marked_flow_run(process_tags())
    away = marked_flow_run(dead | {"machine": "elsewhere"})
    closed = close_lost_flow_runs(Tracker.open("semisup", store), logging.getLogger("test"))
    assert closed == [lost.name]
    with get_client(sync_client=True) as client:
        states = {run.name: client.read_flow_run(run.id).state for run in (lost, mine, away)}
    assert states[lost.name].type == StateType.CRASHED
    assert "without a word" in states[lost.name].message
    assert {states[run.name].type for run in (mine, away)} == {StateType.RUNNING}


@pytest.mark.usefixtures("prefect_server")
def test_a_command_marks_its_flow_run_before_the_flow_begins():
    """A kill between the run's creation and a mark of its own would leave it RUNNING for ever."""

    @flow
    def looks_at_itself() -> list[str]:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(flow_run.id).tags

    with marked():
        found = looks_at_itself()
    assert f"pid={process_tags()['pid']}" in found
    assert MARK in found
