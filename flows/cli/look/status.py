"""The command that says how the stages of a config stand."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from flows.cli.command import Command
from flows.cli.options import AsJson, ConfigName, Overrides
from flows.cli.printing import duration, print_table
from flows.start.exits import user_mistakes_in_one_line

if TYPE_CHECKING:
    from flows.pipeline.survey import StepState


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
    print_table(["stage", "is", "run", "age", "why"], rows, expendable=["age", "run"])


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


COMMANDS = (Command(status),)
