"""What the commands share: options, one line for a mistake, tables. Light: nothing heavy is imported here."""

import errno
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from semisup.errors import RenamedKeyWarning, UserError
from semisup.ready_made import find_config
from semisup.tracking.places.redaction import without_logins
from semisup.wording import counted

USER_MISTAKE = 2
INTERRUPTED = 130
TERMINATED = 143
NO_PATH = frozenset({errno.ENAMETOOLONG, errno.ELOOP})
"""What an OSError says of a path that no file can have."""
LONG_WORD = re.compile(r"[^\s'\"]{400,}")
A_SHORT_CELL, BETWEEN_COLUMNS = 24, 2
"""Letters of a cell that is left in one line where that can be; blanks."""
WIDTH_OF_A_PIPE = 240
"""A pipe has no width; a line shall stay a line there."""

ConfigName = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a ready-made config (`semisup configs`).")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key; may be repeated.")
]
Cron = Annotated[
    str | None,
    typer.Option(metavar="CRON", help="When to run the pipeline, such as '0 3 * * *' or @daily; else by hand only."),
]
TimeZone = Annotated[str, typer.Option(metavar="ZONE", help="Time zone of --cron, an IANA name.")]
DeploymentName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Name of the deployments; unset: the name of the config.")
]
Force = Annotated[
    list[str] | None,
    typer.Option("--force", metavar="STAGE", help="Run this stage anew, and what then is stale; may be repeated."),
]
RunId = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Id of a run, or its beginning (`semisup runs`); or a config: its newest complete pipeline."
    ),
]
NewestRun = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="Id of a run, or its beginning, or a config, whose newest pipeline it is; unset: the newest of all.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


@contextmanager
def user_mistakes_in_one_line() -> Iterator[None]:
    """A user's mistake ends with status 2 and one line; Ctrl-C with 130."""
    try:
        yield
    except UserError as error:
        end(f"error: {readable(str(error))}", USER_MISTAKE)
    except OSError as error:
        if error.errno not in NO_PATH:
            raise
        end(f"error: {readable(str(error.filename))!r} is no path: {error.strerror}; name another", USER_MISTAKE)
    except KeyboardInterrupt:
        end("interrupted; runs that had begun are marked KILLED in MLflow, and checkpoints are kept", INTERRUPTED)


def named_config(name: str) -> Path:
    """The file that a command line means, in every command alike; where a name could mean two things, it is said which.

    Raises:
        UserError: as in :func:`semisup.ready_made.find_config`.
    """
    return find_config(name, lambda line: typer.echo(line, err=True))


def show_renamed_keys_in_one_line() -> None:
    """As the other warnings of a command; Python's own form of them names a line of ours."""
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        if issubclass(category, RenamedKeyWarning):
            typer.secho(f"warning: {message}", fg="yellow", err=True)
        else:
            before(message, category, *place, **options)

    warnings.showwarning = show


def readable(message: str) -> str:
    """The message with long words cut short: a path of thousands of letters says enough by its two ends."""
    return LONG_WORD.sub(lambda word: f"{word[0][:60]}…{word[0][-20:]} ({counted(len(word[0]), 'letter')})", message)


def end(message: str, status: int) -> NoReturn:
    """A last line on stderr."""
    typer.echo(without_logins(message), err=True)
    raise typer.Exit(status)


def end_orderly_on_sigterm() -> None:
    """Exit instead of dying: only then does Prefect stop the server that it started for this process."""

    def terminated(*_: object) -> NoReturn:
        typer.echo("terminated; runs that had begun are marked KILLED in MLflow, and checkpoints are kept", err=True)
        sys.exit(TERMINATED)

    signal.signal(signal.SIGTERM, terminated)


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
    cells = {place: [name, *(row[place] for row in rows)] for place, name in enumerate(columns)}  # names may be alike
    left_out = list[str]()
    for name in expendable:
        if name in columns and not _fit(_wanted_widths(cells), console.width):
            left_out.append(name)
            del cells[columns.index(name)]
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
