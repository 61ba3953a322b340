"""Pipeline runs in processes of their own, a few at a time: results by job, and how they end."""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.seeds.plan import Job
from flows.start.exits import USER_MISTAKE
from semisup.errors import UserError
from semisup.system.own_files import temporary_folder
from semisup.system.signals import undisturbed

SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_END = 60.0
"""For a process that was sent SIGINT; then it is killed."""


def run_jobs(
    jobs: Sequence[Job],
    parallel: int,
    environment: Mapping[str, str],
    ended: Callable[[Job, dict[str, Any]], None],
    if_killed: str = "use --parallel 1 and run again",
) -> None:
    """Run every job as `semisup run … --json`; `ended` is told of each result as soon as it is there.

    `if_killed` is what to do where a run's process was killed.

    Whatever ends this early (Ctrl-C, SIGTERM, a run that fails) ends the others in order: their checkpoints are kept.

    Raises:
        UserError: a run failed; the message names it.
    """
    waiting, running = deque(jobs), list[_Child]()
    with temporary_folder() as folder:
        try:
            while waiting or running:
                while waiting and len(running) < parallel:
                    with undisturbed():  # a signal between the two would leave a process that nobody ends
                        running.append(_Child.start(waiting.popleft(), environment, folder))
                for child in [child for child in running if child.process.poll() is not None]:
                    running.remove(child)
                    ended(child.job, child.result(if_killed))
                time.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            _end(running)


@dataclass(frozen=True)
class _Child:
    job: Job
    process: "subprocess.Popen[bytes]"
    stdout: Path
    stderr: Path

    @classmethod
    def start(cls, job: Job, environment: Mapping[str, str], folder: Path) -> "_Child":
        """In a session of its own: a terminal's Ctrl-C reaches us alone, and we pass it on once."""
        own = Path(tempfile.mkdtemp(dir=folder))
        out, err = own / "stdout", own / "stderr"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "flows.run_process", str(os.getpid()), *job.command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=os.environ | environment,
                start_new_session=True,
            )
        return cls(job, process, out, err)

    def result(self, if_killed: str) -> dict[str, Any]:
        """What it printed.

        Raises:
            UserError: it failed.
        """
        status, said = self.process.returncode, _lines(self.stderr)
        if status == 0:
            result: dict[str, Any] = json.loads(_lines(self.stdout)[-1])
            return result
        mistakes = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
        if status == USER_MISTAKE and mistakes:
            raise UserError(f"{self.job.words}: {mistakes[-1]}")
        if status == -signal.SIGKILL:
            raise UserError(f"{self.job.words}: its process was killed, perhaps for want of memory; {if_killed}")
        again = shlex.join(["semisup", *self.job.command])
        raise UserError(
            f"{self.job.words}: its run ended with status {status} ({said[-1] if said else 'it said nothing'}); "
            f"`{again}` shows all of it"
        )


@undisturbed()
def _end(children: Sequence[_Child]) -> None:
    for child in children:
        child.process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + SECONDS_TO_END
    for child in children:
        try:
            child.process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


def _lines(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]
