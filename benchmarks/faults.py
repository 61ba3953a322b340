"""Crashes on purpose: pipelines killed at random moments, and pipelines started together.

    python -m benchmarks.faults kills --count 100 --seed 0     # kill -9, rerun, compare with an undisturbed pipeline
    python -m benchmarks.faults together --count 20            # two `semisup run` of one config at once

Every kill's moment follows from the seed and the number of its pipeline, so a failure can be replayed: `--only 17`.
The exit status is 1 if any pipeline ends with other bits, a run is left RUNNING, or damaged artifacts pass for whole.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.output import publish

CONFIG = """
name: faults
split: {labeled_per_class: 5, validation_per_class: 5}
model: {width: 0.5, dropout: 0.2}
baseline:
  epochs: 40
  batch_size: 25
  ema_decay: 0.9
  augment: {rotation: 10, shift: 0.1}
pseudo_label: {threshold: 0.7}
joint:
  epochs: 12
  batch_size: 25
  ramp_end: 4
  ema_decay: 0.9
  augment: {rotation: 10, shift: 0.1}
  mixup: {alpha: 0.4, every_n_batches: 2}
  mixup_pseudo_labels: true
runtime: {device: cpu, threads: 1}
tracking: {system_metrics: false}
"""
"""Seconds of training with everything that draws random numbers: dropout, augmentation, mixup, shuffling; and EMA."""
LONGEST = 600.0
SEMISUP = str(Path(sys.executable).with_name("semisup"))


@dataclass
class Outcome:
    """One pipeline that was disturbed, in the end."""

    number: int
    kills: list[float] = field(default_factory=list)
    """Seconds after the start of a command at which it was killed."""
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Bench:
    """What all pipelines of a benchmark share: a Prefect server, an empty migrated store, a config."""

    folder: Path
    environment: Mapping[str, str]

    def new_store(self, name: str) -> Path:
        """A working folder of its own with an empty store."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "mlflow.db").write_bytes((self.folder / "template.db").read_bytes())
        return folder

    def start(self, folder: Path) -> "subprocess.Popen[bytes]":
        """`semisup run` in a working folder."""
        with (folder / "err.txt").open("ab") as err, (folder / "out.txt").open("wb") as out:
            return subprocess.Popen(
                [SEMISUP, "run", str(self.folder / "faults.yaml"), "--json"],
                cwd=folder,
                env=dict(self.environment),
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def finish(self, folder: Path) -> float:
        """Run to the end; seconds."""
        started = time.perf_counter()
        process = self.start(folder)
        status = process.wait(timeout=LONGEST)
        if status != 0:
            raise RuntimeError(f"status {status}: {(folder / 'err.txt').read_text(encoding='utf-8')[-2000:]}")
        return time.perf_counter() - started


@contextmanager
def bench() -> Iterator[Bench]:
    """Everything is started in a temporary folder, and stopped and deleted at the end."""
    from flows.server import ensure_prefect_api

    with tempfile.TemporaryDirectory(prefix="semisup-faults-") as name:
        folder = Path(name)
        os.environ["PREFECT_HOME"] = str(folder / "prefect")
        ensure_prefect_api()
        from mlflow.tracking import MlflowClient
        from prefect.settings import PREFECT_API_URL

        MlflowClient(tracking_uri=f"sqlite:///{folder}/template.db").search_experiments()
        (folder / "faults.yaml").write_text(CONFIG, encoding="utf-8")
        kept = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
        yield Bench(folder, kept | {"PREFECT_API_URL": str(PREFECT_API_URL.value())})


def digests(folder: Path) -> dict[str, str]:
    """Step → output digest, of a finished pipeline."""
    from semisup.tracking.tracker import Tracker

    result = json.loads((folder / "out.txt").read_text(encoding="utf-8").splitlines()[-1])
    tracker = Tracker.existing(folder)
    return {name: tracker.get(stage["run_id"]).tags["output_digest"] for name, stage in result["stages"].items()}


def faults_in(folder: Path, expected: Mapping[str, str]) -> list[str]:
    """What is wrong in the store of a pipeline that has come to its end."""
    from semisup.tracking.tracker import Tracker

    problems = []
    found = digests(folder)
    problems += [f"{step} ended with other bits" for step in expected if found.get(step) != expected[step]]
    tracker = Tracker.existing(folder)
    running = tracker.search("attributes.status = 'RUNNING'")
    problems += [f"run {run.id} ({run.tags.get('step', 'pipeline')}) is left RUNNING" for run in running]
    trained: dict[str, int] = {}
    for run in tracker.search("tags.complete = 'true' and attributes.status = 'FINISHED'"):
        if "fingerprint" in run.tags:
            trained[run.tags["step"]] = trained.get(run.tags["step"], 0) + 1
            damage = tracker.damage(run, folder)
            problems += [f"run {run.id} is complete, but {damage}"] if damage else []
    problems += [f"{step} was completed {count} times" for step, count in trained.items() if count > 1]
    if list((folder / ".semisup" / "scratch").glob("*")) or list((folder / ".semisup" / "checkpoints").glob("*")):
        problems.append("scratch folders or checkpoints are left")
    return problems


def draw_moments(number: int, kills: int, seed: int, usual: float) -> list[float]:
    """When a pipeline's commands are killed, in seconds after each one's start: uniform over a usual command's time."""
    generator = random.Random(f"{seed}:{number}")
    return [generator.uniform(0, usual) for _ in range(kills)]


def disturbed(setting: Bench, number: int, moments: Sequence[float], expected: Mapping[str, str]) -> Outcome:
    """One pipeline: killed at each moment, each time started again with the same command, and then left in peace."""
    outcome, folder = Outcome(number), setting.new_store(f"killed-{number}")
    for moment in moments:
        process = setting.start(folder)
        try:
            process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            outcome.kills.append(round(moment, 3))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    try:
        setting.finish(folder)
        outcome.problems = faults_in(folder, expected)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        outcome.problems = [str(error)]
    return outcome


def together(setting: Bench, number: int, expected: Mapping[str, str]) -> Outcome:
    """Two processes that run one config on one store, started at the same moment."""
    outcome, folder = Outcome(number), setting.new_store(f"together-{number}")
    with ThreadPoolExecutor(2) as both:
        ends = [both.submit(setting.finish, folder) for _ in range(2)]
    for end in ends:
        if end.exception() is not None:
            outcome.problems.append(str(end.exception()))
    return outcome if outcome.problems else Outcome(number, problems=faults_in(folder, expected))


def unfinished_flow_runs() -> list[str]:
    """Names of flow runs that Prefect believes to be under way."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType

    wanted = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING]))
    with get_client(sync_client=True) as client:
        return [run.name for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(state=wanted))]


def run_kills(setting: Bench, arguments: argparse.Namespace) -> dict[str, Any]:
    """`count` kills, some to each pipeline."""
    reference = setting.new_store("reference")
    usual = setting.finish(reference)
    expected = digests(reference)
    numbers = [arguments.only] if arguments.only is not None else range(-(-arguments.count // arguments.each))
    with ThreadPoolExecutor(arguments.workers) as workers:
        jobs = [
            workers.submit(
                disturbed, setting, number, draw_moments(number, arguments.each, arguments.seed, usual), expected
            )
            for number in numbers
        ]
        outcomes = [_told(job.result()) for job in jobs]
    moments = [moment for outcome in outcomes for moment in outcome.kills]
    return {
        "pipelines": len(outcomes),
        "kills": len(moments),
        "kills after the first step was under way": sum(moment > 0.4 * usual for moment in moments),
        "seconds of an undisturbed command": usual,
        "median moment of a kill, seconds": statistics.median(moments) if moments else None,
        "pipelines with a problem": sum(bool(outcome.problems) for outcome in outcomes),
        "problems": [f"{outcome.number}: {problem}" for outcome in outcomes for problem in outcome.problems],
        "flow runs left unfinished in Prefect": unfinished_flow_runs(),
    }


def run_together(setting: Bench, arguments: argparse.Namespace) -> dict[str, Any]:
    """`count` pairs."""
    reference = setting.new_store("reference")
    setting.finish(reference)
    expected = digests(reference)
    outcomes = [_told(together(setting, number, expected)) for number in range(arguments.count)]
    return {
        "pairs": len(outcomes),
        "pairs with a problem": sum(bool(outcome.problems) for outcome in outcomes),
        "problems": [f"{outcome.number}: {problem}" for outcome in outcomes for problem in outcome.problems],
    }


def _told(outcome: Outcome) -> Outcome:
    killed = f" killed at {outcome.kills}" if outcome.kills else ""
    print(f"pipeline {outcome.number}{killed}: {'; '.join(outcome.problems) or 'well'}", flush=True)
    return outcome


def main() -> None:
    """Runs one of the two and saves its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kills", "together"])
    parser.add_argument("--count", type=int, default=100, help="kills, or pairs")
    parser.add_argument("--each", type=int, default=4, help="kills of one pipeline")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="pipelines at the same time")
    parser.add_argument("--only", type=int, help="number of the one pipeline to replay")
    arguments = parser.parse_args()
    with bench() as setting:
        figures = (run_kills if arguments.what == "kills" else run_together)(setting, arguments)
    rows = [{"figure": name, "value": value} for name, value in figures.items()]
    publish(f"faults_{arguments.what}", rows, f"seed {arguments.seed}, {arguments.workers} pipelines at a time")
    sys.exit(bool(figures["problems"] or figures.get("flow runs left unfinished in Prefect")))


if __name__ == "__main__":
    main()
