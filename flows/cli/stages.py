"""Commands about the stages of a config: run one alone, see how all stand, close what crashed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.start.exits import (
    AsJson,
    ConfigName,
    Overrides,
    duration,
    print_table,
    user_mistakes_in_one_line,
)
from semisup.errors import UserError

if TYPE_CHECKING:
    from flows.pipeline.survey import StepState


def stage(
    name: Annotated[str, typer.Argument(metavar="STAGE", help="Such as `joint`; in later rounds `joint-2` …")],
    config: ConfigName,
    *,
    overrides: Overrides = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE=RUN_ID", help="Read this run instead of the newest matching one; may be repeated."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run it anew even though its result is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run one stage alone, upon what earlier runs left."""
    with user_mistakes_in_one_line():
        named = _pairs(upstream or [])
        from flows.start.preparation import known_stages, prepare

        known_stages([name.partition("-")[0]])  # before a store is made; the config's own are looked at with its store
        resolved, digests = prepare(config, overrides or [], own_server=True)
        from flows.pipeline.stage_flow import look_up
        from flows.pipeline.stage_flow import stage as flow
        from flows.start.launch import launch

        look_up(resolved, digests, name, named)
        result = launch(lambda: flow(name, resolved, named, force))
    if as_json:
        typer.echo(json.dumps(result))
    else:
        verb = "reused" if result["reused"] else f"done in {duration(result['seconds'])}"
        typer.echo(f"{result['stage']}: {verb}, run {result['run_id']}")
        for role, run_id in result["upstream"].items():
            typer.echo(f"  read {role} from run {run_id}")


def status(config: ConfigName, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """How every stage of a config stands, and why one is stale."""
    with user_mistakes_in_one_line():
        from flows.start.preparation import prepare

        resolved, digests = prepare(config, overrides or [], only_looks=True)
        from flows.pipeline.survey import survey

        states = survey(resolved, digests, Path.cwd())
    if as_json:
        typer.echo(json.dumps([_plain(state) for state in states.values()]))
        return
    rows = [
        (name, state.standing, state.run.id if state.run else "", _age(state), state.why)
        for name, state in states.items()
    ]
    print_table(["stage", "is", "run", "age", "why"], rows)


def reap(config: ConfigName, overrides: Overrides = None) -> None:
    """Close the runs in MLflow and Prefect whose process is gone.

    Every run does so at its start, too.
    """
    with user_mistakes_in_one_line():
        from flows.start.preparation import prepare
        from semisup.tracking.tracker import Tracker

        Tracker.existing(Path.cwd())
        resolved, _ = prepare(config, overrides or [], own_server=True)
        from flows.pipeline.reaper import reaper
        from flows.start.launch import launch

        closed = launch(lambda: reaper(resolved))
    typer.echo(f"closed {closed['mlflow_runs']} runs in MLflow and {closed['prefect_runs']} in Prefect")


def _pairs(arguments: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for argument in arguments:
        name, equals, run_id = argument.partition("=")
        if not equals or not name or not run_id:
            raise UserError(f"--upstream {argument!r} is not of the form STAGE=RUN_ID, for example baseline=3f2a")
        pairs[name.strip()] = run_id.strip()
    return pairs


def _age(state: "StepState") -> str:
    age = state.age()
    return "" if age is None else duration(age)


def _plain(state: "StepState") -> Mapping[str, Any]:
    age = state.age()
    return {
        "stage": state.step.name,
        "standing": state.standing,
        "run_id": state.run.id if state.run else None,
        "age_seconds": None if age is None else round(age, 1),
        "why": state.why,
    }
