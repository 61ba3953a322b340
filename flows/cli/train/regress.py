"""The command `regress`: regression on a table, from a config with `task: regression`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.command import Command
from flows.cli.options import AsJson, ConfigName, Overrides
from flows.cli.printing import print_page, print_table, reuse_note
from flows.start.exits import end_orderly_on_sigterm, named_config, user_mistakes_in_one_line
from semisup.wording import counted

if TYPE_CHECKING:
    from semisup.config.regression import RegressionConfig


def regress(
    config: ConfigName,
    overrides: Overrides = None,
    show_keys: Annotated[
        bool, typer.Option("--keys", help="List every key of such a config with its default instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a network for regression on a table.

    It is compared with linear regression and the mean on the test rows. A stage whose result is in the store already is
    reused.
    """
    with user_mistakes_in_one_line():
        from semisup.config.regression import RegressionConfig

        if show_keys:
            from semisup.config import describe_keys

            print_table(["key", "default", "meaning"], list(describe_keys(RegressionConfig)))
            return
        resolved = _prepare(config, overrides or [])
        from flows.pipeline.regression import regression
        from flows.start.launch import launch

        result = launch(lambda: regression(resolved, overrides), f"{resolved.name}, seed {resolved.seed}")
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print_result(result)


def _prepare(name: str, overrides: list[str]) -> "RegressionConfig":
    """The config of a command line, known to run: a mistake shall not have to wait for Prefect's server to start.

    Raises:
        UserError: there is a mistake in the config, or a store or server does not answer.
    """
    from flows.start.preparation import reach_prefect
    from semisup.checks.idle_keys import idle_regression_keys
    from semisup.config.files import load_kind
    from semisup.config.regression import RegressionConfig
    from semisup.lineage.code_versions import pin_code_versions
    from semisup.system.memory import keep_to_the_end, uncollected

    end_orderly_on_sigterm()
    pin_code_versions()
    config = load_kind(RegressionConfig, named_config(name), overrides)
    reach_prefect(own_server=True)
    with uncollected():
        from flows.pipeline.regression import check
        from semisup.tracking.tracker import Tracker
    keep_to_the_end()
    check(config)
    for line in idle_regression_keys(config):
        typer.secho(f"warning: {line}", fg="yellow", err=True)
    Tracker.open(config.tracking.experiment, Path.cwd())
    return config


def _print_result(result: Mapping[str, Any]) -> None:
    from flows.pipeline.regression import columns, comparisons, rows

    tested = counted(result["total"], "test row")
    title = f"Result on {tested} after {result['seconds']:.0f} s{reuse_note(result['stages'])}"
    print_table(columns(), rows(result), title=title)
    for line in comparisons(result):
        typer.echo(line)
    typer.echo(f"Residuals: {result['residuals']}")
    print_page(result["page"])


COMMANDS = (Command(regress, ("semisup regress diabetes --set seed=1",)),)
