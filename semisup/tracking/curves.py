"""Figures of many moments on their way to MLflow."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from types import TracebackType

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from semisup.tracking.run import Run, points

SECONDS_BETWEEN_CALLS = 2.0
"""How long a figure may wait for the next call. A call for each epoch was 4 % of the training of a light net, whose
epochs take a fifth of a second; a training that is resumed tells all of its epochs again, so a kill loses none."""


@dataclass
class Curves(AbstractContextManager["Curves"]):
    """A run's figures, those of several moments in one call; all are told when the block ends, however it ends."""

    run: Run
    _waiting: list[Metric] = field(default_factory=list, init=False)
    _told: float = field(default_factory=time.monotonic, init=False)

    def add(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Figures of an epoch, or without a `step` of the whole run."""
        self._waiting += points(values, step)
        if time.monotonic() > self._told + SECONDS_BETWEEN_CALLS:
            self._tell()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Tell what waits. If the work has failed, that is the news, and no longer that the store is away as well."""
        with suppress(*(() if error is None else (MlflowException, SQLAlchemyError, RequestException))):
            self._tell()

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        self.run.log_points(waiting)
        self._told = time.monotonic()
