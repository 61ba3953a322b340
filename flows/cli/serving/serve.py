"""The two commands that let Prefect start the pipeline, by a schedule or by hand in its pages: here, or on workers."""

import os
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.command import Command
from flows.cli.options import ConfigName, Cron, DeploymentName, Overrides, TimeZone
from flows.start.exits import end, named_config, user_mistakes_in_one_line


def serve(
    config: ConfigName,
    *,
    overrides: Overrides = None,
    cron: Cron = None,
    timezone: TimeZone = "UTC",
    name: DeploymentName = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of a Prefect server of our own, if none is configured.")
    ] = 4200,
) -> None:
    """Run a config on a schedule, or from Prefect's pages.

    Pipeline, stages and reaper are offered until Ctrl-C. Uses the server that PREFECT_API_URL names, or else starts one
    with pages and scheduler on 127.0.0.1.

    A run that is due while another one of the same pipeline is under way is canceled. One process serves a name on a
    Prefect server; a second one is refused.
    """
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "INFO")  # its log is what there is to see
    os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "WARNING")
    with user_mistakes_in_one_line():
        from prefect.logging import get_logger

        from flows.deployments import (
            check_unserved,
            checked_name,
            cron_schedule,
            deployments,
            description,
            register,
            run_until_stopped,
        )
        from flows.pipeline.reaper import close_what_was_lost
        from flows.start.display import shown
        from flows.start.preparation import prepare
        from flows.start.server import check_port, ensure_prefect_api
        from semisup.tracking.tracker import Tracker

        name = checked_name(name)
        schedule = cron_schedule(cron, timezone) if cron is not None else None
        check_port(port)
        resolved, _ = prepare(config, overrides or [])
        typer.echo("starting Prefect")
        with shown():
            ensure_prefect_api(port)
        served = deployments(resolved, name or resolved.name, schedule, overrides)
        check_unserved(served)
        # A run that was killed would hold its pipeline's only slot, and all that come after it would be canceled.
        close_what_was_lost(Tracker.open(resolved.tracking.experiment, Path.cwd()), resolved, get_logger("semisup"))
        runner = register(served)
        for line in description(served, schedule):
            typer.echo(line)
        number = run_until_stopped(runner)
    end("stopped; schedules are paused until this is served again", 128 + number)


def deploy(
    config: ConfigName,
    *,
    pool: Annotated[str, typer.Option(metavar="POOL", help="Work pool whose workers run the deployments.")],
    overrides: Overrides = None,
    cron: Cron = None,
    timezone: TimeZone = "UTC",
    name: DeploymentName = None,
) -> None:
    """Register a config's flows with a Prefect server, for a pool.

    Pipeline, stages and reaper, with the server that PREFECT_API_URL names, for the pool's workers. Nothing is run
    here: the data, the store and this package have to be where the workers are.
    """
    with user_mistakes_in_one_line():
        from flows.deployments import apply, checked_name, cron_schedule
        from flows.start.server import check_configured_api
        from semisup.config.files import load_config

        resolved = load_config(named_config(config), overrides or [])
        schedule = cron_schedule(cron, timezone) if cron is not None else None
        check_configured_api(required=True)
        names = apply(resolved, checked_name(name) or resolved.name, schedule, pool, overrides)
    for full_name in names:
        typer.echo(full_name)


COMMANDS = (
    Command(serve, ("semisup serve digits --cron '0 3 * * *' --timezone Europe/Berlin",)),
    Command(deploy, ("semisup deploy digits --pool semisup --cron '0 3 * * *'",)),
)
