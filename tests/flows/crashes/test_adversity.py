"""A full disk and a store that goes away: nothing half-written passes for whole, and the same command mends it."""

import json
import os
import resource
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from tests.ports import free_port
from tests.waiting import LONG, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.prefect]
BIN = Path(sys.executable).parent

LARGE = """
name: large
split: {labeled_per_class: 5, validation_per_class: 5}
model: {width: 8}
baseline: {epochs: 2, batch_size: 25}
pseudo_label: {threshold: 0.3}
joint: {epochs: 2, batch_size: 25}
runtime: {device: cpu, threads: 1}
tracking: {system_metrics: false}
"""
"""Weights of 1.5 MB."""
LARGEST_FILE = 1_450_000
"""Bytes: the empty store fits in, and what a run writes into it; the weights and a checkpoint do not."""

STEADY = """
name: steady
split: {labeled_per_class: 5, validation_per_class: 5}
model: {width: 0.5}
baseline: {epochs: 400, batch_size: 25, early_stopping: {patience: 400}}
pseudo_label: {threshold: 0.7}
joint: {epochs: 3, batch_size: 25}
runtime: {device: cpu, threads: 1}
tracking: {system_metrics: false}
"""
"""A baseline that trains for a while."""


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"MLFLOW_TRACKING_URI", "PREFECT_API_URL"}}
    # Without it, MLflow's server starts seven more processes for jobs that nobody gives it.
    own = {"PREFECT_HOME": str(tmp_path / "prefect"), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return kept | own | more


def statuses(client: MlflowClient) -> dict[str, list[str]]:
    """Step → the statuses of its runs."""
    found: dict[str, list[str]] = {}
    for run in client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]):
        found.setdefault(run.data.tags.get("step", "pipeline"), []).append(run.info.status)
    return found


def test_a_full_disk_is_one_line_and_what_was_half_written_is_never_used(store, tmp_path):
    config = tmp_path / "large.yaml"
    config.write_text(LARGE, encoding="utf-8")
    command = [str(BIN / "semisup"), "run", str(config), "--set", "promote.enabled=false", "--json"]

    def no_large_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))

    with prefect_server(tmp_path) as env:  # of its own, for it has large files too
        failed, mended = (
            subprocess.run(
                command, preexec_fn=limit, env=env, capture_output=True, text=True, timeout=LONG, check=False
            )
            for limit in (no_large_files, None)
        )
    assert failed.returncode == 2, failed.stderr
    assert "Traceback" not in failed.stderr
    assert "no space is left" in failed.stderr.splitlines()[-1]
    client = MlflowClient(tracking_uri=f"sqlite:///{store}/mlflow.db")
    found = statuses(client)
    assert (found["pipeline"], found["baseline"]) == (["FINISHED", "FAILED"], ["FINISHED", "FAILED"])
    assert found["split"] == ["FINISHED"]
    assert mended.returncode == 0, mended.stderr
    stages = json.loads(mended.stdout.splitlines()[-1])["stages"]
    assert {name for name, stage in stages.items() if stage["reused"]} == {"split"}


@contextmanager
def serving(command: list[str], health: str, log: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a session of its own, once it answers; killed at the end with all its workers."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=env, start_new_session=True)
    try:
        wait_until(lambda: _answers(health), process, log)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(address, timeout=5):
        return True
    return False


@contextmanager
def prefect_server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of commands that use a Prefect server which lives as long as the block."""
    port, env = free_port(), environment(tmp_path)
    command = [str(BIN / "prefect"), "server", "start", "--no-services", "--no-ui", "--host", "127.0.0.1"]
    health = f"http://127.0.0.1:{port}/api/health"
    with serving([*command, "--port", str(port)], health, tmp_path / "prefect.txt", env):
        yield env | {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}


def mlflow_server(store: Path, port: int, log: Path, env: dict[str, str]):
    command = [str(BIN / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{store}/mlflow.db", "--artifacts-destination", str(store / "kept")]
    return serving(command, f"http://127.0.0.1:{port}/health", log, env)


def test_a_store_that_goes_away_during_training_is_waited_for(store, tmp_path):
    port, log = free_port(), tmp_path / "server.txt"
    config, work = tmp_path / "steady.yaml", tmp_path / "work"
    config.write_text(STEADY, encoding="utf-8")
    work.mkdir()
    address = f"http://127.0.0.1:{port}"
    env = environment(tmp_path, MLFLOW_TRACKING_URI=address, MLFLOW_HTTP_REQUEST_MAX_RETRIES="1")
    command = [str(BIN / "semisup"), "run", str(config), "--set", "promote.enabled=false", "--json"]
    client = MlflowClient(tracking_uri=f"sqlite:///{store}/mlflow.db")
    with (tmp_path / "out.txt").open("wb") as out, (tmp_path / "err.txt").open("wb") as err:
        with mlflow_server(store, port, log, env):
            process = subprocess.Popen(command, cwd=work, env=env, stdout=out, stderr=err, start_new_session=True)
            try:
                wait_until(lambda: "baseline" in statuses(client), process)
                wait_until(lambda: list(work.rglob("*.ckpt")) != [], process)
            except BaseException:
                process.kill()
                raise
        try:
            said = tmp_path / "err.txt"
            wait_until(lambda: "trying again" in said.read_text(encoding="utf-8"), process)
            with mlflow_server(store, port, log, env):
                assert process.wait(timeout=LONG) == 0, said.read_text(encoding="utf-8")
        finally:
            process.kill()
            process.wait()
    assert "resumed after epoch" in (tmp_path / "err.txt").read_text(encoding="utf-8")
    found = statuses(client)
    assert found.pop("pipeline") == ["FINISHED"]
    assert found.pop("baseline") == ["FINISHED", "KILLED"]
    assert all(ends == ["FINISHED"] for ends in found.values())


def test_mlflow_serves_the_champion(rerunnable, finished_run, tmp_path):
    """`mlflow models serve`, as docs/how-to/champion.md has it: uint8 images in, the student's probabilities out."""
    from semisup.data.sources import load_test
    from semisup.stages.support.models.saved import load_model
    from semisup.training.predict import predict_probabilities

    port = free_port()
    env = environment(tmp_path, MLFLOW_TRACKING_URI=f"sqlite:///{rerunnable}/mlflow.db")
    command = [str(BIN / "mlflow"), "models", "serve", "-m", "models:/tiny@champion", "--env-manager", "local"]
    images = load_test("digits").images[:5]
    env["PATH"] = f"{BIN}:{env['PATH']}"
    with serving([*command, "--port", str(port)], f"http://127.0.0.1:{port}/ping", tmp_path / "serve.txt", env):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"inputs": images.tolist()}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=LONG) as response:
            answer = json.loads(response.read())["predictions"]
    joint = finished_run.result["stages"]["joint"]["run_id"]
    expected = predict_probabilities(load_model(rerunnable / "mlartifacts" / joint / "artifacts"), images)
    np.testing.assert_allclose(np.array(answer), expected.numpy(), atol=1e-5)
