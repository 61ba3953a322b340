"""The command line `semisup`: thin. Heavy imports are inside the commands, so that --help answers at once."""

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from semisup import __version__
from semisup.errors import UserError

USER_MISTAKE = 2
INTERRUPTED = 130
TERMINATED = 143

app = typer.Typer(
    help="Semi-supervised pseudo-labelling for images: few labels, many images, one honest comparison.",
    epilog=(
        "Examples:  semisup run digits  ·  semisup run configs/mnist.yaml --set data.root=data --set seed=1  ·  "
        "semisup configs  ·  semisup ui"
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"semisup {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Semi-supervised pseudo-labelling for images: few labels, many images, one honest comparison."""


@app.command(epilog="Examples:  semisup run digits  ·  semisup run my.yaml --set joint.alpha_final=0.5 --json")
def run(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a ready-made config (`semisup configs`).")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Run the whole pipeline and compare student with baseline on the test images."""
    with _user_mistakes_in_one_line():
        from flows.config_names import find_config
        from semisup.config_files import load_config

        resolved = load_config(find_config(config), overrides or [])
        _keep_prefect_off_the_screen()
        _end_orderly_on_sigterm()
        # Checked here as well as in the flow: a mistake shall not have to wait for Prefect's server to start.
        from flows.server import check_configured_api, ensure_prefect_api
        from semisup.stages.preflight import check
        from semisup.tracking import Tracker

        check_configured_api()
        for warning in check(resolved):
            typer.secho(f"warning: {warning}", fg="yellow", err=True)
        Tracker.open(resolved.tracking.experiment, Path.cwd())

        from flows import display
        from flows.pipeline import pipeline

        with display.shown() as screen:
            screen.line(f"semisup {__version__}: {resolved.name}, seed {resolved.seed}; starting Prefect")
            ensure_prefect_api()
            result = pipeline(resolved)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print_result(result)


@app.command()
def configs(
    show_keys: Annotated[bool, typer.Option("--keys", help="List every key with its default instead.")] = False,
) -> None:
    """List the ready-made configs, one line each."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    if show_keys:
        from semisup.config import describe_keys

        for title in ("key", "default", "meaning"):
            table.add_column(title, overflow="fold")
        for row in describe_keys():
            table.add_row(*row)
    else:
        from flows.config_names import list_configs

        for title in ("config", "what it is"):
            table.add_column(title)
        for name, line in list_configs():
            table.add_row(name, line)
    # A pipe has no width; a line shall stay a line there.
    Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 240).print(table)


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on the loopback address.")] = 5000,
) -> None:
    """Serve MLflow's pages for this folder's store on 127.0.0.1."""
    with _user_mistakes_in_one_line():
        from flows.mlflow_ui import command

        arguments = command(Path.cwd(), port)
    typer.echo(
        f"MLflow: http://127.0.0.1:{port}, up in half a minute: experiment, Training runs (Ctrl-C ends it)", err=True
    )
    os.execvp(arguments[0], arguments)


@contextmanager
def _user_mistakes_in_one_line() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        _end(f"error: {error}", USER_MISTAKE)
    except KeyboardInterrupt:
        _end("interrupted; runs that had begun are marked KILLED in MLflow", INTERRUPTED)


def _end(message: str, status: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(status)


def _end_orderly_on_sigterm() -> None:
    """Exit instead of dying: only then does Prefect stop the server that it started for this process."""

    def end(*_: object) -> NoReturn:
        typer.echo("terminated; runs that had begun are marked KILLED in MLflow", err=True)
        sys.exit(TERMINATED)

    signal.signal(signal.SIGTERM, end)


def _keep_prefect_off_the_screen() -> None:
    """Our own display says the same better; Prefect's log still reaches its API. An explicit setting wins."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")


def _print_result(result: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from flows.results import rows

    table = Table(title=f"Result after {result['seconds']:.0f} s", title_justify="left")
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("95 % interval")
    for row in rows(result):
        table.add_row(*row)
    console = Console(highlight=False, emoji=False)
    console.print(table)
    console.print(f"Report: {result['report']}", soft_wrap=True, markup=False)
    command = "" if os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http") else "`semisup ui` serves "
    console.print(f"More:   {command}{result['page']}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    sys.exit(app())
