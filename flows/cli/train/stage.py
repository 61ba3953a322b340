"""The command that runs one stage alone."""

import json
from typing import Annotated

import typer

from flows.cli.command import Command
from flows.cli.options import AsJson, ConfigName, Overrides
from flows.cli.printing import duration
from flows.start.exits import user_mistakes_in_one_line
from semisup.errors import UserError


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
        result = launch(lambda: flow(name, resolved, named, force, overrides))
    if as_json:
        typer.echo(json.dumps(result))
    else:
        verb = "reused" if result["reused"] else f"done in {duration(result['seconds'])}"
        typer.echo(f"{result['stage']}: {verb}, run {result['run_id']}")
        for role, run_id in result["upstream"].items():
            typer.echo(f"  read {role} from run {run_id}")


def _pairs(arguments: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for argument in arguments:
        name, equals, run_id = argument.partition("=")
        if not equals or not name or not run_id:
            raise UserError(f"--upstream {argument!r} is not of the form STAGE=RUN_ID, for example baseline=3f2a")
        pairs[name.strip()] = run_id.strip()
    return pairs


COMMANDS = (Command(stage, ("semisup stage joint digits --upstream pseudo_label=RUN_ID --force",)),)
