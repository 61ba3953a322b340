"""`semisup review`, called as from the command line."""

from typing import Any

from typer.testing import CliRunner

from flows.cli import app


def review(*arguments: Any) -> Any:
    """What came of it."""
    return CliRunner().invoke(app, ["review", *map(str, arguments)], catch_exceptions=False)
