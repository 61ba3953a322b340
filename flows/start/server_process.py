"""Prefect's command line, as a process that ends when its parent does: `python -m flows.start.server_process PARENT …`.

A command that is killed outright (`kill -9`) runs no exit hook and cannot stop the server that it started. So the
server itself looks whether its parent is still there: a process that loses its parent gets another one.
"""

import os
import signal
import sys
import threading
import time

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_END = 10.0


def main() -> None:
    """Run Prefect's command line with the arguments after the first one, which is the parent's process id."""
    parent = int(sys.argv.pop(1))
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()

    from prefect.cli import app

    app()


def end_with(parent: int) -> None:
    """Wait until this process has another parent, then end it: with SIGTERM, and if that does not help by force."""
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_END)
    os.kill(os.getpid(), signal.SIGKILL)  # it hangs: perhaps in a connection that nobody closes any more


if __name__ == "__main__":
    main()
