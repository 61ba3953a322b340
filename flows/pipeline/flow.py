"""The pipeline as a Prefect flow: every step a task, every step an MLflow run, references between them."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import Task, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger

from flows.parallel.exporting import finish_export
from flows.parallel.members import at_once, check_cluster, run_at_once
from flows.pipeline.promotion import apply_decision, current_champion, references, warn_of_other_splits
from flows.pipeline.reaper import reap_at_start
from flows.pipeline.recorder import Tenths, publish_markdown, tell
from flows.pipeline.results import PipelineResult, StageResult, last_tags
from flows.pipeline.reuse import Reference, reusable
from flows.pipeline.steps import Wanted, run_step
from flows.start import display
from flows.start.launch import Begun, start_once_more
from flows.start.preparation import known_to_run
from flows.start.run_names import named_by_parameters
from flows.start.workplace import scratch_folder
from semisup.config import PipelineConfig, RuntimeConfig
from semisup.errors import StoreUnavailableError
from semisup.lineage.code_versions import pin_code_versions
from semisup.pipeline.plan import Step, independent, plan
from semisup.pipeline.specs import AnyConfig, StageName
from semisup.stages.preflight.check import Checked, DataDigests, check
from semisup.system.json_files import read_json
from semisup.system.own_files import temporary_folder
from semisup.tracking.champions import Champion
from semisup.tracking.places.failures import store_failures
from semisup.tracking.places.pages import run_page
from semisup.tracking.run import Run
from semisup.tracking.tracker import Tracker

RETRY_AFTER: list[float] = [10, 60, 300]
"""Seconds: a server that restarts is back after the first wait, one that is mended by hand perhaps after the last."""


def may_pass(_task: "Task[..., Any]", _run: TaskRun, state: "State[Any]") -> bool:
    """Is a failure worth another try? A store that does not answer is; a user's mistake and a bug of ours are not."""
    error = state.result(raise_on_failure=False)
    if not isinstance(error, StoreUnavailableError):
        return False
    display.current().line(f"{error}; trying again in a moment", warning=True)
    return True


@flow(
    name="semisup-pipeline",
    flow_run_name=named_by_parameters(),
    validate_parameters=True,
    on_crashed=[start_once_more],
)
def pipeline(
    config: PipelineConfig, force: list[StageName] | None = None, overrides: list[str] | None = None
) -> dict[str, Any]:
    """Split, baseline, pseudo-labels, semi-supervised training, evaluation, promotion; the result as plain JSON values.

    Steps whose result is in the store already are reused.

    Args:
        config: Everything that decides the run.
        force: Stages to run anew even though their result is there, such as `joint`.
        overrides: What the command line set on top of the config's file, as `key=value`: the config holds it, and names
            of runs tell it.
    """
    begun = Begun.now(config, overrides)
    force = force or []
    checked = checked_config(config)
    tracker = open_store(config.tracking.experiment)
    with store_failures(tracker.uri):
        reap_at_start(tracker, config, get_run_logger())
        with scratch_folder(
            config
        ):  # this and the champion are looked at before a run is written: a mistake leaves none
            reigning = current_champion(tracker, config)
        steps = plan(config, champion=reigning is not None)
        check_cluster(config.runtime, steps)
        with tracker.run(name := begun.name(), begun.tags(stage="pipeline")) as run:
            run.log_config(config)
            run.log_dataset(config, checked.digests.version)
            stages = run_steps(tracker, config, checked.digests, steps, run, reigning=reigning, force=force)
            finishing = time.perf_counter()
            display.current().begin("finish")
            students = [stages[step.name] for step in steps if step.stage == "joint"]
            for student in students:
                finish_export(tracker, config, student.run_id, lambda line: tell(get_run_logger(), line))
            decision = _decide(tracker, config, stages, students[-1])
            verdict = verdict_of(tracker, stages["evaluate"])
            report = tracker.locate(stages["evaluate"].run_id, "report.html")
            page = tracker.link(run.id)
            result = PipelineResult(run.id, begun.seconds, stages, verdict, report, page, decision)
            run.rename(f"{result.headline} {name}")
            kept = tracker.link(result.kept.run_id)
            table = tracker.show_figures()
            told = begun.described(result.markdown())
            # MLflow shows the beginning of a note; its own addresses lead on whatever port its pages are.
            here = run_page(tracker.experiment_id, result.kept.run_id)
            described = f"[The model to keep](#/{here})\n\n{told}"
            run.conclude(result.figures() | result.pseudo_labels, last_tags(verdict, stages), described)
            display.current().end("finish", time.perf_counter() - finishing)
    summary = f"{told}\n{result.links(kept, table)}"
    publish_markdown(key="semisup-summary", markdown=summary, description=config.name)
    return result.as_json()


def run_steps(
    tracker: Tracker,
    config: AnyConfig,
    digests: DataDigests,
    steps: Sequence[Step],
    run: Run,
    *,
    reigning: Champion | None = None,
    force: Sequence[StageName] = (),
) -> dict[str, StageResult]:
    """Every step's result by its name, as runs within one of a flow; `reigning` is the champion of the beginning."""
    stages: dict[str, StageResult] = {}
    for group in independent(steps):
        if group[0].stage == "promote":  # hours may have passed, and another pipeline may have crowned its student
            reigning = current_champion(tracker, config)
        known = {name: reference_to(stage) for name, stage in stages.items()}
        work = []
        for step in group:
            upstream = references(tracker, config, step, known, digests=digests, reigning=reigning)
            warn_of_other_splits(tracker, step, upstream, get_run_logger())
            work.append(Wanted(step, config, upstream, digests, run.id, force=step.stage in force))
        for step, result in zip(group, _run_group(tracker, work, config.runtime), strict=True):
            stages[step.name] = result
            run.set_tags({f"step.{step.name}": result.run_id})
    return stages


def _run_group(tracker: Tracker, group: Sequence[Wanted], runtime: RuntimeConfig) -> list[StageResult]:
    """The results of steps that need not wait for each other; what has to be done is done at the same time."""
    missing = [] if len(group) == 1 else [wanted for wanted in group if not _is_there(tracker, wanted)]
    done: dict[str, StageResult] = {}
    if at_once(len(missing), runtime) > 1:
        results = run_at_once([(_task_for(wanted), {"wanted": wanted}) for wanted in missing], runtime)
        done = {wanted.step.name: result for wanted, result in zip(missing, results, strict=True)}
    return [done.get(wanted.step.name) or run_alone(wanted) for wanted in group]


def _is_there(tracker: Tracker, wanted: Wanted) -> bool:
    with scratch_folder(wanted.config) as scratch:
        return not wanted.force and reusable(tracker, wanted.lineage, scratch, {}) is not None


def checked_config(config: PipelineConfig) -> Checked:
    """Checks config and data, before the store holds anything of this run; warnings go to Prefect's log.

    What the command that calls the flow has looked at just now is not looked at again.

    Raises:
        UserError: there is a mistake in one of them.
    """
    pin_code_versions()
    checked = known_to_run(config) or check(config, Tenths(get_run_logger()))
    for warning in checked.warnings:
        get_run_logger().warning(warning)
    return checked


@task(
    cache_policy=NO_CACHE, persist_result=False, retries=3, retry_delay_seconds=RETRY_AFTER, retry_condition_fn=may_pass
)
def open_store(experiment: str) -> Tracker:
    """The MLflow store, as soon as it answers."""
    return Tracker.of_this_process(experiment, Path.cwd())


@task(
    cache_policy=NO_CACHE, persist_result=False, retries=3, retry_delay_seconds=RETRY_AFTER, retry_condition_fn=may_pass
)
def run_stage(wanted: Wanted) -> StageResult:
    """One step: its finished run is found in the store, or its stage is run."""
    display.current().begin(wanted.step.name)
    result = run_step(wanted, get_run_logger())
    if result.reused:
        get_run_logger().info("reused run %s: nothing it depends on has changed", result.run_id)
    display.current().end(wanted.step.name, result.seconds, reused=result.run_id if result.reused else "")
    return result


def run_alone(wanted: Wanted) -> StageResult:
    """One step as a task of the current flow."""
    return _task_for(wanted)(wanted)


def _task_for(wanted: Wanted) -> "Task[[Wanted], StageResult]":
    """The task of a step, under its name and with the configured time limit."""
    return run_stage.with_options(name=wanted.step.name, timeout_seconds=wanted.config.runtime.stage_timeout)


def reference_to(stage: StageResult) -> Reference:
    """What is passed on of a step."""
    return Reference(stage.run_id, stage.output_digest)


def _decide(
    tracker: Tracker, config: PipelineConfig, stages: Mapping[str, StageResult], student: StageResult
) -> str | None:
    if "promote" not in stages:
        return None
    models = {"student": student, "baseline": stages["baseline"]}
    decision = apply_decision(tracker, config, stages["promote"], models)
    get_run_logger().info(decision)
    return decision


def verdict_of(tracker: Tracker, evaluate: StageResult) -> str:
    """What a step that tested two models says in its `metrics.json`."""
    with temporary_folder() as scratch:
        return str(read_json(tracker.file(evaluate.run_id, "metrics.json", scratch))["verdict"])
