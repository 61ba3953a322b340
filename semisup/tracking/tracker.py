"""The store: opened and checked; runs that always end; finished runs found again."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import mlflow
from mlflow.entities import Run as MlflowRun
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import MlflowClient
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from semisup.errors import UserError
from semisup.lineage.fingerprints import Lineage
from semisup.system.processes import process_tags
from semisup.system.signals import undisturbed
from semisup.tracking.places.connect import connect
from semisup.tracking.places.failures import NO_ANSWER, first_line, store_failures
from semisup.tracking.places.pages import is_ours_of_before, page_tags
from semisup.tracking.places.quiet import quiet
from semisup.tracking.places.store import check_exists, is_server, redacted, sqlite_path, store_uri, without_secrets
from semisup.tracking.places.stored import ERROR, StoredRun, beginning, stored_run, written_here
from semisup.tracking.places.tag_names import stored_names
from semisup.tracking.provenance import provenance
from semisup.tracking.reader import ModelVersion, Reader
from semisup.tracking.run import Heart, Run

SHORTEST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds for which, at most, a withdrawn claim waits the first time and later."""
T = TypeVar("T")
ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
"""MLflow's codes for a registered model, an alias or a logged model that is not there."""
DEFAULT_EXPERIMENT = "Default"
"""MLflow makes it with every store."""


class WithdrawnError(Exception):
    """Somebody else does the same work: the run just begun is deleted, as if it had never been."""


@dataclass(frozen=True)
class Tracker(Reader):
    """A store, opened and checked, and the experiment in it."""

    client: MlflowClient
    uri: str
    experiment_id: str
    _places: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Ids of runs that were looked at → where their artifacts are: another question to the store less."""

    @classmethod
    def open(cls, experiment: str, folder: Path) -> "Tracker":
        """The store that MLFLOW_TRACKING_URI names, or else `mlflow.db` and `mlartifacts` in `folder`.

        A fresh SQLite store is created by one process alone: several would race in its migrations.

        Raises:
            StoreUnavailableError: the store does not answer.
            UserError: it cannot be used.
        """
        return cls(*connect(experiment, folder))

    @classmethod
    def of_this_process(cls, experiment: str, folder: Path) -> "Tracker":
        """The store as in :meth:`open`, which is opened once in a process.

        One in a file is opened anew where another file has taken its place.
        """
        uri = store_uri(folder)
        key = (uri, experiment, _identity(sqlite_path(uri)))
        with _opening:
            if key not in _opened:
                opened = cls.open(experiment, folder)
                key = (uri, experiment, _identity(sqlite_path(uri)))  # it may have been made only now
                _opened[key] = opened
            return _opened[key]

    @classmethod
    def existing(cls, folder: Path) -> "Tracker":
        """The store as in :meth:`open`, for a look at what is in it: nothing is made that is not there.

        Raises:
            UserError: there is none in this folder, or it cannot be used.
        """
        database = sqlite_path(store_uri(folder))
        if database is not None:
            check_exists(database)
        return cls.open(DEFAULT_EXPERIMENT, folder)

    # --- writing ------------------------------------------------------------------------------------------------------

    @contextmanager
    def run(
        self,
        name: str,
        tags: Mapping[str, str],
        parent_run_id: str | None = None,
        *,
        system_metrics: bool = False,
        withdraw_if: Callable[[Run], bool] = lambda run: False,
    ) -> Iterator[Run]:
        """A run that ends as FINISHED, FAILED (an exception) or KILLED (Ctrl-C, SIGTERM).

        A process that is killed outright, or whose store is away, cannot write the end; the run's tags and its
        heartbeat tell others (:meth:`close_lost`). `withdraw_if` is asked once, as soon as the run can be seen.

        Raises:
            WithdrawnError: `withdraw_if` said so; the run is deleted.
        """
        all_tags = dict(tags) | provenance() | process_tags()
        if parent_run_id is not None:
            all_tags["mlflow.parentRunId"] = parent_run_id
        run: Run | None = None
        heart: Heart | None = None
        monitor: SystemMetricsMonitor | None = None
        failure: BaseException | None = None
        try:
            with undisturbed():
                with beginning:
                    created = self.client.create_run(self.experiment_id, run_name=name, tags=stored_names(all_tags))
                    run = Run(self.client, created.info.run_id, self.experiment_id, self.uri)
                    written_here.add(run.id)
                heart = Heart(self.client, run.id)
            if withdraw_if(run):
                raise WithdrawnError
            if system_metrics:
                monitor = self._start_monitor(run.id)
            yield run
        except BaseException as error:
            failure = error
            raise
        finally:
            try:
                if monitor is not None:
                    with quiet("mlflow.system_metrics"):
                        monitor.finish()
            finally:
                if heart is not None:
                    heart.stop()
                if run is not None:
                    written_here.discard(run.id)
                    self._end(run, failure)

    @undisturbed()
    def _end(self, run: Run, failure: BaseException | None) -> None:
        # Ctrl-C, and Prefect's own signal for SIGTERM, are no Exceptions: asked to end, not failed.
        status = "FINISHED" if failure is None else "FAILED" if isinstance(failure, Exception) else "KILLED"
        try:
            if status == "FAILED" and not isinstance(failure, WithdrawnError):
                self.client.set_tag(run.id, ERROR, self._line(failure))
            self.client.set_terminated(run.id, status)
            if isinstance(failure, WithdrawnError):
                self.client.delete_run(run.id)
        except (MlflowException, SQLAlchemyError, RequestException):
            if failure is None:
                raise
            # The store is what failed; the first error says so, and the run's silence will be noticed.

    def _line(self, error: BaseException | None) -> str:
        assert error is not None
        text = first_line(redacted(str(error), self.uri), error)
        return (text if isinstance(error, UserError) else f"{type(error).__name__}: {text}")[:500]

    def _start_monitor(self, run_id: str) -> SystemMetricsMonitor:
        with quiet("mlflow.system_metrics"):
            monitor = SystemMetricsMonitor(run_id, sampling_interval=2, tracking_uri=self.uri)
            monitor.start()
        return monitor

    def show_figures(self) -> str:
        """Have MLflow's page of the experiment show key figures. What somebody else has set there stays.

        A courtesy: who may not write it, on a server with users of its own, runs without it.

        Returns:
            The page's address, as :meth:`table` gives it, without asking a store that has just failed once more.
        """
        known: dict[str, str] = {}
        with suppress(MlflowException):
            known |= self.experiment_tags(self.experiment_id)
            for name, value in page_tags(self.experiment_id).items():
                if name not in known or is_ours_of_before(name, known[name], self.experiment_id):
                    self.client.set_experiment_tag(self.experiment_id, name, value)
                    known[name] = value
        return self.table(tags=known)

    def exclusively(self, what: str, work: Callable[[], T]) -> T:
        """What `work` returns, done while no other process of this store does work of the same name."""
        wait = SHORTEST_WAIT
        while True:
            try:
                tags = {"fingerprint": what, "stage": what}
                with self.run(what, tags, withdraw_if=lambda run: bool(self.running(what, but=run.id))) as run:
                    result = work()
            except WithdrawnError:
                time.sleep(random.uniform(0, wait))
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                self.client.delete_run(run.id)  # it was a lock and nothing to read of
                return result

    def close_lost(self, fingerprint: str | None = None) -> list[StoredRun]:
        """End the runs (of a fingerprint, or all of this project) that nobody works at any more; those that were."""
        of = f"tags.fingerprint = '{fingerprint}'" if fingerprint else "tags.semisup.version LIKE '%'"
        lost = self.lost(self.search(f"{of} and attributes.status = 'RUNNING'"))
        for run in lost:
            self._close(run)
        return lost

    @undisturbed()
    def _close(self, run: StoredRun) -> None:
        who = f"process {run.tags.get('pid')} on {run.tags.get('host')}"
        self.client.set_tag(run.id, ERROR, f"{who} ended without a word; the run was closed by another")
        self.client.set_terminated(run.id, "KILLED")

    # --- finding ------------------------------------------------------------------------------------------------------

    def search(self, wanted: str, limit: int = 1000) -> list[StoredRun]:
        """Runs of all experiments for which an MLflow filter holds, newest first."""
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        found = self.client.search_runs(experiments, wanted, max_results=limit, order_by=["attributes.start_time DESC"])
        return [self._seen(run) for run in found]

    def get(self, run_id: str) -> StoredRun:
        """A run of which the store itself told the id."""
        return self._seen(self.client.get_run(run_id))

    def known(self, run_id: str) -> StoredRun | None:
        """A run as in :meth:`get`, or None when it has been deleted since."""
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return self._seen(run) if run.info.lifecycle_stage == "active" else None

    def alias(self, name: str, alias: str) -> ModelVersion | None:
        """As `Reader` says."""
        return _version(lambda: self.client.get_model_version_by_alias(name, alias))

    def version(self, name: str, number: str) -> ModelVersion | None:
        """As `Reader` says."""
        return _version(lambda: self.client.get_model_version(name, number))

    def model_place(self, model_id: str) -> str | None:
        """As `Reader` says."""
        try:
            return str(self.client.get_logged_model(model_id).artifact_location)
        except MlflowException as error:
            if error.error_code not in ABSENT:
                raise
            return None

    def experiment_tags(self, experiment_id: str) -> Mapping[str, str]:
        """As `Reader` says."""
        return dict(self.client.get_experiment(experiment_id).tags)

    def failures(self) -> AbstractContextManager[None]:
        """As `Reader` says."""
        return store_failures(self.uri)

    # --- artifacts ----------------------------------------------------------------------------------------------------

    def lineage(self, run: StoredRun, scratch: Path) -> Lineage | None:
        """As `Reader` says."""
        try:
            return super().lineage(run, scratch)
        except MlflowException:
            return None

    def artifacts(self, run_id: str, scratch: Path) -> Path:
        """Folder with a run's artifacts: the store's own where it is on this machine, else a copy within `scratch`."""
        local = self.local_artifacts(run_id)
        if local is not None:
            return local
        self._check_downloadable(run_id)
        copy = scratch / run_id
        if not copy.is_dir():
            copy.mkdir(parents=True)
            with quiet("mlflow"):
                mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=str(copy), tracking_uri=self.uri)
        return copy

    def file(self, run_id: str, name: str, scratch: Path) -> Path:
        """One file of a run's artifacts, as in :meth:`artifacts`."""
        local = self.local_artifacts(run_id)
        if local is not None:
            return local / name
        self._check_downloadable(run_id)
        folder = scratch / f"{run_id}-single"
        folder.mkdir(parents=True, exist_ok=True)
        with quiet("mlflow"):
            return Path(
                mlflow.artifacts.download_artifacts(
                    run_id=run_id, artifact_path=name, dst_path=str(folder), tracking_uri=self.uri
                )
            )

    def damage(self, run: StoredRun, scratch: Path) -> str | None:
        """As `Reader` says."""
        try:
            return super().damage(run, scratch)
        except MlflowException as error:
            if any(sign in str(error) for sign in NO_ANSWER):
                raise
            return "its artifacts cannot be read"

    def _check_downloadable(self, run_id: str) -> None:
        if self.place(run_id).startswith("mlflow-artifacts:") and not is_server(self.uri):
            raise UserError(
                f"MLFLOW_TRACKING_URI={without_secrets(self.uri)!r}: the files of run {run_id[:8]} are kept by an "
                "MLflow server and can be had from it alone; use the server's address"
            )

    def place(self, run_id: str) -> str:
        """As `Reader` says; of a run that was looked at the store is not asked again."""
        return self._places.get(run_id) or super().place(run_id)

    def _seen(self, run: MlflowRun) -> StoredRun:
        stored = stored_run(run)
        self._places[stored.id] = stored.artifact_uri
        return stored


_opened: dict[tuple[str, str, tuple[int, int] | None], Tracker] = {}
_opening = threading.Lock()
"""Several threads may run a pipeline each."""


def _identity(database: Path | None) -> tuple[int, int] | None:
    """Of a store's file: another one at the same place has another."""
    try:
        found = database.stat() if database is not None else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None


def _version(ask: Callable[[], MlflowVersion]) -> ModelVersion | None:
    """A version of a registered model; None where there is no such model, alias or version."""
    try:
        found = ask()
    except MlflowException as error:
        if error.error_code in ABSENT:
            return None
        if error.error_code == "PERMISSION_DENIED":  # a server says so of models that do not exist, too
            raise PermissionError from None
        raise
    return ModelVersion(str(found.version), str(found.run_id), found.tags)
