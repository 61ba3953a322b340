"""A stage's log: figures to MLflow, lines to Prefect's log and to the screen."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.start import display
from semisup.tracking.curves import Curves


@dataclass
class Tenths:
    """Says how far something is in Prefect's log, a line for each tenth of the way: a worker has no moving bar."""

    logger: "logging.Logger | logging.LoggerAdapter[Any]"
    told: int = 0
    """Tenths of the way that the log knows of."""

    def __call__(self, done: int, total: int, note: str) -> None:
        """So many of so many are done; fewer than before: something else has begun."""
        tenths = 10 * done // total
        if tenths > self.told:
            self.logger.info("%d/%d %s", done, total, note)
        self.told = tenths


@dataclass
class StageRecorder:
    """What a stage of one run says, and what is kept of it."""

    curves: Curves
    logger: "logging.Logger | logging.LoggerAdapter[Any]"
    summary: dict[str, float] = field(default_factory=dict)
    """The figures of the whole stage (not of an epoch)."""
    lines: list[str] = field(default_factory=list)
    """What the stage told people; MLflow shows it as the run's description."""

    def __post_init__(self) -> None:
        self._tenths = Tenths(self.logger)

    def info(self, message: str) -> None:
        """Tell people."""
        self.lines.append(message)
        self.logger.info(message)
        display.current().line(message)

    def warning(self, message: str) -> None:
        """Warn people."""
        self.lines.append(f"**Warning:** {message}")
        self.logger.warning(message)
        display.current().line(message, warning=True)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Keep figures."""
        self.curves.add(values, step)
        if step is None:
            self.summary |= values

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Move the display; one line for each tenth of the way also reaches Prefect's log."""
        display.current().progress(done, total, note)
        self._tenths(done, total, note)
