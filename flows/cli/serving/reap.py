"""The command that closes what crashed."""

from pathlib import Path

import typer

from flows.cli.command import Command
from flows.cli.options import ConfigName, Overrides
from flows.start.exits import user_mistakes_in_one_line
from semisup.wording import counted


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
    typer.echo(f"closed {counted(closed['mlflow_runs'], 'run')} in MLflow and {closed['prefect_runs']:,} in Prefect")


COMMANDS = (Command(reap),)
