"""The student's model is exported in a process of its own, and is there when the flow ends, whatever became of it."""

import signal
from types import SimpleNamespace

import pytest

from flows.parallel import exporting
from semisup.tracking.champions import lost_model
from semisup.tracking.tracker import Tracker
from tests.waiting import LONG

pytestmark = pytest.mark.prefect


@pytest.fixture
def joint(rerunnable, finished_run):
    """The store, and the student's run in it as a kill before the export would have left it."""
    tracker = Tracker.open(finished_run.config.tracking.experiment, rerunnable)
    run_id = finished_run.result["stages"]["joint"]["run_id"]
    tracker.client.delete_tag(run_id, "model_id")
    return SimpleNamespace(tracker=tracker, run_id=run_id, config=finished_run.config)


def the_model(joint) -> str:
    model_id = joint.tracker.get(joint.run_id).tags["model_id"]
    assert lost_model(joint.tracker, model_id) is None
    return model_id


def test_a_process_of_its_own_exports_the_model_and_the_run_then_names_it(joint, monkeypatch):
    monkeypatch.setattr(exporting, "COMPILER", "imported nowhere")
    monkeypatch.setattr(exporting, "export_model", None)  # not here
    exporting.begin_export(joint.tracker, joint.run_id)
    assert exporting._begun[joint.run_id].wait(LONG) == 0
    exporting.finish_export(joint.tracker, joint.config, joint.run_id)
    assert the_model(joint)


def test_a_model_whose_export_was_killed_is_exported_by_the_flow_itself(joint, monkeypatch):
    monkeypatch.setattr(exporting, "COMPILER", "imported nowhere")
    exporting.begin_export(joint.tracker, joint.run_id)
    exporting._begun[joint.run_id].send_signal(signal.SIGKILL)
    monkeypatch.undo()
    exporting.finish_export(joint.tracker, joint.config, joint.run_id)
    assert the_model(joint)


def test_nothing_is_exported_twice(joint, monkeypatch):
    exporting.finish_export(joint.tracker, joint.config, joint.run_id)
    monkeypatch.setattr(exporting, "export_model", None)
    exporting.finish_export(joint.tracker, joint.config, joint.run_id)
    assert the_model(joint)
