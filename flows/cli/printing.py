"""What commands print for people: tables, times, where a page is. Light: nothing heavy is imported here."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer

WIDTH_OF_A_PIPE = 240
"""A pipe has no width; a line shall stay a line there."""


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    piped: int = WIDTH_OF_A_PIPE,
    **options: Any,
) -> None:
    """A table on stdout; `right` names the columns that are aligned to the right, `piped` is its width in a pipe."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title_justify="left", **options)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else piped
    Console(highlight=False, markup=False, emoji=False, width=width).print(table)


def print_figures(result: Mapping[str, Any], rows: Sequence[Sequence[str]]) -> None:
    """The (label, value, interval) of a flow's JSON result, below how long it took and what was reused."""
    title = f"Result after {duration(result['seconds'])}{reuse_note(result['stages'])}"
    print_table(["", "value", "95 % interval"], rows, right=["value"], title=title)


def reuse_note(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """How a title ends: "; 6 of 8 stages reused", or nothing where all were run."""
    reused = sum(stage["reused"] for stage in stages.values())
    return f"; {reused} of {len(stages)} stages reused" if reused else ""


def print_page(page: str) -> None:
    """Where a run's page is, and the command that serves it where no server does."""
    command = "" if os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http") else "`semisup ui` serves "
    typer.echo(f"More:   {command}{page}")


def duration(seconds: float | None) -> str:
    """A time span for people: "8.2 s", "3 min", "5 h", "2 d"."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    for unit, size, limit in (("min", 60, 120), ("h", 3600, 48), ("d", 86400, float("inf"))):
        if seconds / size < limit:
            return f"{seconds / size:.0f} {unit}"
    raise AssertionError
