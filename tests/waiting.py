"""Waiting for what another process does."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LONG = 600
"""Seconds after which a test gives up: far above what a busy machine needs, for tests state laws and not speeds."""


def wait_until(
    happened: Callable[[], bool],
    process: "subprocess.Popen[Any] | None" = None,
    log: Path | None = None,
    every: float = 0.2,
) -> None:
    """Look once in `every` seconds; fail once `process` has ended, or after `LONG` seconds, with what `log` says."""
    deadline = time.monotonic() + LONG
    while not happened():
        said = log.read_text(encoding="utf-8", errors="replace")[-4000:] if log is not None else "no log"
        assert process is None or process.poll() is None, f"the process ended too early: {said}"
        assert time.monotonic() < deadline, f"it never came to pass: {said}"
        time.sleep(every)  # nobody tells us
