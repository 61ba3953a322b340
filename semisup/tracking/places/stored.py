"""A run as it stands in the store."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semisup.system.processes import is_gone, is_mine
from semisup.tracking.places.tag_names import told_names

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

LINEAGE, CONFIG = "lineage.json", "config.yaml"
"""What a run followed from, and with which config: files among its artifacts."""
ERROR = "error"
"""Tag: in one line, why a run failed."""
COMPLETE = "tags.complete = 'true' and attributes.status = 'FINISHED'"
"""MLflow's filter of runs that are :attr:`StoredRun.complete`."""
written_here: set[str] = set()
"""Ids of the runs that this process is writing."""
beginning = threading.Lock()
"""Held while a run is made and its id put there: no other thread may see it in between and take it for lost."""


@dataclass(frozen=True)
class StoredRun:
    """A run as it stands in the store."""

    id: str
    status: str
    """RUNNING, FINISHED, FAILED or KILLED."""
    started: float
    """Seconds since 1970."""
    ended: float | None
    experiment_id: str
    artifact_uri: str
    """Where its artifacts are; never changes."""
    tags: Mapping[str, str]
    metrics: Mapping[str, float]

    @property
    def complete(self) -> bool:
        """Has it ended well and left all that it should?"""
        return self.status == "FINISHED" and self.tags.get("complete") == "true"

    @property
    def gone(self) -> bool:
        """Is it RUNNING in the store although nobody works at it any more?"""
        if self.status != "RUNNING":
            return False
        # A store that was away cannot be told of a run's end; the process may still be there and try again.
        if is_mine(self.tags):
            with beginning:
                return self.id not in written_here
        return is_gone(self.tags)


def stored_run(run: "MlflowRun") -> StoredRun:
    """What MLflow says of a run."""
    info = run.info
    ended = info.end_time / 1000 if info.end_time else None
    return StoredRun(
        id=info.run_id,
        status=info.status,
        started=info.start_time / 1000,
        ended=ended,
        experiment_id=info.experiment_id,
        artifact_uri=info.artifact_uri,
        tags=told_names(run.data.tags),
        metrics=run.data.metrics,
    )
