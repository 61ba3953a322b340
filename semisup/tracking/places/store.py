"""Which MLflow store is meant, and whether a file store can be used. Light: nothing heavy is imported."""

import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from semisup.errors import StoreUnavailableError, UserError

DEFAULT_DATABASE = "mlflow.db"
DEFAULT_ARTIFACTS = "mlartifacts"
SQLITE = "sqlite:///"
SCHEMA = "dc11669786a5"
"""Of a database of the MLflow that this project is pinned to."""
SECRET_NAMES = ("password", "passwd", "pwd", "user", "token", "sslpassword")
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
SECONDS_TO_ANSWER = 5
SECONDS_FOR_OTHERS = 120.0
"""How long other commands may take to open a store; the first one makes its tables, which takes ten seconds."""


def store_uri(folder: Path) -> str:
    """Address of the MLflow store: MLFLOW_TRACKING_URI, or else the SQLite file in a folder.

    Raises:
        UserError: the folder's path holds a question mark, which begins something else in an address.
    """
    folder = folder.resolve()
    configured = os.environ.get("MLFLOW_TRACKING_URI")
    if not configured and "?" in str(folder):
        raise UserError(f"folder {str(folder)!r}: a store's address cannot hold '?'; work in a folder of another name")
    return configured or f"{SQLITE}{folder / DEFAULT_DATABASE}"


def is_server(uri: str) -> bool:
    """Is the store behind an MLflow server, which has pages of its own?"""
    return uri.startswith(("http://", "https://"))


def without_secrets(uri: str) -> str:
    """The address without user name and password, wherever it holds them.

    Drivers take passwords with any sign in them, so everything up to the last @ is hidden.
    """
    scheme, mark, rest = uri.partition("://")
    if "@" in rest and not scheme.startswith("sqlite"):
        rest = "***@" + rest.rpartition("@")[2]
    place, question, query = rest.partition("?")
    options = [option.partition("=") for option in query.split("&")]
    shown = [name + sign + ("***" if name.lower() in SECRET_NAMES else value) for name, sign, value in options]
    return scheme + mark + place + question + "&".join(shown)


def redacted(text: str, uri: str) -> str:
    """A message of somebody else's about a store, without what :func:`without_secrets` hides of its address."""
    shown = without_secrets(uri)
    login = uri.partition("://")[2].rpartition("@")[0]
    text = text.replace(uri, shown)
    return text.replace(f"{login}@", "***@") if login and shown != uri else text


def check_reachable(uri: str) -> None:
    """Make sure that something listens where a database should be: its driver would try for minutes.

    Raises:
        StoreUnavailableError: nothing does.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(uri)
    except (ArgumentError, ValueError):
        return  # not a database's; MLflow says what it thinks of it
    port = url.port or DATABASE_PORTS.get(url.get_backend_name())
    if not url.host or port is None:
        return
    try:
        socket.create_connection((url.host, port), timeout=SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise StoreUnavailableError(
            f"MLFLOW_TRACKING_URI={without_secrets(uri)!r}: the store does not answer ({error.strerror or error}); "
            "start its server, or mend the address"
        ) from None


def sqlite_path(uri: str) -> Path | None:
    """The file of an SQLite store, or None for another kind of store."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0]).absolute() if uri.startswith(SQLITE) else None


def check_exists(database: Path) -> None:
    """Make sure that there is an SQLite store.

    Raises:
        UserError: there is none.
    """
    if not database.exists():
        raise UserError(f"there is no MLflow store at {str(database)!r}; run `semisup run digits` there first")


@contextmanager
def alone_with(database: Path) -> Iterator[None]:
    """No other command opens an SQLite store until the block ends.

    Raises:
        UserError: others have been opening it for minutes.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(database.with_name(database.name + ".lock"))
    try:
        lock.acquire(SECONDS_FOR_OTHERS)
    except Timeout:
        raise UserError(
            f"MLflow store {str(database)!r}: for {SECONDS_FOR_OTHERS:.0f} s other commands have been opening it "
            f"({lock.lock_file} is locked); if one of them is stopped (as by Ctrl-Z), end it"
        ) from None
    try:
        yield
    finally:
        lock.release()


def check_writable(database: Path) -> None:
    """Make sure that an SQLite store can be made or used here.

    Raises:
        UserError: it cannot.
    """
    advice = "choose another folder, or name a store in MLFLOW_TRACKING_URI"
    if database.is_dir():
        raise UserError(f"MLflow store {str(database)!r} is a folder, not a database file; move it away, or {advice}")
    if not database.parent.is_dir():
        raise UserError(f"MLflow store {str(database)!r}: its folder does not exist; create it, or {advice}")
    if database.exists() and not may_be_sqlite(database):
        raise UserError(f"MLflow store {str(database)!r} is not an SQLite database; move it away, or {advice}")
    if (tables := _tables(database)) and "experiments" not in tables:  # MLflow would put its own beside them
        raise UserError(
            f"MLflow store {str(database)!r} is a database of something else (it has a table {min(tables)!r}); {advice}"
        )
    artifacts = database.parent / DEFAULT_ARTIFACTS
    if artifacts.exists() and not artifacts.is_dir():
        raise UserError(f"artifact folder {str(artifacts)!r} is a file; move it away, or {advice}")
    for place in (database, database.parent, artifacts):  # the folder, too: for its lock, and SQLite's journal
        if place.exists() and not os.access(place, os.W_OK):
            what = "it" if place == database else repr(str(place))
            raise UserError(f"MLflow store {str(database)!r} cannot be used: no permission to write {what}; {advice}")


def may_be_sqlite(database: Path) -> bool:
    """Does a file begin as SQLite's do, or has it no bytes yet?"""
    with database.open("rb") as file:
        return file.read(15) in {b"", b"SQLite format 3"}


def _tables(database: Path) -> set[str]:
    """Names of an SQLite database's tables; none where it is not there, empty, busy or damaged."""
    if not database.exists():
        return set()
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", timeout=0, uri=True)) as connection,
    ):
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return set()
