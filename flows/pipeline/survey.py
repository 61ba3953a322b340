"""How every step of a config stands in the store: fresh, stale, missing, running, failed, killed or lost, and why."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flows.pipeline.promotion import current_champion, references
from flows.pipeline.reuse import Reference, lineage_for, reusable
from semisup.config import PipelineConfig
from semisup.lineage.fingerprints import Lineage
from semisup.pipeline.plan import KEPT, Step, plan
from semisup.stages.preflight.check import DataDigests
from semisup.system.own_files import temporary_folder
from semisup.tracking.looking import look
from semisup.tracking.places.store import sqlite_path, store_uri
from semisup.tracking.places.stored import COMPLETE, ERROR, StoredRun
from semisup.tracking.reader import Reader

Standing = Literal["fresh", "stale", "missing", "running", "failed", "killed", "lost"]
"""The last three in the words of `semisup runs`."""
MOST_CHANGES_SHOWN = 3


@dataclass(frozen=True)
class StepState:
    """One step of a config, as it stands."""

    step: Step
    standing: Standing
    run: StoredRun | None
    """The run that the standing is about: the fresh, stale, running or failed one, or one that was killed or lost."""
    why: str

    @property
    def reference(self) -> Reference | None:
        """What later steps read, if it is fresh."""
        if self.standing != "fresh" or self.run is None:
            return None
        return Reference(self.run.id, self.run.tags["output_digest"])

    def age(self, now: float | None = None) -> float | None:
        """Seconds since its run ended (or began, while it runs)."""
        if self.run is None:
            return None
        return (time.time() if now is None else now) - (self.run.ended or self.run.started)


def survey(config: PipelineConfig, digests: DataDigests, folder: Path) -> dict[str, StepState]:
    """How every step of a config stands in the store of a folder.

    Raises:
        UserError: the store does not answer, or its champion cannot be used.
    """
    database = sqlite_path(store_uri(folder))
    if database is not None and not database.exists():  # a look makes no store
        return {step.name: StepState(step, "missing", None, "nothing has run here yet") for step in plan(config)}
    store = look(folder)
    with store.failures(), temporary_folder() as scratch:
        return Surveyor(store, config, digests, scratch).survey()


@dataclass(frozen=True)
class Surveyor:
    """Looks at the steps of a config in a store; nothing is written but copies into `scratch`."""

    store: Reader
    config: PipelineConfig
    digests: DataDigests
    scratch: Path

    def survey(self, steps: Sequence[Step] | None = None) -> dict[str, StepState]:
        """Step → how it stands, in the order of the plan, which is the pipeline's unless other steps are given."""
        reigning = current_champion(self.store, self.config)
        states: dict[str, StepState] = {}
        known: dict[str, Reference] = {}
        for step in plan(self.config, champion=reigning is not None) if steps is None else steps:
            sources = ["keep" if source == KEPT else source for source in step.upstream.values()]
            behind = [source for source in sources if source in states and source not in known]
            if behind:
                states[step.name] = self._waiting(step, behind)
            else:
                upstream = references(self.store, self.config, step, known, digests=self.digests, reigning=reigning)
                states[step.name] = self._ready(step, upstream)
            if (reference := states[step.name].reference) is not None:
                known[step.name] = reference
        return states

    def _waiting(self, step: Step, behind: Sequence[str]) -> StepState:
        """A step whose inputs are not there: whatever it left before was made from others."""
        before = self._newest(step)
        return StepState(step, "stale" if before else "missing", before, f"waits for {', '.join(behind)}")

    def _ready(self, step: Step, upstream: Mapping[str, Reference]) -> StepState:
        lineage = lineage_for(step, self.config, upstream, self.digests)
        damaged: dict[str, str] = {}
        fresh = reusable(self.store, lineage, self.scratch, damaged)
        if fresh is not None:
            return StepState(step, "fresh", fresh, "")
        running = self.store.running(lineage.fingerprint)
        if running:
            tags = running[0].tags
            return StepState(step, "running", running[0], f"process {tags.get('pid')} on {tags.get('host')}")
        for run_id, problem in damaged.items():
            return StepState(step, "missing", None, f"run {run_id[:8]} is not reused: {problem}")
        tried = self.store.search(f"tags.fingerprint = '{lineage.fingerprint}'", limit=1)
        if tried:
            return StepState(step, standing_of(tried[0]), tried[0], _end_of(tried[0]))
        return self._outdated(step, lineage)

    def _outdated(self, step: Step, lineage: Lineage) -> StepState:
        before = self._newest(step)
        if before is None:
            tried = self.store.search(self._of_this_config(step), limit=1)
            if tried:
                return StepState(step, standing_of(tried[0]), tried[0], _end_of(tried[0]))
            return StepState(step, "missing", None, "no run with this config in the store")
        old = self.store.lineage(before, self.scratch)
        changes = lineage.changes_since(old) if old is not None else ["what it was made from is not known"]
        more = len(changes) - MOST_CHANGES_SHOWN
        shown = "; ".join(changes[:MOST_CHANGES_SHOWN]) + (f" and {more} more" if more > 0 else "")
        return StepState(step, "stale", before, f"changed: {shown}")

    def _newest(self, step: Step) -> StoredRun | None:
        """The last complete run of this step of a config of this name, whatever it was made from."""
        found = self.store.search(f"{self._of_this_config(step)} and {COMPLETE}", limit=1)
        return found[0] if found else None

    def _of_this_config(self, step: Step) -> str:
        return f"tags.step = '{step.name}' and tags.config = '{self.config.name}'"


def standing_of(run: StoredRun) -> Standing:
    """Of a run that did not end well, as `semisup runs` calls it: one that was interrupted has not failed."""
    if run.gone:
        return "lost"
    return "killed" if run.status == "KILLED" else "failed"


def _end_of(run: StoredRun) -> str:
    if run.gone:
        return "its process is gone; the same command goes on from its checkpoint"
    return run.tags.get(ERROR) or "it was interrupted; the same command goes on from its checkpoint"
