"""How long a person waits before anything happens, and what the records cost, in a folder of its own on digits.

Seconds on the wall, so the machine must have nothing else to do. A run that does not count comes first: the very first
one after installing compiles torch, Prefect and MLflow to bytecode. "First epoch" is from the command's start to the
first line of the baseline's progress, which comes with its first epoch; Prefect's server begins with the command.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.output import Figure, publish_figures
from flows.start.server import SECONDS_TO_START, answers

SEMISUP = str(Path(sys.executable).with_name("semisup"))
LIBRARIES = "import torch, torchvision, mlflow, prefect"
"""What a process that only imports does: the measure of the wait for the first epoch, and of a run's memory."""


def main() -> None:
    """Print and save the figures; `quick` takes fewer turns."""
    publish_figures("start_up", measure(quick="--quick" in sys.argv))


def measure(*, quick: bool) -> list[Figure]:
    """Help, the first epoch in a fresh store and in a known one, a run that reuses everything, and the records."""
    turns = 1 if quick else 3
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process compiles them
    with tempfile.TemporaryDirectory() as folder:
        _run(folder, seed=0)
    helped = [_seconds([SEMISUP, "--help"]) for _ in range(5 * turns + 1)][1:]
    bare, fresh, known, served, cached, shares = [], [], [], [], [], []
    for turn in range(turns):
        with tempfile.TemporaryDirectory() as folder:
            bare.append(_seconds([sys.executable, "-c", LIBRARIES]))
            fresh.append(_until_first_epoch(folder, seed=turn))
            known.append(_until_first_epoch(folder, seed=turn + 100))
            with _server() as url:
                served.append(_until_first_epoch(folder, seed=turn + 300, PREFECT_API_URL=url))
            _run(folder, seed=turn)  # another seed may have made the champion since: it is judged against that one
            cached.append(_seconds_reused(folder, seed=turn))
            shares.append(_share_of_records(folder, seed=turn + 200))
    return [
        Figure.of("semisup --help, s", helped, "≤ 0.3"),
        Figure.of("first epoch, fresh store and no server, s", fresh, "≤ 20"),
        Figure.ratio("… / imports of torch, torchvision, MLflow and Prefect in one process", fresh, bare, "≤ 1.3"),
        Figure.of("first epoch, known store and no server, s", known, "≤ 20"),
        Figure.of("first epoch, known store and a server that runs, s", served, "≤ 8"),
        Figure.of("a run that reuses everything, after start-up, s", cached, "≤ 2"),
        Figure.of("a minute's pipeline: all but its stages, and what they report / all of it", shares, "≤ 0.04"),
    ]


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


@contextmanager
def _server() -> Iterator[str]:
    """The address of a Prefect server that runs until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    command = [str(Path(sys.executable).with_name("prefect")), "server", "start", "--port", str(port), "--no-ui"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + SECONDS_TO_START
            while not answers(url):
                assert process.poll() is None, "Prefect's server ended"
                assert time.monotonic() < deadline, "Prefect's server did not start"
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()


def _until_first_epoch(folder: str, seed: int, **environment: str) -> float:
    """The run goes on to its end: a run that is cut off would leave work for the next."""
    started = time.perf_counter()
    command = [SEMISUP, "run", "digits", "--set", f"seed={seed}"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=folder, env=os.environ | environment, **pipes) as process:
        assert process.stdout is not None
        seconds = next(time.perf_counter() - started for line in process.stdout if line.startswith("baseline: 1/"))
        process.stdout.read()
    assert process.returncode == 0
    return seconds


def _run(folder: str, seed: int) -> dict[str, Any]:
    command = [SEMISUP, "run", "digits", "--json", "--set", f"seed={seed}"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _seconds_reused(folder: str, seed: int) -> float:
    result = _run(folder, seed)
    assert all(stage["reused"] for stage in result["stages"].values()), "a run that reuses everything is measured"
    return float(result["seconds"])


def _share_of_records(folder: str, seed: int) -> float:
    """Budgets on the wall make a minute, in a process of its own as the command line's."""
    code = f"from benchmarks.commands.start_up import print_share_of_records; print_share_of_records({seed})"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout.splitlines()[-1])


def print_share_of_records(seed: int) -> None:
    """Of the flow's seconds, those that are spent neither in a stage nor on importing one, but for its records.

    What a stage tells its recorder, such as every epoch's figures, counts as records: training waits for it. What
    Prefect's server and the threads that beat and sample take away from training is not seen.
    """
    from flows.pipeline.recorder import StageRecorder
    from flows.start.preparation import modules_of, prepare
    from flows.start.server import ensure_prefect_api
    from semisup.pipeline.specs import StageSpec

    spent = {"stages": 0.0, "recorder": 0.0}

    def timed(what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                spent[what] += time.perf_counter() - started

        return wrapped

    for name in ("metrics", "info", "warning", "progress"):
        setattr(StageRecorder, name, timed("recorder", getattr(StageRecorder, name)))
    load = timed("stages", StageSpec.load)
    budgets = ["baseline.budget=20s wall", "joint.budget=25s wall", "baseline.early_stopping.patience=9999"]
    config, _ = prepare("digits", [f"seed={seed}", *budgets, "joint.early_stopping.patience=9999"], own_server=True)
    ensure_prefect_api(meanwhile=modules_of(config))
    from flows.pipeline.flow import pipeline

    started = time.perf_counter()
    with mock.patch.object(StageSpec, "load", lambda *arguments: timed("stages", load(*arguments))):
        pipeline(config)
    seconds = time.perf_counter() - started
    assert 45 < seconds < 90, f"a pipeline of a minute is measured, and this took {seconds:.0f} s"
    print((seconds - spent["stages"] + spent["recorder"]) / seconds)


if __name__ == "__main__":
    main()
