"""What a command of `semisup` is, and the group that they all belong to. Light: nothing heavy is imported here."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from pkgutil import iter_modules
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup


@dataclass(frozen=True)
class Command:
    """One command: named like its function, whose docstring and parameters are its help."""

    function: Callable[..., None]
    examples: tuple[str, ...] = ()
    """Command lines, which end its help."""


def commands_of(room: str) -> Iterator[tuple[str, Command]]:
    """The commands that the modules of a room (a package of `flows.cli`) list, each with the room's chapter."""
    package = import_module(f"{__package__}.{room}")
    for module in iter_modules(package.__path__):
        for command in import_module(f"{package.__name__}.{module.name}").COMMANDS:
            yield package.CHAPTER, command


class Commands(TyperGroup):
    """Commands in chapters; a wrong word on the command line ends with one line as well, instead of Typer's box."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The commands by chapter, each with the first sentence of its help."""
        width = max(map(len, self.commands))  # of all, so that the chapters' columns begin at the same place
        chapters = groupby(self.commands.items(), lambda item: getattr(item[1], "rich_help_panel", "Commands"))
        for chapter, commands in chapters:
            lines = [(name.ljust(width), of.get_short_help_str(formatter.width - width - 6)) for name, of in commands]
            with formatter.section(chapter):
                formatter.write_dl(lines)

    def _named_in(self, words: Sequence[str]) -> str:
        """The command that a command line means, for errors that do not say where they came up."""
        return " ".join(["semisup", *[word for word in words[:1] if word in self.commands]])

    def main(self, *arguments: Any, **options: Any) -> NoReturn:
        """As in Typer; the process ends with it."""
        try:
            status = super().main(*arguments, **options | {"standalone_mode": False})
        except typer.Abort as error:  # Typer takes a bug's EOFError for the end of what a person types
            raise error.__cause__ or error from None
        except typer.TyperException as error:
            message = " ".join(error.format_message().split()).removesuffix(".").replace(": Value error, ", ": ")
            context: typer.Context | None = getattr(error, "ctx", None)
            command = context.command_path if context else self._named_in(options.get("args") or sys.argv[1:])
            typer.echo(f"error: {message}; `{command} --help` shows what there is", err=True)
            sys.exit(error.exit_code)
        sys.exit(status if isinstance(status, int) else 0)


def examples(*lines: str) -> str:
    """The end of a command's help; "\\b" keeps Typer from breaking these lines anew."""
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)])
