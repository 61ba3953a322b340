"""The command that runs a pipeline from images to a report."""

import json
from collections.abc import Mapping
from typing import Any

import typer

from flows.cli.begin.init import config_of
from flows.cli.command import Command
from flows.cli.options import AsJson, ConfigName, Force, Overrides
from flows.cli.printing import print_figures, print_page
from flows.start.exits import user_mistakes_in_one_line
from semisup.ready_made import place_of_images


def run(
    config: ConfigName,
    overrides: Overrides = None,
    force: Force = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole pipeline and compare student with baseline.

    A stage whose result is in the store already is reused; after a crash, the same command goes on where it was. Of a
    folder of images it is `init` and `run` in one.
    """
    with user_mistakes_in_one_line():
        from flows.start.preparation import known_stages, modules_of, prepare

        forced = known_stages(force or [])
        if (folder := place_of_images(config)) is not None:
            config = str(config_of(folder))
        resolved, _ = prepare(config, overrides or [], own_server=True)
        from flows.pipeline.flow import pipeline
        from flows.start.launch import launch

        about = f"{resolved.name}, seed {resolved.seed}"
        result = launch(lambda: pipeline(resolved, forced, overrides), about, meanwhile=modules_of(resolved))
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print_result(result)


def _print_result(result: Mapping[str, Any]) -> None:
    from flows.pipeline.results import rows

    print_figures(result, rows(result))
    if result["champion"]:
        typer.echo(f"Champion: {result['champion']}")
    typer.echo(f"Report: {result['report']}")
    print_page(result["page"])


COMMANDS = (Command(run, ("semisup run digits", "semisup run my.yaml --set joint.alpha_final=0.5 --force joint")),)
