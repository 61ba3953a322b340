"""Ctrl-C and SIGTERM in the middle of training: the process ends, and no run is left RUNNING."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tests.waiting import LONG, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.prefect]

ENDLESS = """
name: endless
model: {width: 0.5}
split: {labeled_per_class: 5, validation_per_class: 5}
baseline: {epochs: 100000, batch_size: 25, early_stopping: {patience: 100000}}
runtime: {device: cpu, threads: 1}
"""


def runs_in(folder: Path) -> dict[str, Run]:
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return {run.data.tags["stage"]: run for run in client.search_runs(experiments)}


@pytest.fixture
def training(store_template: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """`semisup run` in a session of its own, in the middle of training the baseline; and its working folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copy(store_template, folder / "mlflow.db")
    config = tmp_path / "endless.yaml"
    config.write_text(ENDLESS, encoding="utf-8")
    environment = os.environ | {"PREFECT_HOME": str(tmp_path / "prefect")}
    environment.pop("MLFLOW_TRACKING_URI", None)
    out, err = (tmp_path / "out").open("w+"), (tmp_path / "err").open("w+")
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("semisup")), "run", str(config), "--json"],
        cwd=folder,
        env=environment,
        stdout=out,
        stderr=err,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: _is_training(folder), process, tmp_path / "err", every=0.5)
        yield process, folder
    finally:
        process.terminate()  # first the way in which it stops its own Prefect server
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the session of this process alone
        process.wait()
        out.close()
        err.close()


def _is_training(folder: Path) -> bool:
    baseline = runs_in(folder).get("baseline")
    return baseline is not None and "train_loss" in baseline.data.metrics


def ctrl_c(process: subprocess.Popen[str]) -> None:
    """What a terminal does: the signal goes to every process in the foreground."""
    os.killpg(process.pid, signal.SIGINT)


def sigint(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)


def sigterm(process: subprocess.Popen[str]) -> None:
    process.terminate()


@pytest.mark.parametrize("interrupt", [ctrl_c, sigint, sigterm])
def test_an_interrupted_pipeline_is_killed_in_mlflow_and_says_so_in_one_line(interrupt, training, tmp_path):
    process, folder = training
    interrupt(process)
    status = process.wait(timeout=LONG)
    statuses = {stage: run.info.status for stage, run in runs_in(folder).items()}
    assert statuses == {"pipeline": "KILLED", "split": "FINISHED", "baseline": "KILLED"}
    assert status not in {0, 2}
    stderr = (tmp_path / "err").read_text(encoding="utf-8")
    assert "Traceback" not in stderr
    assert "KILLED in MLflow" in stderr.splitlines()[-1]
    assert (tmp_path / "out").read_text(encoding="utf-8") == ""
