"""A Dask cluster on this machine, for tests: a scheduler and two workers, in processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.waiting import LONG, wait_until

distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
pytest.importorskip("prefect_dask", reason="the extra `dask` is not installed")

PYTHONPATH = {"PYTHONPATH": os.pathsep.join([str(PROJECT), str(Path(__file__).parent)])}
"""Where other processes find tasks that are defined in tests."""


@contextmanager
def cluster(folder: Path, *options: str) -> Iterator[tuple[str, list["subprocess.Popen[bytes]"]]]:
    """(the scheduler's address, the processes of two workers)."""
    file = folder / "scheduler.json"
    processes: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "dask", *command, "--no-dashboard", "--scheduler-file", str(file)],
                cwd=folder,
                env=os.environ | PYTHONPATH,
                stderr=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        )

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", "0")
        wait_until(file.exists)
        for _ in range(2):
            start("worker", "--nthreads", "1", *options)
        address = json.loads(file.read_text(encoding="utf-8"))["address"]
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=LONG)
        yield address, processes[1:]
    finally:
        for process in reversed(processes):
            process.kill()  # asked to end, a worker of Dask's now and then waits for ever
            process.wait()
