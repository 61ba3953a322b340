"""Figures of many epochs: all of them reach MLflow, in few calls, and in time."""

from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

import semisup.tracking.curves as curves_module
from semisup.tracking.curves import Curves
from semisup.tracking.run import MOST_METRICS_PER_CALL
from semisup.tracking.tracker import Tracker


@pytest.fixture
def tracker(tmp_path):
    return Tracker.open("semisup", tmp_path)


def curve(tracker: Tracker, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in tracker.client.get_metric_history(run_id, name)]


@pytest.fixture
def calls(monkeypatch):
    """How many figures each call to MLflow brought."""
    counts: list[int] = []
    log_batch = MlflowClient.log_batch

    def counted(self, run_id, metrics=(), **rest):
        counts.append(len(metrics))
        return log_batch(self, run_id, metrics=metrics, **rest)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    return counts


@pytest.mark.parametrize("failure", [None, RuntimeError("a bug"), KeyboardInterrupt()])
def test_every_figure_of_every_epoch_is_in_mlflow_however_the_stage_ends(failure, tracker, calls, monkeypatch):
    monkeypatch.setattr(curves_module, "SECONDS_BETWEEN_CALLS", float("inf"))

    def stage() -> None:
        with Curves(run) as curves:
            for epoch in range(1, 301):
                curves.add({"loss": 1 / epoch, "accuracy": epoch / 300, "alpha": 0.0, "steps": epoch}, epoch)
            curves.add({"best_epoch": 300.0})
            if failure is not None:
                raise failure

    with tracker.run("joint", {}) as run:
        if failure is None:
            stage()
        else:
            with pytest.raises(type(failure)):
                stage()
    assert curve(tracker, run.id, "loss") == [(epoch, 1 / epoch) for epoch in range(1, 301)]
    assert curve(tracker, run.id, "best_epoch") == [(0, 300.0)]
    assert [count for count in calls if count] == [MOST_METRICS_PER_CALL, 4 * 300 + 1 - MOST_METRICS_PER_CALL]


def test_a_figure_is_told_with_the_first_one_that_comes_long_enough_after_the_last_call(tracker, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(curves_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with tracker.run("joint", {}) as run, Curves(run) as curves:
        seen = []
        for epoch in range(1, 8):
            now[0] += 0.4 * curves_module.SECONDS_BETWEEN_CALLS
            curves.add({"loss": float(epoch)}, epoch)
            seen.append(len(curve(tracker, run.id, "loss")))
        assert seen == [0, 0, 3, 3, 3, 6, 6]
    assert len(curve(tracker, run.id, "loss")) == 7


def test_a_call_that_failed_once_is_made_again_when_the_block_ends(tracker, monkeypatch):
    monkeypatch.setattr(curves_module, "SECONDS_BETWEEN_CALLS", 0)
    log_batch, failures = MlflowClient.log_batch, [MlflowException("locked")]

    def sometimes(self, *arguments, **options):
        if failures:
            raise failures.pop()
        return log_batch(self, *arguments, **options)

    def stage() -> None:
        with Curves(run) as curves:
            curves.add({"loss": 1.0}, 1)

    with tracker.run("joint", {}) as run:
        monkeypatch.setattr(MlflowClient, "log_batch", sometimes)
        with pytest.raises(MlflowException, match="locked"):
            stage()
    assert curve(tracker, run.id, "loss") == [(1, 1.0)]


def test_a_store_that_goes_away_with_a_failing_stage_does_not_hide_why_it_failed(tracker, monkeypatch):
    def away(*_: Any, **__: Any) -> None:
        raise MlflowException("gone")

    def stage(*, fails: bool) -> None:
        with Curves(run) as curves:
            curves.add({"loss": 1.0}, 1)
            if fails:
                raise ZeroDivisionError

    with tracker.run("joint", {}) as run:
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, "log_batch", away)
            with pytest.raises(ZeroDivisionError):
                stage(fails=True)
            with pytest.raises(MlflowException, match="gone"):
                stage(fails=False)
        stage(fails=False)
    assert curve(tracker, run.id, "loss") == [(1, 1.0)]
