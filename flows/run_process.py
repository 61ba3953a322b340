"""`semisup …` as a process that ends when its parent does: `python -m flows.run_process PARENT run …`."""

import signal
import sys
import threading

from flows.start.server_process import end_with


def main() -> None:
    """Run our command line with the arguments after the first one, which is the parent's process id."""
    parent = int(sys.argv.pop(1))
    # A parent in the background ignores SIGINT, a task's process on a cluster has it blocked, and we inherit either.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()

    from flows.cli import app

    app()


if __name__ == "__main__":
    main()
