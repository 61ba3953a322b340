"""One stage alone, upon what earlier runs left."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.logging import get_run_logger

from flows.parallel.exporting import finish_export
from flows.pipeline.flow import checked_config, open_store, run_alone
from flows.pipeline.promotion import apply_decision, current_champion, kept_among, references, warn_of_other_splits
from flows.pipeline.reaper import reap_at_start
from flows.pipeline.recorder import tell
from flows.pipeline.results import StageResult
from flows.pipeline.reuse import Reference
from flows.pipeline.steps import Wanted
from flows.pipeline.survey import StepState, Surveyor
from flows.start.launch import mark_flow_run
from flows.start.run_names import named_by_parameters
from flows.start.workplace import scratch_folder
from semisup.config import PipelineConfig
from semisup.errors import UserError, did_you_mean
from semisup.pipeline.plan import CHAMPION, KEPT, SPLIT_BEFORE, Step, ensemble_plan, plan
from semisup.stages.preflight.check import DataDigests
from semisup.system.own_files import temporary_folder
from semisup.tracking.places.failures import store_failures
from semisup.tracking.reader import Reader
from semisup.tracking.tracker import Tracker

TEACHERS = ("baseline", "joint", "ensemble")
"""Stages that leave a network, and so may teach."""
NO_STEPS = (CHAMPION, SPLIT_BEFORE, KEPT)
"""What an earlier pipeline left, and a step that is known once `keep` has run."""


@flow(name="semisup-stage", flow_run_name=named_by_parameters("name"), validate_parameters=True)
def stage(
    name: str,
    config: PipelineConfig,
    upstream: dict[str, str] | None = None,
    force: bool = False,
    overrides: list[str] | None = None,
) -> dict[str, Any]:
    """Run one stage upon the newest runs that match the config, or upon those that are named.

    Args:
        name: The stage, such as `joint`; with several rounds also `joint-2`.
        config: Everything that decides the run.
        upstream: Stage → MLflow run id of a complete run to read instead of the newest matching one.
        force: Run it anew even though its result is in the store.
        overrides: What the command line set on top of the config's file, as `key=value`: the config holds it, and names
            of runs tell it.
    """
    mark_flow_run()
    checked = checked_config(config)
    tracker = open_store(config.tracking.experiment)
    with store_failures(tracker.uri):
        reap_at_start(tracker, config, get_run_logger())
        with scratch_folder(config) as scratch:
            surveyor = Surveyor(tracker, config, checked.digests, scratch)
            step, found = resolve(surveyor, name, upstream or {})
        warn_of_other_splits(tracker, step, found, get_run_logger())
        result = run_alone(Wanted(step, config, found, checked.digests, parent_run_id=None, force=force))
        if step.stage == "joint":
            finish_export(tracker, config, result.run_id, lambda line: tell(get_run_logger(), line))
        decision = _crown(tracker, config, step, found, result)
    return {
        "stage": step.name,
        "run_id": result.run_id,
        "reused": result.reused,
        "seconds": round(result.seconds, 3),
        "upstream": {role: reference.run_id for role, reference in found.items()},
        "page": tracker.link(result.run_id),
        "champion": decision,
        "metrics": dict(result.figures),
    }


def look_up(config: PipelineConfig, digests: DataDigests, name: str, upstream: Mapping[str, str]) -> None:
    """Make sure that a stage can be run alone, before anything is started.

    Raises:
        UserError: as in :func:`resolve`.
    """
    tracker = Tracker.of_this_process(config.tracking.experiment, Path.cwd())
    with store_failures(tracker.uri), temporary_folder() as scratch:
        resolve(Surveyor(tracker, config, digests, scratch), name, upstream)


def resolve(surveyor: Surveyor, name: str, named: Mapping[str, str]) -> tuple[Step, dict[str, Reference]]:
    """The step of a name, and what it reads: the runs that are named, otherwise those that match the config.

    Raises:
        UserError: no such stage or input; an input is missing, incomplete, damaged or of another data set or split.
    """
    store, config = surveyor.store, surveyor.config
    states = surveyor.survey()
    if name in {step.name for step in ensemble_plan(config)} - states.keys():  # of an ensemble that teaches nobody
        states = surveyor.survey(ensemble_plan(config))
    reigning = current_champion(store, config)
    if name not in states:
        known = [step.name for step in plan(config)]
        hint = did_you_mean(name, known, f"there are {', '.join(known)}")
        raise UserError(f"stage {name!r} is not part of this config; {hint}")
    step = states[name].step
    for key in named:
        nameable = {role: source for role, source in step.upstream.items() if source != SPLIT_BEFORE}
        if key not in {*nameable, *nameable.values()}:
            reads = sorted(nameable.values())
            hint = did_you_mean(key, reads, f"it reads {', '.join(reads) or 'nothing'}")
            raise UserError(f"--upstream {key}={named[key]}: stage {name!r} does not read {key!r}; {hint}")
    inputs = step.upstream.items()
    chosen = {
        role: _named(surveyor, role, source, run_id)
        for role, source in inputs
        if (run_id := named.get(source) or named.get(role))
    }
    read = {
        source: chosen.get(role) or _matching(states[source], name) for role, source in inputs if source not in NO_STEPS
    }
    if KEPT in step.upstream.values() and KEPT not in named:
        read["keep"] = _matching(states["keep"], name)
        kept = kept_among(store, config, read["keep"])
        read[kept] = _matching(states[kept], name)
    found = references(store, config, step, read, digests=surveyor.digests, reigning=reigning) | chosen
    _check_one_split(store, step, found)
    return step, found


def _named(surveyor: Surveyor, role: str, source: str, run_id: str) -> Reference:
    run = surveyor.store.find(run_id)
    at = f"--upstream {source}={run_id}"
    wanted = {"teacher": TEACHERS, KEPT: TEACHERS[:2], CHAMPION: ("promote",)}.get(role, (source.partition("-")[0],))
    if run.tags.get("stage") not in wanted:
        stage = run.tags.get("stage")
        raise UserError(f"{at}: that is a run of stage {stage!r}, not of {' or '.join(wanted)}; name another run")
    if not run.complete:
        raise UserError(f"{at}: that run is {run.status} and not complete; name one that ended well, or run it again")
    if run.tags.get("dataset") != surveyor.digests.pool:
        raise UserError(f"{at}: that run is of another data set than data.name says; name a run made from these images")
    problem = surveyor.store.damage(run, surveyor.scratch)
    if problem:
        raise UserError(f"{at}: {problem}; name another run, or run the stage again with --force")
    return Reference(run.id, run.tags["output_digest"])


def _matching(state: StepState, reader: str) -> Reference:
    if state.reference is None:
        wanted = state.step.name
        raise UserError(
            f"stage {reader!r} reads {wanted!r}, which is {state.standing} for this config ({state.why}); "
            f"run `semisup stage {wanted} …` or `semisup run …` first, or name a run with --upstream {wanted}=RUN_ID"
        )
    return state.reference


def _check_one_split(store: Reader, step: Step, found: Mapping[str, Reference]) -> None:
    """All inputs stem from the split that this stage reads: another one's labels would leak into this one's figures."""
    if "split" not in found:
        return
    ours = found["split"].output_digest
    for role, reference in found.items():
        theirs = store.get(reference.run_id).tags.get("digest.split", ours)
        if role != "split" and theirs != ours and step.upstream[role] != CHAMPION:
            raise UserError(
                f"--upstream {role}={reference.run_id}: that run was made from another split of the images; "
                f"name the split it was made from as well (--upstream split=RUN_ID), or another run"
            )


def _crown(
    tracker: Tracker, config: PipelineConfig, step: Step, found: Mapping[str, Reference], result: StageResult
) -> str | None:
    if step.stage != "promote":
        return None
    evaluate = tracker.get(found["evaluate"].run_id)
    models = {
        name: StageResult.of(tracker.get(evaluate.tags[f"upstream.{role}"]), seconds=0.0)
        for name, role in (("student", "joint"), ("baseline", "baseline"))
    }
    return apply_decision(tracker, config, result, models)
