"""The command that says which configs are ready-made, and which keys there are."""

from typing import Annotated

import typer

from flows.cli.command import Command
from flows.cli.printing import print_table


def configs(
    show_keys: Annotated[bool, typer.Option("--keys", help="List every key with its default instead.")] = False,
) -> None:
    """List the ready-made configs, one line each."""
    if show_keys:
        from semisup.config import describe_keys

        print_table(["key", "default", "meaning"], list(describe_keys()))
    else:
        from semisup.ready_made import list_configs

        print_table(["config", "what it is"], list_configs())


COMMANDS = (Command(configs),)
