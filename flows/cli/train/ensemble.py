"""The command that trains an ensemble and holds it against the baseline."""

import json

import typer

from flows.cli.command import Command
from flows.start.exits import (
    AsJson,
    ConfigName,
    Force,
    Overrides,
    duration,
    print_page,
    print_table,
    reuse_note,
    user_mistakes_in_one_line,
)


def ensemble(
    config: ConfigName,
    overrides: Overrides = None,
    force: Force = None,
    as_json: AsJson = False,
) -> None:
    """Train an ensemble and compare it with one model.

    The config's `ensemble` says whether by bagging or boosting; the test images decide. With `pseudo_label.teacher:
    ensemble`, `semisup run` takes the same members for its teacher.
    """
    with user_mistakes_in_one_line():
        from flows.start.preparation import known_stages, prepare

        forced = known_stages(force or [])
        resolved, _ = prepare(config, overrides or [], own_server=True, ensemble=True)
        from flows.pipeline.ensemble import ensemble as flow
        from flows.pipeline.ensemble import rows
        from flows.start.launch import launch

        about = f"ensemble of {resolved.name}, seed {resolved.seed}"
        result = launch(lambda: flow(resolved, forced, overrides), about)
    if as_json:
        typer.echo(json.dumps(result))
        return
    title = f"Result after {duration(result['seconds'])}{reuse_note(result['stages'])}"
    print_table(["", "value", "95 % interval"], rows(result), right=["value"], title=title)
    print_page(result["page"])


COMMANDS = (Command(ensemble, ("semisup ensemble digits_bagging --set ensemble.members=7",)),)
