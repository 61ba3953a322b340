"""Figures of many moments on their way to MLflow."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from semisup.system.signals import undisturbed
from semisup.tracking.run import Run, points

SECONDS_BETWEEN_CALLS = 2.0
"""A figure that comes sooner after the last call waits for the next figure. A call for each epoch was 4 % of the
training of a light net on digits. Whoever resumes a killed training tells all of its epochs again."""


@dataclass
class Curves(AbstractContextManager["Curves"]):
    """A run's figures, those of several moments in one call; all are told when the block ends, however it ends."""

    run: Run

    def __post_init__(self) -> None:
        self._waiting: list[Metric] = []
        self._told = time.monotonic()

    def add(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Figures of an epoch, or without a `step` of the whole run."""
        self._waiting += points(values, step)
        if time.monotonic() >= self._told + SECONDS_BETWEEN_CALLS:
            self._tell()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Tell what waits. If the work has failed, that is the news, and no longer that the store is away as well."""
        try:
            self._tell()
        except (MlflowException, SQLAlchemyError, RequestException):
            if error is None:
                raise

    @undisturbed()
    def _tell(self) -> None:
        self.run.log_points(self._waiting)  # a call that fails is made again at the end: MLflow keeps a point once
        self._waiting.clear()
        self._told = time.monotonic()
