"""The command that trains an ensemble and holds it against the baseline."""

import json
from typing import Annotated

import typer

from flows.start.exits import (
    AsJson,
    ConfigName,
    Overrides,
    duration,
    print_page,
    print_table,
    user_mistakes_in_one_line,
)


def ensemble(
    config: ConfigName,
    overrides: Overrides = None,
    force: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE", help="Run this stage anew, and what then is stale; may be repeated."),
    ] = None,
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

        result = launch(lambda: flow(resolved, forced), f"ensemble of {resolved.name}, seed {resolved.seed}")
    if as_json:
        typer.echo(json.dumps(result))
        return
    reused = sum(stage["reused"] for stage in result["stages"].values())
    note = f"; {reused} of {len(result['stages'])} stages reused" if reused else ""
    title = f"Result after {duration(result['seconds'])}{note}"
    print_table(["", "value", "95 % interval"], rows(result), right=["value"], title=title)
    print_page(result["page"])
