"""Commands in processes of their own, which are interrupted while they train."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from semisup.tracking.tracker import Tracker
from tests.waiting import LONG, wait_until


def interrupted(
    arguments: list[str],
    store: Path,
    home: Path,
    *,
    training: str,
    number: int = signal.SIGINT,
    meanwhile: Callable[[int], None] = lambda pid: None,
) -> tuple[int, str]:
    """(exit status, stderr) of `semisup` with these arguments, whose processes all get a signal in mid-training.

    It comes once two runs of the stage `training` have ended an epoch. `home` is where its Prefect keeps things;
    `meanwhile` gets the command's process id just before.
    """
    command = [str(Path(sys.executable).with_name("semisup")), *arguments]
    environment, tracker = os.environ | {"PREFECT_HOME": str(home / "prefect")}, Tracker.existing(store)
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            wait_until(
                lambda: sum("train_loss" in run.metrics for run in tracker.search(f"tags.stage = '{training}'")) >= 2,
                process,
                every=0.5,
            )
            meanwhile(process.pid)
            os.killpg(process.pid, number)  # what a terminal does: to every process in the foreground
            _, stderr = process.communicate(timeout=LONG)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the session of this process alone
    return process.returncode, stderr
