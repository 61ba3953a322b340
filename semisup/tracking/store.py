"""Which MLflow store is meant, and whether a file store can be used. Light: nothing heavy is imported."""

import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from semisup.errors import UserError

DEFAULT_DATABASE = "mlflow.db"
DEFAULT_ARTIFACTS = "mlartifacts"
SQLITE = "sqlite:///"


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
    """The address without user name and password."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))


def sqlite_path(uri: str) -> Path | None:
    """The file of an SQLite store, or None for another kind of store."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0]).absolute() if uri.startswith(SQLITE) else None


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
    target = database if database.exists() else database.parent
    if not os.access(target, os.W_OK):
        raise UserError(f"MLflow store {str(database)!r} cannot be written: no permission; {advice}")
    if database.exists() and database.stat().st_size and not _is_sqlite(database):
        raise UserError(f"MLflow store {str(database)!r} is not an SQLite database; move it away, or {advice}")
    artifacts = database.parent / DEFAULT_ARTIFACTS
    if artifacts.exists() and not artifacts.is_dir():
        raise UserError(f"artifact folder {str(artifacts)!r} is a file; move it away, or {advice}")


def _is_sqlite(database: Path) -> bool:
    with database.open("rb") as file:
        return file.read(15) == b"SQLite format 3"
