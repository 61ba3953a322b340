"""The command that hands the pipeline to the workers of a work pool."""

from typing import Annotated

import typer

from flows.commands import ConfigName, Cron, DeploymentName, Overrides, TimeZone, user_mistakes_in_one_line


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
        from flows.config_names import find_config
        from flows.deployments import apply, checked_name, cron_schedule
        from flows.server import check_configured_api
        from semisup.config_files import load_config

        resolved = load_config(find_config(config), overrides or [])
        schedule = cron_schedule(cron, timezone) if cron is not None else None
        check_configured_api(required=True)
        names = apply(resolved, checked_name(name) or resolved.name, schedule, pool)
    for full_name in names:
        typer.echo(full_name)
