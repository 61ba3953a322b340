"""What Prefect's log is told of a long way (under a worker nobody sees a bar), and MLflow of a resumed training."""

import logging
from typing import Any

import pandas as pd
import pytest

from flows.pipeline.recorder import StageRecorder, Tenths
from flows.store.history import detail
from semisup.pipeline.specs import load_stage
from semisup.tracking.curves import Curves
from semisup.tracking.tracker import Tracker


class Said(list[str]):
    """A logger that keeps its lines."""

    def info(self, line: str, *values: Any) -> None:
        self.append(line % values)


def test_a_line_for_each_tenth_of_the_way_and_again_when_something_else_begins():
    said = Said()
    tell = Tenths(said)
    for note in ("images read", "features of images"):
        for done in range(1, 1001):
            tell(done, 1000, note)
    assert said == [f"{100 * n}/1000 {note}" for note in ("images read", "features of images") for n in range(1, 11)]


def test_a_flow_tells_its_log_how_far_the_decoding_is(tmp_path, monkeypatch):
    from flows.pipeline import flow as pipeline
    from semisup.config import PipelineConfig
    from semisup.data.own_images import as_source

    def decode(data, say):
        say(50, 100, "images read, 50 of them decoded")
        raise InterruptedError

    said = Said()
    monkeypatch.setattr(as_source, "own_images", decode)
    monkeypatch.setattr(pipeline, "get_run_logger", lambda: said)
    config = PipelineConfig.model_validate({"data": {"name": "folder", "root": tmp_path}})
    with pytest.raises(InterruptedError):
        pipeline.checked_config(config)
    assert said == ["50/100 images read, 50 of them decoded"]


class Stopping(StageRecorder):
    """A recorder that raises in the middle of a training, when it has told of an epoch."""

    def metrics(self, values, step=None):
        super().metrics(values, step)
        if step == 5:
            raise InterruptedError


def test_the_figures_of_a_resumed_training_are_those_of_the_run_that_ended(tiny_config, stage_folders, store, tmp_path):
    """MLflow shows the figure of the largest step, so that epochs of a lost run must not stand in the new one."""
    tracker, (lost, ended) = Tracker.open("semisup", store), ("lost", "ended")
    run_stage, runs = load_stage("baseline", tmp_path / "checkpoints"), {}
    (tmp_path / "out").mkdir()
    for name, recorder in ((lost, Stopping), (ended, StageRecorder)):
        try:
            with tracker.run("baseline", {"stage": "baseline"}) as run, Curves(run) as curves:
                runs[name] = run.id
                said = recorder(curves, logging.getLogger("test"))
                run_stage(tiny_config, stage_folders, tmp_path / "out", said)
        except InterruptedError:
            assert name == lost
    assert any(line.startswith("resumed after epoch") for line in said.lines)
    history = pd.read_parquet(tmp_path / "out" / "history.parquet").set_index("epoch")
    shown = detail(tracker, tracker.get(runs[ended]))["metrics"]
    for name, values in history.items():
        told = {point.step: point.value for point in tracker.client.get_metric_history(runs[ended], name)}
        assert told == pytest.approx(values.dropna().to_dict()), name
        assert shown[name] == pytest.approx(values.dropna().iloc[-1])
    assert tracker.get(runs[lost]).status != "FINISHED"
    assert {point.step for point in tracker.client.get_metric_history(runs[lost], history.columns[0])} <= set(
        range(1, 6)
    )
