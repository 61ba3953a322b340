"""The state folder: checkpoints that outlive a crash, and scratch folders that do not outlive their process."""

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from semisup.errors import NO_SPACE, UserError
from semisup.lineage.fingerprints import sha256
from semisup.pipeline.specs import AnyConfig
from semisup.system.own_files import (
    OWNER,
    SECONDS_UNTIL_OLD,
    abandoned,
    claimed,
    contents,
    delete,
    followed,
    is_marked,
    mark,
    owner,
    place_within,
)
from semisup.system.own_files import sweep as sweep_unfinished
from semisup.tracking.places.store import sqlite_path

CHECKPOINTS, SCRATCH = "checkpoints", "scratch"
SUBFOLDER = ".semisup"
"""Where state is kept within a folder that holds anything else."""
OF_A_STAGE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{16}")
OF_A_PROCESS = re.compile(rf"{OWNER}-[a-z0-9_]{{8}}")


def checkpoint_folder(config: AnyConfig, store: str, fingerprint: str) -> Path:
    """Where a stage's checkpoints are: of its own for each fingerprint, and for each store, whose runs guard it.

    A store in a file is named by its way from the state folder, which stays the same where both are moved.
    """
    state = place_within(config.runtime.state, SUBFOLDER)
    database = sqlite_path(store)
    named = os.path.relpath(followed(database), state) if database is not None else store
    return state / CHECKPOINTS / f"{sha256(named.encode())[:8]}-{fingerprint[:16]}"


@contextmanager
def scratch_folder(config: AnyConfig) -> Iterator[Path]:
    """An empty folder that is deleted at the end; its name says whose it is, should the process be killed.

    Raises:
        UserError: the state folder cannot be made or written.
    """
    try:
        parent = claimed(config.runtime.state, SUBFOLDER, "runtime.state", _from_before_marks) / SCRATCH
        parent.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{owner()}-", dir=parent)).resolve()
        mark(folder)
    except OSError as error:
        way_out = "free some space" if error.errno in NO_SPACE else "name a folder that can be written"
        raise UserError(
            f"runtime.state={str(config.runtime.state)!r} cannot be used ({error.strerror}); {way_out}"
        ) from None
    try:
        yield folder
    finally:
        delete(folder)


def sweep(config: AnyConfig, now: float | None = None) -> None:
    """Delete scratch folders of processes that are gone, and checkpoints that nobody has touched for a month.

    Of other machines (or of this one before it was booted) only age can tell. Whatever is not ours stays: a folder
    without our mark, or with a name that we do not give.
    """
    state, now = place_within(config.runtime.state, SUBFOLDER), time.time() if now is None else now
    if not is_marked(state):
        return
    for folder in (state / SCRATCH).glob("*"):
        found = OF_A_PROCESS.fullmatch(folder.name)
        if found and abandoned(found, _touched(folder), now):
            discard(folder)
    for folder in (state / CHECKPOINTS).glob("*"):
        if OF_A_STAGE.fullmatch(folder.name) and now - _touched(folder) > SECONDS_UNTIL_OLD:
            discard(folder)


def discard(folder: Path) -> None:
    """Delete a stage's or a process's folder; of one without our mark only the name, where it is empty.

    A kill in between making and marking it, or in between taking the mark and the folder away, leaves such a one.
    """
    if not delete(folder):
        sweep_unfinished(folder)  # half a mark
        with suppress(OSError):
            folder.rmdir()


def _touched(folder: Path) -> float:
    """When something in a folder was last written, seconds since 1970."""
    with suppress(FileNotFoundError):  # somebody else may be deleting it
        return max(path.stat().st_mtime for path in [folder, *folder.rglob("*")])
    return float("inf")


def _from_before_marks(state: Path) -> bool:
    """Did an earlier version make this state folder, and is nothing left in it?"""
    folders = list(contents(state))
    return all(path.name in {CHECKPOINTS, SCRATCH} and path.is_dir() and not any(path.iterdir()) for path in folders)
