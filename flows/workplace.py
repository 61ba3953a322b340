"""The state folder: checkpoints that outlive a crash, and scratch folders that do not outlive their process."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.lineage import sha256
from semisup.processes import machine, runs_here

CHECKPOINTS, SCRATCH = "checkpoints", "scratch"


def checkpoint_folder(config: PipelineConfig, store: str, fingerprint: str) -> Path:
    """Where a stage's checkpoints are: of its own for each fingerprint, and for each store, whose runs guard it."""
    return config.runtime.state / CHECKPOINTS / f"{sha256(store.encode())[:8]}-{fingerprint[:16]}"


@contextmanager
def scratch_folder(config: PipelineConfig) -> Iterator[Path]:
    """An empty folder that is deleted at the end; its name says whose it is, should the process be killed.

    Raises:
        UserError: the state folder cannot be made or written.
    """
    parent = config.runtime.state / SCRATCH
    pid = os.getpid()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        owner = f"{machine()}-{pid}-{psutil.Process(pid).create_time():.2f}-"
        folder = Path(tempfile.mkdtemp(prefix=owner, dir=parent)).resolve()
    except OSError as error:
        raise UserError(
            f"runtime.state={str(config.runtime.state)!r} cannot be used ({error.strerror}); "
            "name a folder that can be written"
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(config: PipelineConfig) -> None:
    """Delete the scratch folders of processes that are gone from this machine."""
    for folder in (config.runtime.state / SCRATCH).glob(f"{machine()}-*"):
        _, pid, started, _ = folder.name.split("-", 3)
        if not runs_here(int(pid), float(started)):
            shutil.rmtree(folder, ignore_errors=True)
