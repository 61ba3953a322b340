"""The store: opened and checked; runs that always end; finished runs found again."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import mlflow
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import MlflowClient
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from semisup.errors import NO_SPACE, UserError
from semisup.lineage.fingerprints import Lineage, damage
from semisup.system.processes import HEARTBEAT, SECONDS_BETWEEN_BEATS, machine, process_tags
from semisup.system.signals import undisturbed
from semisup.tracking.places.connect import connect
from semisup.tracking.places.failures import NO_ANSWER, first_line
from semisup.tracking.places.quiet import quiet
from semisup.tracking.places.relocation import local_path
from semisup.tracking.places.store import FOR_TRAINING, is_server, redacted, sqlite_path, store_uri, without_secrets
from semisup.tracking.places.stored import StoredRun, beginning, stored_run, written_here
from semisup.tracking.places.tag_names import stored_names
from semisup.tracking.provenance import provenance
from semisup.tracking.run import LINEAGE, Heart, Run

UI_PORT = 5000
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds for which, at most, a withdrawn claim waits the first time and later."""
T = TypeVar("T")
DEFAULT_EXPERIMENT = "Default"
"""MLflow makes it with every store."""
ERROR = "error"
"""Tag: in one line, why a run failed."""


class WithdrawnError(Exception):
    """Somebody else does the same work: the run just begun is deleted, as if it had never been."""


@dataclass(frozen=True)
class Tracker:
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
    def existing(cls, folder: Path) -> "Tracker":
        """The store as in :meth:`open`, for a look at what is in it: nothing is made that is not there.

        Raises:
            UserError: there is none in this folder, or it cannot be used.
        """
        database = sqlite_path(store_uri(folder))
        if database is not None and not database.exists():
            raise UserError(f"there is no MLflow store at {str(database)!r}; run `semisup run digits` there first")
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
        lost = self._lost(self.search(f"{of} and attributes.status = 'RUNNING'"))
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

    def finished(self, fingerprint: str) -> list[StoredRun]:
        """Complete runs of a fingerprint, newest first."""
        wanted = f"tags.fingerprint = '{fingerprint}' and tags.complete = 'true' and attributes.status = 'FINISHED'"
        return self.search(wanted)

    def running(self, fingerprint: str, but: str = "") -> list[StoredRun]:
        """Runs of a fingerprint that are under way, apart from one of them; those of lost processes do not count."""
        wanted = f"tags.fingerprint = '{fingerprint}' and attributes.status = 'RUNNING'"
        found = [run for run in self.search(wanted) if run.id != but]
        lost = {run.id for run in self._lost(found)}
        return [run for run in found if run.id not in lost]

    def _lost(self, runs: Sequence[StoredRun]) -> list[StoredRun]:
        """Those of RUNNING runs that are lost for certain.

        They are looked at again after their process was found gone: it may have written a good end before it went. Of
        another machine only the heartbeat is known, and clocks may differ by hours: it is listened to for two beats.
        """
        suspects = [run for run in runs if run.gone]
        if any(run.tags.get("machine") != machine() for run in suspects):
            time.sleep(2 * SECONDS_BETWEEN_BEATS)
        again = [self.get(run.id) for run in suspects]
        return [
            now
            for before, now in zip(suspects, again, strict=True)
            if now.status == "RUNNING" and now.tags.get(HEARTBEAT) == before.tags.get(HEARTBEAT)
        ]

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

    def find(self, run_id: str) -> StoredRun:
        """The run that a person means: by its id, or by the beginning of it.

        Raises:
            UserError: there is none, or several begin so.
        """
        wanted = run_id.strip().lower()
        if not wanted or not set(wanted) <= set("0123456789abcdef") or len(wanted) > 32:
            raise UserError(f"run {run_id!r} is no run id; `semisup runs` lists them")
        found = [run for run in self.search("tags.semisup.version LIKE '%'", limit=10_000) if run.id.startswith(wanted)]
        if not found:
            raise UserError(f"run {run_id!r} is not in this store; `semisup runs` lists those that are")
        if len(found) > 1:
            raise UserError(f"run {run_id!r} could be any of {len(found)} runs; write more of its id")
        return found[0]

    def lineage(self, run: StoredRun, scratch: Path) -> Lineage | None:
        """What a run followed from; None for a run that has not said so."""
        try:
            return Lineage.from_json((self.file(run.id, LINEAGE, scratch)).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, MlflowException):
            return None

    # --- artifacts ----------------------------------------------------------------------------------------------------

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
        """What is wrong with a complete run's artifacts; None when they are there and match their digest."""
        try:
            return damage(self.artifacts(run.id, scratch), run.tags.get("output_digest", ""))
        except MlflowException as error:
            if any(sign in str(error) for sign in NO_ANSWER):
                raise
            return "its artifacts cannot be read"
        except OSError as error:
            if error.errno in NO_SPACE:
                raise
            return f"its artifacts cannot be read ({error.strerror})"

    def locate(self, run_id: str, file: str) -> str:
        """Where people find an artifact: its path, or on a server the address of its page."""
        local = self.local_artifacts(run_id)
        return str(local / file) if local is not None else f"{self.link(run_id)}/artifacts/{file}"

    def _check_downloadable(self, run_id: str) -> None:
        if self._place(run_id).startswith("mlflow-artifacts:") and not is_server(self.uri):
            raise UserError(
                f"MLFLOW_TRACKING_URI={without_secrets(self.uri)!r}: the files of run {run_id[:8]} are kept by an "
                "MLflow server and can be had from it alone; use the server's address"
            )

    def local_artifacts(self, run_id: str) -> Path | None:
        """Where the store itself keeps a run's artifacts; None where that is not on this machine."""
        return local_path(self._place(run_id))

    def _place(self, run_id: str) -> str:
        return self._places.get(run_id) or self.get(run_id).artifact_uri

    def _seen(self, run: MlflowRun) -> StoredRun:
        stored = stored_run(run)
        self._places[stored.id] = stored.artifact_uri
        return stored

    def link(self, run_id: str, experiment_id: str | None = None) -> str:
        """Address of a run's page: on the MLflow server, or for a file store where `semisup ui` serves it."""
        server = self.uri.rstrip("/") if is_server(self.uri) else f"http://127.0.0.1:{UI_PORT}"
        page = f"experiments/{experiment_id or self.experiment_id}/runs/{run_id}"
        return f"{without_secrets(server)}/#/{page}?{FOR_TRAINING}"
