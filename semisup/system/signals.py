"""Signals that wait for a better moment."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C, SIGTERM and the alarm by which Prefect ends a stage that takes too long wait until the block is complete.

    An exception in the middle of a write would tear its transaction and leave the database locked, so that not even
    the run's end could be written. Signals reach the main thread alone; elsewhere there is nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    for number in handlers:
        signal.signal(number, lambda received, _: held.append(received))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        for received in held:
            signal.raise_signal(received)
