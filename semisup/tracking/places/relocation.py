"""A store in a file that was moved or copied: the artifacts that lie beside it are its own, wherever it lies.

MLflow keeps their addresses whole. In a copy they would lead back to the original, and after a move into a folder that
is made anew. So they are written anew when the store is opened in another place.
"""

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from semisup.errors import UserError
from semisup.system.processes import is_gone
from semisup.tracking.places.store import DEFAULT_ARTIFACTS
from semisup.tracking.places.tag_names import told_names

HOME = "semisup.artifacts"
"""Tag of an experiment: where its artifacts were put by us. Who named another place on purpose is left alone."""
PLACES = (("runs", "artifact_uri"), ("logged_models", "artifact_location"), ("model_versions", "storage_location"))
"""Tables and columns that hold addresses below an experiment's."""
SECONDS_UNTIL_FREE = 60.0


class _Experiment(NamedTuple):
    id: str
    artifacts: str
    home: str | None
    """The tag HOME."""


def relocate(database: Path) -> None:
    """Let the addresses in an SQLite store lead to the artifacts beside it.

    Runs that were under way when the store was copied go on in the original, and are closed in the copy.

    Raises:
        UserError: it was moved away from a process that still works with it.
    """
    if not database.exists():
        return
    here = database.parent / DEFAULT_ARTIFACTS
    with suppress(sqlite3.Error), closing(sqlite3.connect(database, timeout=SECONDS_UNTIL_FREE)) as connection:
        # An error here: MLflow meets it as well, and connect says what it is.
        for experiment in _experiments(connection):
            there = local_path(experiment.artifacts)
            if there is None or there.name != DEFAULT_ARTIFACTS:
                continue
            if _same(there, here):
                if experiment.home != experiment.artifacts:
                    with connection:
                        _remember(connection, experiment.id, experiment.artifacts)
            elif _ours(connection, experiment, here):
                with connection:
                    _end_runs(connection, experiment, there.parent / database.name, database)
                    _move(connection, experiment, here.as_uri())


def _experiments(connection: sqlite3.Connection) -> list[_Experiment]:
    query = (
        "SELECT e.experiment_id, e.artifact_location, t.value FROM experiments e LEFT JOIN experiment_tags t "
        "ON t.experiment_id = e.experiment_id AND t.key = ?"
    )
    return [_Experiment(str(number), place or "", home) for number, place, home in connection.execute(query, (HOME,))]


def local_path(address: str) -> Path | None:
    """Of an address of artifacts that is on this machine; None of another."""
    uri = urlsplit(address)
    return Path(unquote(uri.path)) if uri.scheme in {"", "file"} else None


def _same(one: Path, other: Path) -> bool:
    if one == other:
        return True
    try:
        return one.samefile(other)
    except OSError:
        return one.parent.exists() and other.parent.exists() and one.parent.samefile(other.parent)


def _ours(connection: sqlite3.Connection, experiment: _Experiment, here: Path) -> bool:
    """Did we put the artifacts beside the store? Of an experiment that does not say so, its runs' folders are there.

    That its own folder is not there tells nothing: it may be on a disk that is not mounted.
    """
    if experiment.home is not None:
        return experiment.home == experiment.artifacts
    runs = connection.execute("SELECT run_uuid FROM runs WHERE experiment_id = ?", (experiment.id,))
    return any((here / run_id).is_dir() for (run_id,) in runs)


def _end_runs(connection: sqlite3.Connection, experiment: _Experiment, original: Path, database: Path) -> None:
    """Close the runs that are under way, which cannot be here.

    Raises:
        UserError: a process that works with the store will look for it where it was.
    """
    running = "SELECT run_uuid FROM runs WHERE experiment_id = ? AND status = 'RUNNING'"
    for (run_id,) in connection.execute(running, (experiment.id,)).fetchall():
        tags = told_names(dict(connection.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run_id,))))
        if "semisup.version" not in tags:
            continue
        if not original.exists():
            _check_gone(tags, original, database)
        connection.execute(
            "UPDATE runs SET status = 'KILLED', end_time = ? WHERE run_uuid = ?", (int(time.time() * 1000), run_id)
        )


def _check_gone(tags: Mapping[str, str], original: Path, database: Path) -> None:
    if not is_gone(tags):
        who = f"process {tags.get('pid')} on {tags.get('host')}"
        raise UserError(
            f"MLflow store {str(database)!r} was moved here from {str(original.parent)!r} while {who} works with it; "
            "end that process, or wait five minutes if its machine is gone"
        )


def _move(connection: sqlite3.Connection, experiment: _Experiment, new: str) -> None:
    old = experiment.artifacts
    for table, column in PLACES:
        below = f"substr({column}, 1, ?) = ?"
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {below}",
            (new, len(old) + 1, len(old) + 1, f"{old}/"),
        )
    connection.execute(
        "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (new, int(experiment.id))
    )
    _remember(connection, experiment.id, new)


def _remember(connection: sqlite3.Connection, experiment_id: str, artifacts: str) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO experiment_tags (key, value, experiment_id) VALUES (?, ?, ?)",
        (HOME, artifacts, int(experiment_id)),
    )
