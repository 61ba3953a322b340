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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.output import Figure, publish_figures
from flows.server import answers

SEMISUP = str(Path(sys.executable).with_name("semisup"))


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
    fresh, known, served, cached, shares = [], [], [], [], []
    for turn in range(turns):
        with tempfile.TemporaryDirectory() as folder:
            fresh.append(_until_first_epoch(folder, seed=turn))
            known.append(_until_first_epoch(folder, seed=turn + 100))
            with _server() as url:
                served.append(_until_first_epoch(folder, seed=turn + 300, PREFECT_API_URL=url))
            cached.append(_run(folder, seed=turn)["seconds"])
            shares.append(_share_of_records(folder, seed=turn + 200))
    return [
        Figure.of("semisup --help, s", helped, "≤ 0.3"),
        Figure.of("first epoch, fresh store and no server, s", fresh, "≤ 20"),
        Figure.of("first epoch, known store and no server, s", known, "≤ 20"),
        Figure.of("first epoch, known store and a server that runs, s", served, "≤ 8"),
        Figure.of("a run that reuses everything, after start-up, s", cached, "≤ 2"),
        Figure.of("MLflow and Prefect / a pipeline of a minute", shares, "≤ 0.05"),
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
            while not answers(url):
                assert process.poll() is None, "Prefect's server did not start"
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


def _run(folder: str, seed: int, *changes: str) -> dict[str, float]:
    overrides = [part for change in (f"seed={seed}", *changes) for part in ("--set", change)]
    command = [SEMISUP, "run", "digits", "--json", *overrides]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _share_of_records(folder: str, seed: int) -> float:
    """Of a pipeline's seconds, what is not in its stages as plain functions.

    Budgets on the wall, which hold on both sides alike, make a minute: the difference is what stands around the stages.
    """
    budgets = ["baseline.budget=25s wall", "joint.budget=30s wall", "baseline.early_stopping.patience=9999"]
    budgets.append("joint.early_stopping.patience=9999")
    whole = _run(folder, seed, *budgets)["seconds"]
    code = (
        "import sys, tempfile, time; from pathlib import Path; from semisup.config_files import load_config\n"
        "from semisup.stages import Silence, load_stage, plan\n"
        "config, seconds, folders = load_config(Path(sys.argv[1]), sys.argv[2:]), 0.0, {}\n"
        "for warm in (True, False):\n"
        "    for step in plan(config):\n"
        "        if step.stage == 'promote': continue\n"
        "        if warm and step.stage != 'split': break\n"
        "        folder = Path(tempfile.mkdtemp())\n"
        "        inputs = {role: folders[name] for role, name in step.upstream.items() if name in folders}\n"
        "        stage = load_stage(step.stage)\n"
        "        started = time.perf_counter()\n"
        "        stage(config, inputs, folder, Silence())\n"
        "        if not warm: seconds += time.perf_counter() - started\n"
        "        folders[step.name] = folder\n"
        "print(seconds)\n"
    )
    config = Path(__file__).parents[1] / "configs" / "digits.yaml"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", code, str(config), f"seed={seed}", *budgets]
    plain = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return (whole - float(plain.stdout)) / whole


if __name__ == "__main__":
    main()
