"""What commands print for people: tables, times, where a page is. Light: nothing heavy is imported here."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import typer

from semisup.wording import counted

A_SHORT_CELL, BETWEEN_COLUMNS = 24, 2
"""Letters of a cell that is left in one line where that can be; blanks."""
WIDTH_OF_A_PIPE = 240
"""A pipe has no width; a line shall stay a line there."""


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    expendable: Sequence[str] = (),
    piped: int = WIDTH_OF_A_PIPE,
    **options: Any,
) -> None:
    """A table on stdout; `right` names the columns that are aligned to the right, `piped` is its width in a pipe.

    Where a terminal is too narrow, columns that are `expendable` are left out, the first one first, and stderr says so.
    Words are broken only where even those of the others are too wide.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else piped)
    whole = {place: [name, *(row[place] for row in rows)] for place, name in enumerate(columns)}  # names may be alike

    def without(names: Sequence[str]) -> dict[int, list[str]]:
        return {place: column for place, column in whole.items() if columns[place] not in names}

    left_out = list[str]()
    for name in filter(columns.__contains__, expendable):
        if not _fit(_wanted_widths(without(left_out)), console.width):
            left_out.append(name)
    for name in reversed(left_out):  # after a wide one, narrow ones may fit again
        others = [other for other in left_out if other != name]
        if _fit(_wanted_widths(without(others)), console.width):
            left_out = others
    cells = without(left_out)
    wanted, least = _wanted_widths(cells), {place: _longest_word(column) for place, column in cells.items()}
    widths = next((widths for widths in (wanted, least) if _fit(widths, console.width)), {})
    table = Table(box=None, pad_edge=False, title_justify="left", **options)
    for place in cells:
        side: Literal["left", "right"] = "right" if columns[place] in right else "left"
        table.add_column(columns[place], justify=side, overflow="fold", min_width=widths.get(place))
    for row in zip(*(column[1:] for column in cells.values()), strict=True):
        table.add_row(*row)
    console.print(table)
    if left_out:
        typer.echo(f"left out for want of width: {', '.join(left_out)}; a wider window or --json shows them", err=True)


def _fit(widths: Mapping[int, int], width: int) -> bool:
    return sum(widths.values()) + BETWEEN_COLUMNS * (len(widths) - 1) <= width


def _wanted_widths(cells: Mapping[int, Sequence[str]]) -> dict[int, int]:
    """Of each column so many letters that no word is broken, and no short cell: a sentence may be."""
    from rich.cells import cell_len

    longest = {place: max(map(cell_len, column)) for place, column in cells.items()}
    return {place: min(longest[place], max(_longest_word(column), A_SHORT_CELL)) for place, column in cells.items()}


def _longest_word(cells: Iterable[str]) -> int:
    from rich.cells import cell_len

    return max((cell_len(word) for cell in cells for word in cell.split()), default=0)


def print_figures(result: Mapping[str, Any], rows: Sequence[Sequence[str]]) -> None:
    """The (label, value, interval) of a flow's JSON result, below how long it took and what was reused."""
    title = f"Result after {duration(result['seconds'])}{reuse_note(result['stages'])}"
    print_table(["", "value", "95 % interval"], rows, right=["value"], title=title)


def reuse_note(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """How a title ends: "; 6 of 8 stages reused", or nothing where all were run."""
    reused = sum(stage["reused"] for stage in stages.values())
    return f"; {reused} of {counted(len(stages), 'stage')} reused" if reused else ""


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
