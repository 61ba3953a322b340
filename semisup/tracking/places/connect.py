"""The store, opened: MLflow's client and the experiment, made where they are not there yet."""

import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
from requests.exceptions import RequestException
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from semisup.errors import StoreUnavailableError, UserError
from semisup.system.own_files import aside
from semisup.system.signals import undisturbed
from semisup.system.user_cache import user_cache
from semisup.tracking.places.failures import first_line, full, is_full, store_failures
from semisup.tracking.places.quiet import quiet, quiet_about_failures
from semisup.tracking.places.relocation import HOME, relocate
from semisup.tracking.places.store import (
    DEFAULT_ARTIFACTS,
    SCHEMA,
    SQLITE,
    alone_with,
    check_reachable,
    check_writable,
    is_server,
    redacted,
    sqlite_path,
    store_uri,
    without_secrets,
)

NO_LOGIN = ("error code 401", "error code 403")
DAMAGED = ("malformed", "not a database")
"""What SQLite says of a file that begins as a database and does not go on as one."""
Connection: TypeAlias = tuple[MlflowClient, str, str]
"""The client, the store's address, and the experiment's id."""


def connect(experiment: str, folder: Path) -> Connection:
    """The store that MLFLOW_TRACKING_URI names, or else one in `folder`, with this experiment in it.

    Raises:
        StoreUnavailableError: the store does not answer.
        UserError: it cannot be used.
    """
    quiet_about_failures()
    uri = store_uri(folder)
    database = sqlite_path(uri)
    if is_server(uri):
        return _connection(uri, experiment, artifacts=None)
    if database is None:
        check_reachable(uri)
        _check_schema(uri)
        return _connection(uri, experiment, artifacts=(folder.resolve() / DEFAULT_ARTIFACTS).as_uri())
    check_writable(database)
    with alone_with(database):
        _make(database)
        _check_schema(f"{SQLITE}{database}")
        relocate(database)
        # Said explicitly: otherwise artifacts land in whatever folder the process happens to stand in.
        return _connection(uri, experiment, artifacts=(database.parent / DEFAULT_ARTIFACTS).as_uri())


def _connection(uri: str, experiment: str, artifacts: str | None) -> Connection:
    with quiet("alembic", "mlflow.store.db.utils", "mlflow.tracking.fluent"):
        try:
            client = MlflowClient(tracking_uri=uri)
            found = client.get_experiment_by_name(experiment)
            if found is not None and found.lifecycle_stage == "deleted":
                raise UserError(
                    f"tracking.experiment={experiment!r} was deleted in this store; restore it, or name another"
                )
            if found is not None:
                return client, uri, str(found.experiment_id)
            return client, uri, _new_experiment(client, experiment, artifacts)
        except UnsupportedModelRegistryStoreURIException:
            raise UserError(
                f"MLFLOW_TRACKING_URI={without_secrets(uri)!r} is of no kind of store that MLflow knows; name a server "
                "(http://…), a database (sqlite:///…, postgresql://…), or unset it to use a file in this folder"
            ) from None
        except ImportError as error:
            raise UserError(
                f"MLFLOW_TRACKING_URI={without_secrets(uri)!r} needs a driver that is not installed ({error}); "
                "for PostgreSQL: pip install 'semisup[postgres]'"
            ) from None
        except (MlflowException, SQLAlchemyError, RequestException) as error:
            reason = first_line(redacted(str(error), uri), error)
            if is_full(str(error)):
                raise full(without_secrets(uri)) from None
            if any(sign in reason for sign in NO_LOGIN):
                raise UserError(
                    f"MLFLOW_TRACKING_URI={without_secrets(uri)!r}: the server refuses this login; "
                    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
                ) from None
            if (database := sqlite_path(uri)) is not None and any(sign in reason for sign in DAMAGED):
                raise UserError(
                    f"MLflow store {str(database)!r} is damaged ({reason}); put a copy of it back, or move it away"
                ) from None
            raise StoreUnavailableError(
                f"MLFLOW_TRACKING_URI={without_secrets(uri)!r}: the store does not answer ({reason}); "
                "start its server, mend the address, or unset it to use a file in this folder"
            ) from None


def _check_schema(uri: str) -> None:
    """Make sure that a database has the tables of this MLflow.

    Where a table is missing, MLflow brings an older database up to date as soon as it opens it: without a word and
    without a copy, and whoever has the older version cannot open it any more.

    Raises:
        UserError: it has those of another version.
    """
    with suppress(SQLAlchemyError, ImportError):  # whatever is wrong, MLflow meets it as well
        engine = create_engine(uri)
        try:
            with engine.connect() as connection:
                found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
        finally:
            engine.dispose()
        if found and found != [SCHEMA]:
            raise UserError(_other_schema(uri, found[0]))


def _other_schema(uri: str, found: str) -> str:
    """What to do with a store whose tables are those of another version of MLflow."""
    versions = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    store, ours = f"MLflow store {without_secrets(uri)!r}", f"this MLflow, {mlflow.__version__}"
    if any(versions.glob(f"{found}_*.py")):
        return f"{store} is older than {ours}; make a copy of it, then run `mlflow db upgrade {without_secrets(uri)}`"
    return f"{store} was made by a newer version than {ours} (schema {found}); install that one, or name another store"


def _make(database: Path) -> None:
    """A fresh SQLite store, whole or not at all: a kill in MLflow's migrations leaves half a schema for ever."""
    if database.exists():
        return
    unfinished = aside(database)
    try:
        with undisturbed(), store_failures(f"{SQLITE}{database}"):
            if not _copied(unfinished):
                _migrated(unfinished)
                _keep(unfinished)
            unfinished.replace(database)
    finally:
        unfinished.unlink(missing_ok=True)


def _migrated(file: Path) -> None:
    """MLflow's tables, empty, as its migrations make them one after the other."""
    with quiet("alembic", "mlflow.store.db.utils"):
        MlflowClient(tracking_uri=f"{SQLITE}{file}").search_experiments()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DELETE FROM experiments")  # MLflow's default one names a place; it is made again


def _kept_tables() -> Path:
    """Where such tables are kept for the user's next store: the migrations are half of the time that a store takes.

    Raises:
        RuntimeError: the user has no home.
    """
    return user_cache() / f"mlflow-{mlflow.__version__}.db"


def _copied(file: Path) -> bool:
    """Were there kept tables, whole and empty, to begin a store with?"""
    try:
        shutil.copyfile(_kept_tables(), file)
        with closing(sqlite3.connect(file)) as connection:
            whole = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            if whole and connection.execute("SELECT count(*) FROM experiments").fetchone() == (0,):
                return True
    except FileNotFoundError:
        return False
    except (OSError, RuntimeError, sqlite3.Error):
        pass  # MLflow makes them, as ever
    file.unlink(missing_ok=True)
    return False


def _keep(file: Path) -> None:
    """Where they cannot be kept nothing is lost."""
    with suppress(OSError, RuntimeError):
        kept = _kept_tables()
        kept.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=kept.parent, prefix=".") as unfinished:
            shutil.copyfile(file, Path(unfinished, kept.name)).replace(kept)


def _new_experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    try:
        tags = None if artifacts is None else {HOME: artifacts}
        return str(client.create_experiment(name, artifacts, tags))
    except MlflowException:
        found = client.get_experiment_by_name(name)  # another process on a server's store was faster
        if found is None:
            raise
        return str(found.experiment_id)
