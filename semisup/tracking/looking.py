"""A store in an SQLite file, read without MLflow: to import it, and to open the file with it, takes seconds.

For commands that only look. What MLflow says of the same file is what they say (`tests/tracking/test_looking.py`); a
file of another schema, and any other kind of store, is MLflow's to read.
"""

import re
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

from semisup.errors import StoreUnavailableError, UserError
from semisup.tracking.places.relocation import SECONDS_UNTIL_FREE, local_path, relocate
from semisup.tracking.places.store import SCHEMA, alone_with, check_exists, check_writable, sqlite_path, store_uri
from semisup.tracking.places.stored import StoredRun
from semisup.tracking.places.tag_names import told_names
from semisup.tracking.reader import ModelVersion, Reader

CLAUSE = re.compile(
    r"\s*(?:tags\.(?P<quote>`?)(?P<tag>[\w.]+)(?P=quote)|attributes\.(?P<attribute>status))"
    r"\s+(?:=\s+'(?P<value>[^']*)'|LIKE\s+'%')\s*(?:and|$)"
)
AT_ONCE = 500
"""Runs in a question; SQLite takes 999 values or more."""


def look(folder: Path) -> Reader:
    """The store of a folder, for a look at what is in it: nothing is made that is not there.

    Raises:
        StoreUnavailableError: it does not answer.
        UserError: there is none in this folder, or it cannot be used.
    """
    uri = store_uri(folder)
    database = sqlite_path(uri)
    if database is not None:
        check_exists(database)
        check_writable(database)
        with alone_with(database):
            relocate(database)
        if _readable(database):
            return SqliteReader(uri, database)
    from semisup.tracking.tracker import Tracker

    return Tracker.existing(folder)


def _readable(database: Path) -> bool:
    """Is it of the schema that is known here, with all artifacts on this machine? An error is MLflow's to explain."""
    with suppress(sqlite3.Error), closing(_connection(database)) as connection:
        if connection.execute("SELECT version_num FROM alembic_version").fetchall() != [(SCHEMA,)]:
            return False
        places = connection.execute("SELECT artifact_location FROM experiments").fetchall()
        return all(local_path(place) is not None for (place,) in places)
    return False


def _connection(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.as_uri()}?mode=ro", timeout=SECONDS_UNTIL_FREE, uri=True)


@dataclass(frozen=True)
class SqliteReader(Reader):
    """A store in an SQLite file of MLflow's, on this machine with all that it keeps."""

    uri: str
    database: Path
    experiment_id: str = "0"
    """MLflow's default one: who looks at runs asks each for its own."""

    def search(self, wanted: str, limit: int = 1000) -> list[StoredRun]:
        """As `Reader` says, for filters of tags and the status alone, joined by "and"."""
        conditions, values = _conditions(wanted)
        conditions.append("r.lifecycle_stage = 'active' AND e.lifecycle_stage = 'active'")
        query = "SELECT r.* FROM runs r JOIN experiments e USING (experiment_id) WHERE "
        order = " ORDER BY r.start_time DESC, r.run_uuid LIMIT ?"
        return self._runs(self._ask(query + " AND ".join(conditions) + order, *values, limit))

    def get(self, run_id: str) -> StoredRun:
        """As `Reader` says.

        Raises:
            UserError: it has been deleted for good since.
        """
        found = self._runs(self._ask("SELECT * FROM runs WHERE run_uuid = ?", run_id))
        if not found:
            raise UserError(f"run {run_id[:8]} is not in this store any more; `semisup runs` lists those that are")
        return found[0]

    def known(self, run_id: str) -> StoredRun | None:
        """As `Reader` says."""
        found = self._runs(self._ask("SELECT * FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'", run_id))
        return found[0] if found else None

    def alias(self, name: str, alias: str) -> ModelVersion | None:
        """As `Reader` says."""
        query = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
        rows = self._ask(query, name, alias)
        return self.version(name, str(rows[0]["version"])) if rows else None

    def version(self, name: str, number: str) -> ModelVersion | None:
        """As `Reader` says."""
        of = "FROM {} WHERE name = ? AND version = ?"
        rows = self._ask(
            f"SELECT * {of.format('model_versions')} AND current_stage != 'Deleted_Internal'", name, number
        )
        if not rows:
            return None
        tags = self._ask(f"SELECT key, value {of.format('model_version_tags')}", name, number)
        return ModelVersion(number, rows[0]["run_id"], {row["key"]: row["value"] for row in tags})

    def model_place(self, model_id: str) -> str | None:
        """As `Reader` says."""
        query = "SELECT artifact_location FROM logged_models WHERE model_id = ? AND lifecycle_stage = 'active'"
        rows = self._ask(query, model_id)
        return rows[0]["artifact_location"] if rows else None

    def experiment_tags(self, experiment_id: str) -> Mapping[str, str]:
        """As `Reader` says."""
        rows = self._ask("SELECT key, value FROM experiment_tags WHERE experiment_id = ?", int(experiment_id))
        return {row["key"]: row["value"] for row in rows}

    def artifacts(self, run_id: str, scratch: Path) -> Path:
        """The store's own folder."""
        place = self.local_artifacts(run_id)
        assert place is not None, "a store that keeps files elsewhere is MLflow's to read"
        return place

    def file(self, run_id: str, name: str, scratch: Path) -> Path:
        """In the store's own folder."""
        return self.artifacts(run_id, scratch) / name

    def _runs(self, rows: Iterable[sqlite3.Row]) -> list[StoredRun]:
        rows = list(rows)
        ids = [row["run_uuid"] for row in rows]
        tags, metrics = self._of_runs("tags", ids), self._of_runs("latest_metrics", ids)
        return [
            StoredRun(
                id=row["run_uuid"],
                status=row["status"],
                started=row["start_time"] / 1000,
                ended=row["end_time"] / 1000 if row["end_time"] else None,
                experiment_id=str(row["experiment_id"]),
                artifact_uri=row["artifact_uri"],
                tags=told_names({tag["key"]: tag["value"] for tag in tags[row["run_uuid"]]}),
                metrics={each["key"]: nan if each["is_nan"] else each["value"] for each in metrics[row["run_uuid"]]},
            )
            for row in rows
        ]

    def _of_runs(self, table: str, ids: list[str]) -> Mapping[str, list[sqlite3.Row]]:
        """Run → its rows of a table, in the order in which they were written."""
        found: dict[str, list[sqlite3.Row]] = {run_id: [] for run_id in ids}
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            query = f"SELECT * FROM {table} WHERE run_uuid IN ({','.join('?' * len(some))}) ORDER BY rowid"
            for row in self._ask(query, *some):
                found[row["run_uuid"]].append(row)
        return found

    def _ask(self, query: str, *values: object) -> list[sqlite3.Row]:
        try:
            with closing(_connection(self.database)) as connection:
                connection.row_factory = sqlite3.Row
                return connection.execute(query, values).fetchall()
        except sqlite3.OperationalError as error:
            raise StoreUnavailableError(
                f"MLflow store {str(self.database)!r} does not answer ({error}); try again when nobody writes to it"
            ) from None
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"MLflow store {str(self.database)!r} is damaged ({error}); put a copy of it back, or move it away"
            ) from None


def _conditions(wanted: str) -> tuple[list[str], list[Any]]:
    """An MLflow filter as conditions of SQL and their values."""
    conditions: list[str] = []
    values: list[Any] = []
    place = 0
    while place < len(wanted):
        clause = CLAUSE.match(wanted, place)
        assert clause is not None, f"no filter that is known here: {wanted[place:]}"
        place = clause.end()
        if clause["attribute"]:
            conditions.append("r.status = ?")
        else:
            equal = "" if clause["value"] is None else " AND value = ?"
            conditions.append(f"EXISTS (SELECT 1 FROM tags t WHERE t.run_uuid = r.run_uuid AND key = ?{equal})")
            values.append(clause["tag"])
        values += [] if clause["value"] is None else [clause["value"]]
    return conditions, values
