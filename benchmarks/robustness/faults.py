"""Crashes on purpose: pipelines killed at random moments, and pipelines started together; and what may befall files.

    python -m benchmarks.robustness.faults kills --count 100 --seed 0  # kill -9, rerun, compare with one left alone
    python -m benchmarks.robustness.faults together --count 20         # two `semisup run` of one config at once
    python -m benchmarks.robustness.faults moved --count 10            # stores moved and copied: run and predict there
    python -m benchmarks.robustness.faults caches                      # bytes changed and files cut short, at random
    python -m benchmarks.robustness.faults configs --count 1000        # drawn from the schema: each is refused, or runs
    python -m benchmarks.robustness.faults layouts                     # state and cache in folders of foreign files

Every kill's moment follows from the seed and the number of its pipeline, so a failure can be replayed: `--only 17`.
The exit status is 1 if any pipeline ends with other bits, a run is left RUNNING, or damaged artifacts pass for whole.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.output import publish
from benchmarks.robustness.damage import damaged_caches, foreign_layouts, opening
from benchmarks.robustness.random_configs import try_all

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
    pipelines: int = 1
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
        shutil.copy(self.folder / "template.db", folder / "mlflow.db")
        return folder

    def start(self, folder: Path, out_file: str = "out.txt") -> "subprocess.Popen[bytes]":
        """`semisup run` in a working folder."""
        with (folder / "err.txt").open("ab") as err, (folder / out_file).open("wb") as out:
            return subprocess.Popen(
                [SEMISUP, "run", str(self.folder / "faults.yaml"), "--json"],
                cwd=folder,
                env=dict(self.environment),
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def finish(self, folder: Path, out_file: str = "out.txt") -> float:
        """Run to the end; seconds."""
        started = time.perf_counter()
        process = self.start(folder, out_file)
        status = process.wait(timeout=LONGEST)
        if status != 0:
            raise RuntimeError(f"status {status}: {(folder / 'err.txt').read_text(encoding='utf-8')[-2000:]}")
        return time.perf_counter() - started


@contextmanager
def bench() -> Iterator[Bench]:
    """Everything is started in a temporary folder, and stopped and deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="semisup-faults-") as name:
        folder = Path(name)
        kept = {
            key: value for key, value in os.environ.items() if key not in {"MLFLOW_TRACKING_URI", "PREFECT_API_URL"}
        }
        environment = kept | {"PREFECT_HOME": str(folder / "prefect")}
        with prefect_server(folder, environment) as url:
            (folder / "faults.yaml").write_text(CONFIG, encoding="utf-8")
            setting = Bench(folder, environment | {"PREFECT_API_URL": url})
            empty = (
                "from pathlib import Path; from semisup.tracking.tracker import Tracker; Tracker.open('faults', Path())"
            )
            subprocess.run([sys.executable, "-c", empty], cwd=folder, env=environment, check=True)
            (folder / "mlflow.db").rename(folder / "template.db")
            yield setting


@contextmanager
def prefect_server(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """The address of a Prefect server for all commands: each would else start its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-services", "--no-ui"]
    with (folder / "server.txt").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], env=dict(environment), stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + LONGEST
        while server.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        server.terminate()
        server.wait(timeout=60)


def digests(folder: Path, out_file: str = "out.txt") -> dict[str, str]:
    """Step → output digest, of a finished pipeline."""
    from semisup.tracking.tracker import Tracker

    result = json.loads((folder / out_file).read_text(encoding="utf-8").splitlines()[-1])
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
    crowned = [version.tags["promoted_by"] for version in tracker.client.search_model_versions("name='faults'")]
    if len(crowned) != 1:
        problems.append(f"there are {len(crowned)} versions of the one model")
    if list((folder / ".semisup" / "scratch").glob("*")) or list((folder / ".semisup" / "checkpoints").glob("*")):
        problems.append("scratch folders or checkpoints are left")
    return problems


def disturbed(
    setting: Bench, number: int, *, kills: int, seed: int, usual: float, expected: Mapping[str, str]
) -> Outcome:
    """Pipelines of a worker: killed at moments uniform over a usual command's time, and started again each time.

    A pipeline that ends before its moment comes is checked, and another one begun, until there were enough kills.
    """
    outcome, stores, generator = Outcome(number), itertools.count(), random.Random(f"{seed}:{number}")
    folder = setting.new_store(f"killed-{number}-{next(stores)}")
    while len(outcome.kills) < kills:
        process = setting.start(folder)
        moment = generator.uniform(0, usual)
        try:
            process.wait(timeout=moment)
            outcome.problems += _ending(setting, folder, process.returncode, expected)
            folder = setting.new_store(f"killed-{number}-{next(stores)}")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            outcome.kills.append(round(moment, 3))
    last = setting.start(folder)
    outcome.problems += _ending(setting, folder, last.wait(timeout=LONGEST), expected)
    outcome.pipelines = next(stores)
    return outcome


def _ending(setting: Bench, folder: Path, status: int, expected: Mapping[str, str]) -> list[str]:
    if status != 0:
        return [f"status {status}: {(folder / 'err.txt').read_text(encoding='utf-8')[-2000:]}"]
    return faults_in(folder, expected)


def together(setting: Bench, number: int, expected: Mapping[str, str] | None) -> tuple[Outcome, Mapping[str, str]]:
    """Two processes that run one config on one store, started at the same moment; how it went, and what they left.

    Both must end with the same runs, and with the digests `expected` where those are known.
    """
    outcome, folder = Outcome(number), setting.new_store(f"together-{number}")
    with ThreadPoolExecutor(2) as both:
        ends = [both.submit(setting.finish, folder, file) for file in ("out.txt", "other.txt")]
    for end in ends:
        if end.exception() is not None:
            outcome.problems.append(str(end.exception()))
    if outcome.problems:
        return outcome, {}
    found, others = digests(folder), digests(folder, "other.txt")
    outcome.problems = faults_in(folder, expected or found)
    outcome.problems += ["the two ended with different results"] if found != others else []
    return outcome, found


def unfinished_flow_runs(setting: Bench) -> list[str]:
    """Names of flow runs that Prefect believes to be under way."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType
    from prefect.settings import PREFECT_API_URL, temporary_settings

    wanted = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING]))
    with (
        temporary_settings({PREFECT_API_URL: setting.environment["PREFECT_API_URL"]}),
        get_client(sync_client=True) as client,
    ):
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
                disturbed,
                setting,
                number,
                kills=arguments.each,
                seed=arguments.seed,
                usual=usual,
                expected=expected,
            )
            for number in numbers
        ]
        outcomes = [_told(job.result()) for job in jobs]
    moments = [moment for outcome in outcomes for moment in outcome.kills]
    return {
        "pipelines": sum(outcome.pipelines for outcome in outcomes),
        "kills": len(moments),
        "kills after the first step was under way": sum(moment > 0.4 * usual for moment in moments),
        "seconds of an undisturbed command": usual,
        "median moment of a kill, seconds": statistics.median(moments) if moments else None,
        "problems": [f"{outcome.number}: {problem}" for outcome in outcomes for problem in outcome.problems],
        "flow runs left unfinished in Prefect": unfinished_flow_runs(setting),
    }


def run_together(setting: Bench, arguments: argparse.Namespace) -> dict[str, Any]:
    """`count` pairs."""
    reference = setting.new_store("reference")
    setting.finish(reference)
    expected = digests(reference)
    outcomes = [_told(together(setting, number, expected)[0]) for number in range(arguments.count)]
    return {
        "pairs": len(outcomes),
        "pairs with a problem": sum(bool(outcome.problems) for outcome in outcomes),
        "problems": [f"{outcome.number}: {problem}" for outcome in outcomes for problem in outcome.problems],
    }


def run_moved(setting: Bench, arguments: argparse.Namespace) -> dict[str, Any]:
    """`count` stores, one after another moved or copied; each is run and asked for a prediction where it lies then."""
    reference = setting.new_store("reference")
    setting.finish(reference)
    picture = setting.folder / "picture.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(picture)
    outcomes = [_told(moved(setting, reference, number, picture)) for number in range(arguments.count)]
    return {
        "stores": len(outcomes),
        "stores that went on with everything and touched nothing else": sum(not it.problems for it in outcomes),
        "problems": [f"{outcome.number}: {problem}" for outcome in outcomes for problem in outcome.problems],
    }


def moved(setting: Bench, reference: Path, number: int, picture: Path) -> Outcome:
    """A copy of a finished store, opened once where it lies, then moved (odd numbers) or copied (even ones)."""
    from semisup.tracking.tracker import Tracker

    outcome = Outcome(number)
    there, here = setting.folder / f"there-{number}", setting.folder / f"here-{number}"
    shutil.copytree(reference, there)
    Tracker.open("faults", there)
    shutil.copytree(there, here) if number % 2 == 0 else there.rename(here)
    before = _contents(there)
    setting.finish(here)
    result = json.loads((here / "out.txt").read_text(encoding="utf-8").splitlines()[-1])
    trained = [name for name, stage in result["stages"].items() if not stage["reused"]]
    outcome.problems += [f"{name} was not reused" for name in trained]
    asked = [SEMISUP, "predict", "models:/faults@champion", str(picture), "--json"]
    said = subprocess.run(asked, cwd=here, env=dict(setting.environment), capture_output=True, text=True, check=False)
    outcome.problems += [f"predict: {said.stderr.strip()[-300:]}"] if said.returncode else []
    outcome.problems += ["the old place was touched"] if _contents(there) != before else []
    return outcome


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_caches(arguments: argparse.Namespace) -> dict[str, Any]:
    """`count` damages, and how long it takes to open a pack of a million images."""
    with tempfile.TemporaryDirectory(prefix="semisup-faults-") as name:
        figures = damaged_caches(Path(name) / "damaged", arguments.count, arguments.seed)
        return figures | {"opening": opening(Path(name), 1_000_000, 32)}


def run_layouts(arguments: argparse.Namespace) -> dict[str, Any]:
    """`count` folders of foreign files."""
    code = "from semisup.system.own_files import owner; print(owner())"
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="semisup-faults-") as name:
        return foreign_layouts(Path(name), arguments.count, arguments.seed, dead, time.time())


def _told(outcome: Outcome) -> Outcome:
    killed = f" killed at {outcome.kills}" if outcome.kills else ""
    print(f"pipeline {outcome.number}{killed}: {'; '.join(outcome.problems) or 'well'}", flush=True)
    return outcome


def run_configs(arguments: argparse.Namespace) -> dict[str, Any]:
    """`count` configs drawn from the schema."""
    return try_all(arguments.count, arguments.seed, arguments.workers, arguments.only)


def main() -> None:
    """Runs one of them and saves its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*WITH_PIPELINES, *ALONE])
    parser.add_argument("--count", type=int, default=100, help="kills, pairs, stores, damages, layouts or configs")
    parser.add_argument("--each", type=int, default=4, help="kills of one pipeline")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="pipelines, or configs, at the same time")
    parser.add_argument("--only", type=int, help="number of the one pipeline, or config, to replay")
    arguments = parser.parse_args()
    if arguments.what in ALONE:
        figures, note = ALONE[arguments.what](arguments), f"seed {arguments.seed}"
    else:
        with bench() as setting:
            figures = WITH_PIPELINES[arguments.what](setting, arguments)
        note = f"seed {arguments.seed}, {arguments.workers} pipelines at a time"
    rows = [{"figure": name, "value": value} for name, value in figures.items()]
    publish(f"faults_{arguments.what}", rows, note)
    sys.exit(bool(figures["problems"] or figures.get("flow runs left unfinished in Prefect")))


WITH_PIPELINES = {"kills": run_kills, "together": run_together, "moved": run_moved}
ALONE = {"caches": run_caches, "layouts": run_layouts, "configs": run_configs}

if __name__ == "__main__":
    main()
