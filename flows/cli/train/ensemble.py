"""The command that trains an ensemble and holds it against the baseline."""

import json

import typer

from flows.cli.command import Command
from flows.cli.options import AsJson, ConfigName, Force, Overrides
from flows.cli.printing import print_figures, print_page
from flows.start.exits import user_mistakes_in_one_line


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
    print_figures(result, rows(result))
    print_page(result["page"])


COMMANDS = (Command(ensemble, ("semisup ensemble digits_bagging --set ensemble.members=7",)),)
