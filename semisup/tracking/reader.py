"""What can be known of a store without writing. Light: MLflow is not imported."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from semisup.errors import NO_SPACE, UserError
from semisup.lineage.fingerprints import Lineage, damage
from semisup.system.processes import HEARTBEAT, SECONDS_BETWEEN_BEATS, machine
from semisup.tracking.places.pages import run_page, runs_page
from semisup.tracking.places.relocation import local_path
from semisup.tracking.places.store import is_server, without_secrets
from semisup.tracking.places.stored import COMPLETE, LINEAGE, StoredRun
from semisup.wording import counted

UI_PORT = 5000


@dataclass(frozen=True)
class ModelVersion:
    """A version of a registered model."""

    version: str
    run_id: str
    tags: Mapping[str, str]


class Reader(ABC):
    """A store, for a look at what is in it."""

    uri: str
    experiment_id: str

    @abstractmethod
    def search(self, wanted: str, limit: int = 1000) -> list[StoredRun]:
        """Runs of all experiments for which an MLflow filter holds, newest first."""

    @abstractmethod
    def get(self, run_id: str) -> StoredRun:
        """A run of which the store itself told the id."""

    @abstractmethod
    def known(self, run_id: str) -> StoredRun | None:
        """A run as in :meth:`get`, or None when it has been deleted since."""

    @abstractmethod
    def alias(self, name: str, alias: str) -> ModelVersion | None:
        """The version of a registered model that carries an alias; None where there is none.

        Raises:
            PermissionError: a server does not let this user see it.
        """

    @abstractmethod
    def version(self, name: str, number: str) -> ModelVersion | None:
        """A version of a registered model; otherwise as :meth:`alias`."""

    @abstractmethod
    def model_place(self, model_id: str) -> str | None:
        """Address of a logged model's files; None where there is no such model."""

    @abstractmethod
    def experiment_tags(self, experiment_id: str) -> Mapping[str, str]:
        """What MLflow's pages are told about an experiment, by us and by others."""

    def failures(self) -> AbstractContextManager[None]:
        """Within it, what the store's own exceptions mean to a user is raised in their place."""
        return nullcontext()

    def finished(self, fingerprint: str) -> list[StoredRun]:
        """Complete runs of a fingerprint, newest first."""
        return self.search(f"tags.fingerprint = '{fingerprint}' and {COMPLETE}")

    def running(self, fingerprint: str, but: str = "") -> list[StoredRun]:
        """Runs of a fingerprint that are under way, apart from one of them; those of lost processes do not count."""
        wanted = f"tags.fingerprint = '{fingerprint}' and attributes.status = 'RUNNING'"
        found = [run for run in self.search(wanted) if run.id != but]
        lost = {run.id for run in self.lost(found)}
        return [run for run in found if run.id not in lost]

    def lost(self, runs: Sequence[StoredRun]) -> list[StoredRun]:
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
            raise UserError(f"run {run_id!r} could be any of {counted(len(found), 'run')}; write more of its id")
        return found[0]

    # --- artifacts ----------------------------------------------------------------------------------------------------

    def lineage(self, run: StoredRun, scratch: Path) -> Lineage | None:
        """What a run followed from; None for a run that has not said so."""
        try:
            return Lineage.from_json((self.file(run.id, LINEAGE, scratch)).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            return None

    @abstractmethod
    def artifacts(self, run_id: str, scratch: Path) -> Path:
        """Folder with a run's artifacts: the store's own where it is on this machine, else a copy within `scratch`."""

    @abstractmethod
    def file(self, run_id: str, name: str, scratch: Path) -> Path:
        """One file of a run's artifacts, as in :meth:`artifacts`."""

    def damage(self, run: StoredRun, scratch: Path) -> str | None:
        """What is wrong with a complete run's artifacts; None when they are there and match their digest."""
        try:
            return damage(self.artifacts(run.id, scratch), run.tags.get("output_digest", ""))
        except OSError as error:
            if error.errno in NO_SPACE:
                raise
            return f"its artifacts cannot be read ({error.strerror})"

    def locate(self, run_id: str, file: str) -> str:
        """Where people find an artifact: its path, or on a server the address of its page."""
        local = self.local_artifacts(run_id)
        return str(local / file) if local is not None else f"{self.link(run_id)}/artifacts/{file}"

    def local_artifacts(self, run_id: str) -> Path | None:
        """Where the store itself keeps a run's artifacts; None where that is not on this machine."""
        return local_path(self.place(run_id))

    def place(self, run_id: str) -> str:
        """Address of a run's artifacts."""
        return self.get(run_id).artifact_uri

    def link(self, run_id: str, experiment_id: str | None = None) -> str:
        """Address of a run's page: on the MLflow server, or for a file store where `semisup ui` serves it."""
        return f"{self._pages()}/#/{run_page(experiment_id or self.experiment_id, run_id)}"

    def table(
        self, experiment_id: str | None = None, pages: str | None = None, tags: Mapping[str, str] | None = None
    ) -> str:
        """Address of an experiment's runs, with their key figures, on the pages of :meth:`link` or on others.

        `tags` are the experiment's; None: the store is asked for them.
        """
        chosen = experiment_id or self.experiment_id
        known = self.experiment_tags(chosen) if tags is None else tags
        return f"{pages or self._pages()}/#/{runs_page(chosen, known)}"

    def _pages(self) -> str:
        server = self.uri.rstrip("/") if is_server(self.uri) else f"http://127.0.0.1:{UI_PORT}"
        return without_secrets(server)
