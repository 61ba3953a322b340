"""One step of a pipeline: a finished run that may stand for it is reused, else the work is claimed, done and kept.

Any number of processes may want the same step of the same store: one does it, the others wait. A claim is a RUNNING run
with the step's fingerprint. Whoever sees another claim beside his own takes it back and looks again later, so two can
never both go on: of two claims the later one is written before its owner looks.
"""

import asyncio
import os
import random
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flows.parallel.exporting import begin_export
from flows.pipeline.recorder import Logger, StageRecorder, publish_link, tell
from flows.pipeline.results import CPU_SECONDS, StageResult
from flows.pipeline.reuse import Reference, lineage_for, reusable
from flows.start.workplace import checkpoint_folder, discard, scratch_folder
from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.lineage.fingerprints import Lineage
from semisup.networks.pretrained import promise_weights
from semisup.pipeline.plan import Step
from semisup.pipeline.specs import AnyConfig
from semisup.stages.preflight.check import DataDigests
from semisup.stages.running import run_step as work
from semisup.stages.support.models.configured import weights_files
from semisup.system.own_files import mark
from semisup.tracking.curves import Curves
from semisup.tracking.places.failures import store_failures
from semisup.tracking.run import Run
from semisup.tracking.tracker import LONGEST_WAIT, Tracker, WithdrawnError

SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class Wanted:
    """The result of a step, as a flow asks for it."""

    step: Step
    config: AnyConfig
    upstream: Mapping[str, Reference]
    digests: DataDigests
    parent_run_id: str | None
    """MLflow run of the pipeline; None: the step stands alone."""
    force: bool
    """Work even where a result is there."""

    @property
    def lineage(self) -> Lineage:
        """What the result follows from."""
        return lineage_for(self.step, self.config, self.upstream, self.digests)


def run_step(wanted: Wanted, logger: Logger) -> StageResult:
    """The result of a step, by reuse or by work.

    Raises:
        StoreUnavailableError: the store stopped answering; what training has done so far is in its checkpoints.
        UserError: a mistake in config or data, or no space left.
    """
    tracker = Tracker.of_this_process(wanted.config.tracking.experiment, Path.cwd())
    lineage = wanted.lineage
    with store_failures(tracker.uri), scratch_folder(wanted.config) as scratch:
        work = _Work(tracker, wanted, lineage, logger, scratch)
        wait, waiting_for = SECONDS_BETWEEN_LOOKS, ""
        while True:
            finished = None if wanted.force else work.look()
            if finished is not None:
                return finished
            others = tracker.running(lineage.fingerprint)
            if not others:
                try:
                    return work.do()
                except WithdrawnError:
                    time.sleep(random.uniform(0, wait))  # two shall not meet again
                    wait = min(2 * wait, LONGEST_WAIT)
                    continue
            if others[0].id != waiting_for:
                waiting_for = others[0].id
                tags = others[0].tags
                tell(logger, f"process {tags.get('pid')} on {tags.get('host')} is at this step already; waiting for it")
            time.sleep(SECONDS_BETWEEN_LOOKS)


@dataclass(frozen=True)
class _Work:
    """A step that may have to be done."""

    tracker: Tracker
    wanted: Wanted
    lineage: Lineage
    logger: Logger
    scratch: Path
    asked: float = field(default_factory=time.perf_counter)
    """When the step was asked for: its time limit counts from then."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Ids of runs that cannot be reused, and why."""

    def look(self) -> StageResult | None:
        """A finished run that may stand for the work, if there is one."""
        known = set(self.damaged)
        run = reusable(self.tracker, self.lineage, self.scratch, self.damaged)
        for run_id in self.damaged.keys() - known:
            tell(self.logger, f"run {run_id[:8]} is not reused: {self.damaged[run_id]}", warning=True)
        if run is None:
            return None
        discard(self._checkpoints)  # of somebody who was killed after the run was finished
        return StageResult.of(run, seconds=time.perf_counter() - self.asked)

    def do(self) -> StageResult:
        """Claim the step, run its stage in a folder of its own, keep what it leaves, and say last that it is complete.

        Raises:
            WithdrawnError: another process claimed it first, or took this one for dead and closed its run.
        """
        started, fingerprint = time.perf_counter(), self.lineage.fingerprint
        wanted, step, config = self.wanted, self.wanted.step, self.wanted.config
        self.tracker.close_lost(fingerprint)

        def is_anothers(run: Run) -> bool:
            # In this order: whoever had claimed it before is either still at it, or has finished by the second look.
            return bool(self.tracker.running(fingerprint, but=run.id)) or (not wanted.force and self.look() is not None)

        metrics = config.tracking.system_metrics
        claim = self.tracker.run(
            step.name, self._tags(), wanted.parent_run_id, system_metrics=metrics, withdraw_if=is_anothers
        )
        with claim as run, self._in_time():
            self._publish_link(run.id)
            run.log_config(config, step.spec.sections)
            run.log_lineage(self.lineage)
            cpu_before = cpu_seconds()
            with Curves(run) as curves:
                recorder = StageRecorder(curves, self.logger)
                out_dir = self._run_stage(recorder)
            cost = {CPU_SECONDS: cpu_seconds() - cpu_before}
            last = {"output_digest": run.log_outputs(out_dir)}
            seconds = time.perf_counter() - started
            run.conclude({"stage_seconds": seconds} | cost, last, description="\n\n".join(recorder.lines))
            if self.tracker.get(run.id).status != "RUNNING":
                raise WithdrawnError
            run.set_tags({"complete": "true"})
        if step.stage == "joint":
            begin_export(self.tracker, run.id)
        discard(self._checkpoints)
        return StageResult(run.id, last["output_digest"], seconds, recorder.summary | cost)

    @property
    def _checkpoints(self) -> Path:
        return checkpoint_folder(self.wanted.config, self.tracker.uri, self.lineage.fingerprint)

    def _tags(self) -> dict[str, str]:
        tags = {"stage": self.wanted.step.stage, "step": self.wanted.step.name, "config": self.wanted.config.name}
        tags |= {"seed": str(self.wanted.config.seed), "dataset": self.wanted.digests.pool}
        tags |= {"fingerprint": self.lineage.fingerprint, "code": self.lineage.code}
        for role, reference in self.wanted.upstream.items():
            tags |= {f"upstream.{role}": reference.run_id, f"digest.{role}": reference.output_digest}
        return tags | {"splits": " ".join(sorted(self._splits()))}

    def _splits(self) -> set[str]:
        """Digests of all splits whose labels are known to this run, by itself or through a teacher."""
        splits = {self.wanted.upstream["split"].output_digest} if "split" in self.wanted.upstream else set()
        for reference in self.wanted.upstream.values():
            splits |= set(self.tracker.get(reference.run_id).tags.get("splits", "").split())
        return splits

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Say what Prefect means when it cancels a task whose time is up: the run has failed, nobody has killed it."""
        try:
            yield
        except asyncio.CancelledError:
            limit = self.wanted.config.runtime.stage_timeout
            if time.perf_counter() - self.asked < limit - 1:
                raise  # something else ends the flow, such as a Prefect server that has lost it
            raise UserError(
                f"runtime.stage_timeout={limit}: {self.wanted.step.name} took longer and was ended; allow more "
                "seconds, and training goes on from its checkpoint"
            ) from None

    def _run_stage(self, recorder: StageRecorder) -> Path:
        inputs = {role: self.tracker.artifacts(ref.run_id, self.scratch) for role, ref in self.wanted.upstream.items()}
        out_dir = self.scratch / "out"
        shutil.rmtree(out_dir, ignore_errors=True)
        out_dir.mkdir()
        mark(self._checkpoints)
        if self.wanted.digests.weights:  # another process may have checked them: a member's is one of its own
            promise_weights(weights_files(_of_pipelines(self.wanted.config)), self.wanted.digests.weights)
        work(self.wanted.step, self.wanted.config, inputs, out_dir, recorder, checkpoints=self._checkpoints)
        return out_dir

    def _publish_link(self, run_id: str) -> None:
        step, config = self.wanted.step, self.wanted.config
        publish_link(
            key=f"semisup-{step.name.replace('_', '-')}",
            link=self.tracker.link(run_id),
            text=f"{step.name} in MLflow",
            description=f"Run {run_id} of {config.name}, seed {config.seed}; `semisup ui` serves the page.",
        )


def _of_pipelines(config: AnyConfig) -> PipelineConfig:
    assert isinstance(config, PipelineConfig), "a regression has neither images nor pretrained weights"
    return config


def cpu_seconds() -> float:
    """Seconds that the processors have worked for this process, all threads, and for those of its children that ended.

    What a crash or an interruption cost is not in a stage's figure: it counts from the checkpoint on.
    """
    times = os.times()
    return time.process_time() + times.children_user + times.children_system
