"""How a command ends: one line for a mistake, and the exit status. Light: nothing heavy is imported here."""

import errno
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

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
