"""The reference of the command line, from Typer's own parameters."""

from collections.abc import Sequence
from typing import Any

import typer

from docs.hooks.tables import keys_table
from flows.cli import app


def commands(_: str) -> str:
    """Every command with its arguments, options and examples."""
    group: Any = typer.main.get_command(app)
    return "\n\n".join(_command(name, command) for name, command in group.commands.items())


def _command(name: str, command: Any) -> str:
    shown = [parameter for parameter in command.params if not parameter.hidden]
    arguments = [parameter for parameter in shown if parameter.param_type_name == "argument"]
    words = [argument.metavar if argument.required else f"[{argument.metavar}]" for argument in arguments]
    usage = " ".join(["semisup", name, "[OPTIONS]", *words])
    parts = [f"## `semisup {name}` {{ #{name} }}", _prose(command.help or ""), f"```text\n{usage}\n```"]
    if shown:
        parts.append(keys_table(("", "default", "meaning"), [_row(parameter) for parameter in shown]))
    if lines := _examples(command.epilog or ""):
        parts.append("```sh\n" + "\n".join(lines) + "\n```")
    return "\n\n".join(parts)


def _prose(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _row(parameter: Any) -> tuple[str, str, str]:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}`", "required" if parameter.required else "", parameter.help or ""
    value = "" if parameter.is_flag else f" {parameter.metavar or _kind(parameter)}"
    default = parameter.default
    shown = "" if default is None or parameter.is_flag or parameter.multiple else f"`{default}`"
    return f"`{', '.join(parameter.opts)}{value}`", shown, parameter.help or ""


def _kind(parameter: Any) -> str:
    return "N" if parameter.min is not None or isinstance(parameter.default, int | float) else "VALUE"


def _examples(epilog: str) -> Sequence[str]:
    return [line.strip() for line in epilog.splitlines() if line.strip().startswith("semisup ")]
