"""The command that opens MLflow's pages."""

import os
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.command import Command
from flows.start.exits import user_mistakes_in_one_line


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on the loopback address.")] = 5000,
) -> None:
    """Serve MLflow's pages for this folder's store on 127.0.0.1."""
    with user_mistakes_in_one_line():
        from flows.start.mlflow_ui import command, first_page

        arguments = command(Path.cwd(), port)
        page = first_page(Path.cwd(), port)
    typer.echo(f"MLflow, up in half a minute (Ctrl-C ends it): {page}", err=True)
    os.execvp(arguments[0], arguments)


COMMANDS = (Command(ui),)
