"""Libraries' chatter is not for the user's screen."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

SAID_AGAIN = ("mlflow.store.db.utils", "mlflow.system_metrics")
"""Loggers that write tracebacks of what they raise as well, or of what the run's own calls will meet."""


def quiet_about_failures() -> None:
    """A store that fails is told of in our one line alone, from now on in this process."""
    for name in SAID_AGAIN:
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """What these loggers say at INFO and WARNING level is dropped."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logger.level, logging.ERROR))
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
