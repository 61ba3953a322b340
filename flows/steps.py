"""One step of a pipeline: a finished run that may stand for it is reused, else the work is claimed, done and kept.

Any number of processes may want the same step of the same store: one does it, the others wait. A claim is a RUNNING run
with the step's fingerprint. Whoever sees another claim beside his own takes it back and looks again later, so two can
never both go on: of two claims the later one is written before its owner looks.
"""

import logging
import random
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows import display
from flows.publish import publish_link
from flows.recorder import StageRecorder
from flows.results import StageResult
from flows.workplace import checkpoint_folder, scratch_folder
from semisup.config import PipelineConfig
from semisup.lineage import Lineage, lineage_of
from semisup.stages import SECTIONS, Step, load_stage
from semisup.stages.files import load_model, pool_of
from semisup.stages.preflight import DataDigests
from semisup.tracking.failures import store_failures
from semisup.tracking.model import log_model
from semisup.tracking.stored import StoredRun
from semisup.tracking.tracker import Tracker, WithdrawnError

SECONDS_BETWEEN_LOOKS = 1.0
Logger = logging.Logger | logging.LoggerAdapter[Any]


@dataclass(frozen=True)
class Reference:
    """What passes between steps: where a result is, and what it is."""

    run_id: str
    output_digest: str


def lineage_for(step: Step, config: PipelineConfig, upstream: Mapping[str, Reference], digests: DataDigests) -> Lineage:
    """What a step's result follows from, given what it reads."""
    inputs = {role: reference.output_digest for role, reference in upstream.items()}
    return lineage_of(step.stage, config, SECTIONS[step.stage], inputs, digests.seen_by(step.stage))


def reusable(tracker: Tracker, fingerprint: str, scratch: Path) -> tuple[StoredRun | None, list[str]]:
    """The newest complete run of a fingerprint whose artifacts are whole, and what was wrong with newer ones."""
    problems: list[str] = []
    for run in tracker.finished(fingerprint):
        problem = tracker.damage(run, scratch)
        if problem is None:
            return run, problems
        problems.append(f"run {run.id[:8]} is not reused: {problem}")
    return None, problems


def run_step(
    step: Step,
    config: PipelineConfig,
    upstream: Mapping[str, Reference],
    digests: DataDigests,
    *,
    parent_run_id: str | None,
    force: bool,
    logger: Logger,
) -> StageResult:
    """The result of a step, by reuse or by work; `force` works even where a result is there.

    Raises:
        StoreUnavailableError: the store stopped answering; what training has done so far is in its checkpoints.
        UserError: a mistake in config or data, or no space left.
    """
    tracker = Tracker.open(config.tracking.experiment, Path.cwd())
    lineage = lineage_for(step, config, upstream, digests)
    started = time.perf_counter()
    with store_failures(tracker.uri), scratch_folder(config) as scratch:
        waiting_for = ""
        while True:
            if not force:
                run, problems = reusable(tracker, lineage.fingerprint, scratch)
                for problem in problems:
                    _tell(logger, problem, warning=True)
                if run is not None:
                    return StageResult.of(run, seconds=time.perf_counter() - started)
            others = tracker.running(lineage.fingerprint)
            if not others:
                try:
                    return _Work(tracker, step, config, upstream, lineage, digests, logger, scratch, force).do(
                        parent_run_id
                    )
                except WithdrawnError:
                    time.sleep(random.uniform(0, SECONDS_BETWEEN_LOOKS))  # two shall not meet again
                    continue
            if others[0].id != waiting_for:
                waiting_for = others[0].id
                tags = others[0].tags
                _tell(
                    logger, f"process {tags.get('pid')} on {tags.get('host')} is at this step already; waiting for it"
                )
            time.sleep(SECONDS_BETWEEN_LOOKS)


@dataclass(frozen=True)
class _Work:
    """A step that has to be done."""

    tracker: Tracker
    step: Step
    config: PipelineConfig
    upstream: Mapping[str, Reference]
    lineage: Lineage
    digests: DataDigests
    logger: Logger
    scratch: Path
    force: bool

    def do(self, parent_run_id: str | None) -> StageResult:
        """Claim the step, run its stage in a folder of its own, keep what it leaves, and say last that it is complete.

        Raises:
            WithdrawnError: another process claimed it first.
        """
        started = time.perf_counter()
        fingerprint = self.lineage.fingerprint
        tags = {"stage": self.step.stage, "step": self.step.name, "config": self.config.name}
        tags |= {"seed": str(self.config.seed), "fingerprint": fingerprint, "dataset": self.digests.pool}
        tags |= {"code": self.lineage.code}
        for role, reference in self.upstream.items():
            tags |= {f"upstream.{role}": reference.run_id, f"digest.{role}": reference.output_digest}
        self.tracker.close_lost_of(fingerprint)
        system_metrics = self.config.tracking.system_metrics
        with self.tracker.run(self.step.name, tags, parent_run_id, system_metrics=system_metrics) as run:
            # In this order: whoever had claimed it before is either still at it, or has finished by the second look.
            if self.tracker.running(fingerprint, but=run.id) or self._was_done_meanwhile():
                raise WithdrawnError
            self._publish_link(run.id)
            run.log_config(self.config, SECTIONS[self.step.stage])
            run.log_lineage(self.lineage)
            recorder = StageRecorder(run, self.logger)
            checkpoints = checkpoint_folder(self.config, self.tracker.uri, fingerprint)
            if self.force:
                shutil.rmtree(checkpoints, ignore_errors=True)
            out_dir = self._run_stage(recorder, checkpoints)
            digest = run.log_outputs(out_dir)
            run.describe("\n\n".join(recorder.lines))
            last = {"output_digest": digest}
            if self.step.stage == "joint":
                example = pool_of(self.config).images[:8]
                last["model_id"] = log_model(self.tracker, run.id, load_model(out_dir), example)
            seconds = time.perf_counter() - started
            run.log_metrics({"stage_seconds": seconds})
            run.set_tags(last)
            run.set_tags({"complete": "true"})
        shutil.rmtree(checkpoints, ignore_errors=True)
        return StageResult(run.id, digest, seconds, recorder.summary)

    def _was_done_meanwhile(self) -> bool:
        return not self.force and reusable(self.tracker, self.lineage.fingerprint, self.scratch)[0] is not None

    def _run_stage(self, recorder: StageRecorder, checkpoints: Path) -> Path:
        inputs = {role: self.tracker.artifacts(ref.run_id, self.scratch) for role, ref in self.upstream.items()}
        out_dir = self.scratch / "out"
        shutil.rmtree(out_dir, ignore_errors=True)
        out_dir.mkdir()
        load_stage(self.step.stage, checkpoints)(self.config, inputs, out_dir, recorder)
        return out_dir

    def _publish_link(self, run_id: str) -> None:
        publish_link(
            key=f"semisup-{self.step.name.replace('_', '-')}",
            link=self.tracker.link(run_id),
            text=f"{self.step.name} in MLflow",
            description=f"Run {run_id} of {self.config.name}, seed {self.config.seed}; `semisup ui` serves the page.",
        )


def _tell(logger: Logger, text: str, *, warning: bool = False) -> None:
    (logger.warning if warning else logger.info)(text)
    display.current().line(text, warning=warning)
