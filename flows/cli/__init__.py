"""The command line `semisup`: thin. Heavy imports are inside the commands, so that --help answers at once."""

import sys
from typing import Annotated

import typer

from flows.cli.command import Commands, commands_of, examples
from flows.start.exits import USER_MISTAKE, show_renamed_keys_in_one_line
from semisup import __version__

ROOMS = ("begin", "train", "look", "use", "serving")
"""The chapters of `semisup --help`, in their order; within each, commands stand in the order of their files."""

app = typer.Typer(
    cls=Commands,
    help="Semi-supervised pseudo-labeling for images: few labels, many images, one honest comparison.",
    epilog=examples(
        "semisup run digits",
        "semisup run configs/mnist.yaml --set data.root=data --set seed=1",
        "semisup status digits",
        "semisup stage joint digits",
        "semisup runs",
        "semisup ui",
    ),
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its boxes are half of the time that --help takes
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"semisup {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Semi-supervised pseudo-labeling for images: few labels, many images, one honest comparison."""
    show_renamed_keys_in_one_line()
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(USER_MISTAKE)


for room in ROOMS:
    for chapter, command in commands_of(room):
        epilog = examples(*command.examples) if command.examples else None
        app.command(epilog=epilog, rich_help_panel=chapter)(command.function)


if __name__ == "__main__":
    sys.exit(app())
