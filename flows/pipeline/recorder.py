"""What a flow tells: figures to MLflow, lines to Prefect's log and to the screen, links and pages to Prefect."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flows.start import display

if TYPE_CHECKING:
    from semisup.tracking.curves import Curves

Logger = logging.Logger | logging.LoggerAdapter[Any]


@dataclass
class Tenths:
    """Says how far something is in Prefect's log, a line for each tenth of the way: a worker has no moving bar."""

    logger: Logger
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

    curves: "Curves"
    logger: Logger
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


def tell(logger: Logger, text: str, *, warning: bool = False) -> None:
    """A line in Prefect's log and on the screen."""
    (logger.warning if warning else logger.info)(text)
    display.current().line(text, warning=warning)


def publish_link(key: str, link: str, text: str, description: str) -> None:
    """A link on the page of the current task run; nothing where there is none."""
    from prefect.artifacts import create_link_artifact

    _publish(key, lambda: create_link_artifact(key=key, link=link, link_text=text, description=description))


def publish_markdown(key: str, markdown: str, description: str) -> None:
    """A page of text on the page of the current flow run; nothing where there is none."""
    from prefect.artifacts import create_markdown_artifact

    _publish(key, lambda: create_markdown_artifact(key=key, markdown=markdown, description=description))


def _publish(key: str, create: Callable[[], object]) -> None:
    """A courtesy: a Prefect server that loses an artifact must not cost a trained model."""
    from prefect.context import FlowRunContext, TaskRunContext
    from prefect.logging import get_run_logger

    if FlowRunContext.get() is None and TaskRunContext.get() is None:
        return
    try:
        create()
    except Exception as error:
        get_run_logger().warning("Prefect artifact %s was not published: %s", key, error)
