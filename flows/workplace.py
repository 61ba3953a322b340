"""The state folder: checkpoints that outlive a crash, and scratch folders that do not outlive their process."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.lineage import sha256
from semisup.processes import machine, runs_here, started

CHECKPOINTS, SCRATCH = "checkpoints", "scratch"
SECONDS_UNTIL_OLD = 30 * 86_400


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
        owner = f"{machine()}-{pid}-{started(pid)}-"
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


def sweep(config: PipelineConfig, now: float | None = None) -> None:
    """Delete scratch folders of processes that are gone, and what nobody has touched for a month.

    Of other machines (or of this one before it was booted) only age can tell. A stage's folder is hidden from it by the
    files that the stage writes.
    """
    now = time.time() if now is None else now
    for folder in (config.runtime.state / SCRATCH).glob("*-*-*-*"):
        owner, pid, start, _ = folder.name.split("-", 3)
        gone = not runs_here(int(pid), start) if owner == machine() else now - _touched(folder) > SECONDS_UNTIL_OLD
        if gone:
            shutil.rmtree(folder, ignore_errors=True)
    for folder in (config.runtime.state / CHECKPOINTS).glob("*"):
        if now - _touched(folder) > SECONDS_UNTIL_OLD:
            shutil.rmtree(folder, ignore_errors=True)


def _touched(folder: Path) -> float:
    """When something in a folder was last written, seconds since 1970."""
    with contextlib.suppress(FileNotFoundError):  # somebody else may be deleting it
        return max(path.stat().st_mtime for path in [folder, *folder.rglob("*")])
    return float("inf")
