"""Scheduled life, long: `semisup serve` on a folder that grows, while Prefect's server restarts and the disk is full.

    python -m benchmarks.robustness.soak --minutes 120 --every 1

Every run that was due has to have an end, and memory and open files have to stay as they are. The working folder, with
the MLflow store, is a small disk of its own (a tmpfs: the right to mount one is needed), which is filled up once, for
two runs, and freed again. Prefect's server is ended and started anew in the middle of things, with its database. The
exit status is 1 where a run was lost or something has grown.
"""

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import psutil
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.output import publish

NAME = "soak"
SECONDS_BETWEEN_LOOKS = 5
NO_ROOM = "no space"
"""What the message of a run says that found no room on the disk."""
NEW_IMAGES = 20
"""Images without a label that come with every period of the schedule."""
LONGEST = 600.0
"""Seconds for which the last runs are waited for."""


@dataclass(frozen=True)
class Soak:
    """Folders and addresses of one soak."""

    folder: Path
    disk: Path
    """The working folder of `serve`: a small disk of its own."""
    port: int

    @property
    def environment(self) -> dict[str, str]:
        """Of the server and of `serve`: nothing of the caller's own servers and stores."""
        kept = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
        return kept | {
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "OMP_NUM_THREADS": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def start(self, command: Sequence[str], log: str) -> "subprocess.Popen[bytes]":
        """A process of its own session in the small disk, with what it says added to a log."""
        with (self.folder / log).open("ab") as out:
            return subprocess.Popen(
                command, cwd=self.disk, env=self.environment, stdout=out, stderr=out, start_new_session=True
            )

    def start_server(self) -> "subprocess.Popen[bytes]":
        """Prefect's server with scheduler, once it answers."""
        command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui", "--port", str(self.port)]
        server = self.start(command, "server.txt")
        while not self._answers():
            self.said(server, "server.txt")
            time.sleep(0.2)
        return server

    def said(self, process: "subprocess.Popen[bytes]", log: str) -> str:
        """What a process has said so far.

        Raises:
            RuntimeError: it has ended.
        """
        text = (self.folder / log).read_text(encoding="utf-8", errors="replace")
        if process.poll() is not None:
            raise RuntimeError(f"{log}: the process has ended: {text[-2000:]}")
        return text

    def _answers(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/api/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Photographs:
    """Digits with noise, so that no two images are alike, in folders as people have them."""

    def __init__(self, root: Path) -> None:
        self.root, self.generator, self.number = root, np.random.default_rng(0), 0
        digits = load_digits()
        self.images, self.labels = digits.images, digits.target
        for label in range(10):
            self.add(root / "labeled" / str(label), 10, label)
            self.add(root / "test" / str(label), 5, label)
        self.add(root / "unlabeled", 200)

    def add(self, folder: Path, count: int, label: int | None = None) -> None:
        """That many more images, of one class or of all."""
        folder.mkdir(parents=True, exist_ok=True)
        of_class = np.arange(len(self.labels)) if label is None else np.flatnonzero(self.labels == label)
        for row in self.generator.choice(of_class, count):
            pixels = 15.9 * self.images[row] + self.generator.normal(0, 8, (8, 8))
            self.number += 1
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{self.number:06d}.png")

    def count(self) -> int:
        """Images in all folders."""
        return sum(1 for _ in self.root.rglob("*.png"))


def config(root: Path) -> Mapping[str, Any]:
    """Seconds of training, every stage."""
    return {
        "name": NAME,
        "data": {"name": "folder", "root": str(root), "size": 8, "channels": "gray", "cache": str(root.parent / "c")},
        "split": {"labeled_per_class": "all", "validation_per_class": 4, "calibration_images": 20},
        "model": {"name": "small_cnn", "width": 0.5},
        "calibrate": {"method": "temperature"},
        "baseline": {"epochs": 4, "batch_size": 25},
        "pseudo_label": {"threshold": 0.8},
        "joint": {"epochs": 3, "batch_size": 25, "unlabeled_batch_size": 64, "ramp_start": 0, "ramp_end": 2},
        "runtime": {"threads": 1, "device": "cpu"},
        "tracking": {"system_metrics": False},
    }


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[None]:
    """A disk of that size at an empty folder."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        sys.exit(f"a small disk is needed, and none can be mounted: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def fill(place: Path) -> Path:
    """A file that takes all the room there is."""
    file = place / "fill"
    with file.open("wb", buffering=0) as out, suppress(OSError):
        while True:
            out.write(bytes(65536))
    return file


@dataclass
class Looks:
    """What was seen of the serving process, look by look."""

    memory: list[float] = field(default_factory=list)
    """MB that are the process's own (USS)."""
    handles: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def look(self, process: psutil.Process) -> None:
        """Once more."""
        self.memory.append(process.memory_full_info().uss / 1e6)
        self.handles.append(process.num_fds())
        self.threads.append(process.num_threads())

    def thirds(self, values: Sequence[float]) -> tuple[float, float]:
        """Medians of the second third of the time and of the last: the first one is that of first runs."""
        third = len(values) // 3
        return statistics.median(values[third : 2 * third]), statistics.median(values[2 * third :])


def live(soak: Soak, photographs: Photographs, arguments: argparse.Namespace) -> dict[str, Any]:
    """Serve for that long while the folder grows, the server restarts and the disk is full; the figures."""
    (soak.folder / "soak.yaml").write_text(yaml.safe_dump(dict(config(photographs.root))), encoding="utf-8")
    semisup = str(Path(sys.executable).with_name("semisup"))
    command = [semisup, "serve", str(soak.folder / "soak.yaml"), "--cron", f"*/{arguments.every} * * * *"]
    processes = {"server": soak.start_server()}
    try:
        processes["serve"] = soak.start(command, "serve.txt")
        while "Ctrl-C" not in soak.said(processes["serve"], "serve.txt"):
            time.sleep(0.2)
        return figures_of(soak, *_disturb(soak, processes, photographs, arguments), arguments.every)
    finally:
        for process in reversed(processes.values()):
            _end(process)


def _disturb(
    soak: Soak, processes: "dict[str, subprocess.Popen[bytes]]", photographs: Photographs, arguments: argparse.Namespace
) -> tuple[Looks, datetime, datetime]:
    """What was seen of `serve`, and from when until when runs were due."""
    looks, full = Looks(), None
    serve = psutil.Process(processes["serve"].pid)
    # Prefect's scheduler needs seconds to see a new deployment, and makes no runs for the past.
    begin, began = datetime.now(UTC) + timedelta(seconds=30), time.monotonic()
    period, length = 60 * arguments.every, 60 * arguments.minutes
    restarts = [length * (number + 1) / (arguments.restarts + 1) for number in range(arguments.restarts)]
    # Between two restarts, so that what befalls the server and what befalls the disk are told apart.
    fill_at = length * (arguments.restarts // 2 + 0.5) / (arguments.restarts + 1)
    grown = 0
    while (past := time.monotonic() - began) < length:
        soak.said(processes["serve"], "serve.txt")
        looks.look(serve)
        if past > period * (grown + 1):
            photographs.add(photographs.root / "unlabeled" / f"{grown:04d}", NEW_IMAGES)
            grown += 1
        if restarts and past > restarts[0]:
            restarts.pop(0)
            _end(processes["server"])
            processes["server"] = soak.start_server()
            print(f"{past / 60:.0f} min: the server is back", flush=True)
        if full is None and past > fill_at:
            full = fill(soak.disk)
            print(f"{past / 60:.0f} min: the disk is full", flush=True)
        if full is not None and full.exists() and past > fill_at + 2 * period:
            full.unlink()
            print(f"{past / 60:.0f} min: the disk has room again", flush=True)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    end = datetime.now(UTC)
    _let_them_finish(soak)
    return looks, begin, end


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=60)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def flow_runs(soak: Soak, begin: datetime | None = None, end: datetime | None = None) -> list[Any]:
    """The schedule's runs of the pipeline that were due between two moments, in their order."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterExpectedStartTime
    from prefect.settings import PREFECT_API_URL, temporary_settings

    due = FlowRunFilter(expected_start_time=FlowRunFilterExpectedStartTime(after_=begin, before_=end))
    pipelines = FlowFilter(name=FlowFilterName(any_=["semisup-pipeline"]))
    found: list[Any] = []
    with (
        temporary_settings({PREFECT_API_URL: soak.environment["PREFECT_API_URL"]}),
        get_client(sync_client=True) as client,
    ):
        while page := client.read_flow_runs(flow_filter=pipelines, flow_run_filter=due, offset=len(found)):
            found += page
    return sorted((run for run in found if run.auto_scheduled), key=lambda run: run.expected_start_time)


def _let_them_finish(soak: Soak) -> None:
    """Wait until every run that was due has its end, or for as long as one may take to begin."""
    deadline = time.monotonic() + LONGEST
    before = datetime.now(UTC)
    while time.monotonic() < deadline and any(not run.state.is_final() for run in flow_runs(soak, end=before)):
        time.sleep(1)


def dues(begin: datetime, end: datetime, every: int) -> list[datetime]:
    """The times of the schedule between two moments."""
    first = begin.replace(second=0, microsecond=0)
    minutes = [first + timedelta(minutes=number) for number in range(int((end - first) / timedelta(minutes=1)) + 1)]
    return [minute for minute in minutes if begin < minute <= end and minute.minute % every == 0]


def figures_of(soak: Soak, looks: Looks, begin: datetime, end: datetime, every: int) -> dict[str, Any]:
    """What became of every run that was due, and what has grown; problems as lines."""
    from semisup.tracking.tracker import Tracker

    wanted = dues(begin, end, every)
    runs = {run.expected_start_time: run for run in flow_runs(soak, begin, end)}
    told = [f"{due:%H:%M} {run.state.name}: {run.state.message}" for due, run in runs.items()]
    (soak.folder / "runs.txt").write_text("\n".join(told) + "\n", encoding="utf-8")
    states = Counter(run.state.name for run in runs.values())
    failed = {due: run for due, run in runs.items() if run.state.is_failed() or run.state.is_crashed()}
    without_room = [due for due, run in failed.items() if NO_ROOM in (run.state.message or "").lower()]
    waits = [(run.start_time - due).total_seconds() for due, run in runs.items() if run.run_count]
    stored = Tracker.existing(soak.disk).search("tags.stage = 'pipeline'")
    complete = {run.tags.get("prefect.flow_run_id") for run in stored if run.complete}
    problems = [f"no run for {due:%H:%M}" for due in wanted if due not in runs]
    problems += [f"{due:%H:%M} has no end: {run.state.name}" for due, run in runs.items() if not run.state.is_final()]
    problems += [f"{due:%H:%M} failed: {run.state.message}" for due, run in failed.items() if due not in without_room]
    problems += [
        f"{due:%H:%M} is complete in Prefect and not in MLflow"
        for due, run in runs.items()
        if run.state.is_completed() and str(run.id) not in complete
    ]
    problems += [f"MLflow run {run.id} is left {run.status}" for run in stored if run.status == "RUNNING"]
    for name, values, most in (
        ("memory", looks.memory, 1.05),
        ("open files", looks.handles, 1.0),
        ("threads", looks.threads, 1.0),
    ):
        middle, last = looks.thirds(values)
        problems += [f"{name} have grown from {middle:.0f} to {last:.0f}"] if last > most * middle else []
    memory, handles = looks.thirds(looks.memory), looks.thirds(looks.handles)
    return {
        "minutes": round((end - begin) / timedelta(minutes=1)),
        "runs due": len(wanted),
        "runs that completed": states["Completed"],
        "runs canceled, for the one before was still under way": states["Cancelled"],
        "runs that failed in one line, for the disk was full": len(without_room),
        "runs that failed otherwise": len(failed) - len(without_room),
        "runs lost": sum(due not in runs for due in wanted),
        "seconds from a run's time to its start, median": statistics.median(waits),
        "longest": max(waits),
        "memory of `serve` in the second third, MB (median)": memory[0],
        "in the last third": memory[1],
        "open files of `serve` in the second third (median)": handles[0],
        "open files in the last third": handles[1],
        "size of mlflow.db at the end, MB": (soak.disk / "mlflow.db").stat().st_size / 1e6,
        "problems": problems,
    }


def main() -> None:
    """One soak, and its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--every", type=int, default=1, choices=[1, 2, 3, 4, 5], help="minutes between two runs")
    parser.add_argument("--restarts", type=int, default=3, help="of Prefect's server")
    parser.add_argument("--megabytes", type=int, default=500, help="size of the disk that is filled")
    arguments = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    folder = Path(tempfile.mkdtemp(prefix="semisup-soak-"))
    print(f"logs, and the end of every run, are in {folder}", flush=True)
    soak = Soak(folder, folder / "disk", port)
    with small_disk(soak.disk, arguments.megabytes):
        photographs = Photographs(folder / "photos")
        first = photographs.count()
        figures = live(soak, photographs, arguments)
    figures["images at the beginning and at the end"] = f"{first:,} → {photographs.count():,}"
    rows = [{"figure": name, "value": value} for name, value in figures.items()]
    note = (
        f"a run every {arguments.every} min, {NEW_IMAGES} more images for each, {arguments.restarts} restarts of "
        f"Prefect's server, a disk without room for two runs"
    )
    publish("soak", rows, note)
    print(*figures["problems"], sep="\n")
    sys.exit(bool(figures["problems"]))


if __name__ == "__main__":
    main()
