"""A fresh store begins with tables that were kept of the user's first one, and is opened once in a process."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from semisup.data.own_images.decoded.cache import Cache, cache_folder
from semisup.system.own_files import is_marked
from semisup.system.user_cache import user_cache
from semisup.tracking.places import connect
from semisup.tracking.tracker import Tracker


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """A user's cache with nothing in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return user_cache() / f"mlflow-{mlflow.__version__}.db"


def contents(database: Path) -> list[list[str]]:
    """All tables and rows, but for times and places; MLflow makes indices, and a table's constraints, in any order."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE experiments SET artifact_location = '', creation_time = 0, last_update_time = 0")
        return sorted(sorted(re.split(r"[,()\s]+", statement)) for statement in connection.iterdump())


def test_a_store_from_kept_tables_is_the_one_that_mlflows_migrations_make(cache, tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        Tracker.open("Default", tmp_path / name)
        assert cache.is_file()
    plain = tmp_path / "plain.db"
    MlflowClient(f"sqlite:///{plain}").search_experiments()
    made = contents(plain)
    assert contents(tmp_path / "first" / "mlflow.db") == made
    assert contents(tmp_path / "second" / "mlflow.db") == made


def test_images_are_decoded_into_the_cache_that_the_tables_lie_in(cache, tmp_path):
    Tracker.open("Default", tmp_path)
    assert cache.is_file()
    Cache(cache_folder(None), limit=2**30).claim()
    assert is_marked(cache.parent)


@pytest.mark.parametrize("damage", [b"", b"SQLite format 3\0" + b"\1" * 5000, b"nothing"])
def test_kept_tables_that_are_damaged_are_made_anew(damage, cache, store_template, tmp_path, monkeypatch):
    cache.parent.mkdir(parents=True)
    cache.write_bytes(damage)
    made: list[Path] = []

    def migrated(file: Path) -> None:
        file.write_bytes(store_template.read_bytes())
        made.append(file)

    monkeypatch.setattr(connect, "_migrated", migrated)
    Tracker.open("Default", tmp_path)
    assert len(made) == 1
    assert cache.read_bytes() == store_template.read_bytes()


def test_a_store_with_experiments_in_it_is_no_kept_table(cache, store_template, tmp_path, monkeypatch):
    cache.parent.mkdir(parents=True)
    cache.write_bytes(store_template.read_bytes())  # with MLflow's default experiment, which names a place
    monkeypatch.setattr(connect, "_migrated", lambda file: file.write_bytes(store_template.read_bytes()))
    assert not connect._copied(tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()


def test_a_process_opens_a_store_once_until_another_file_takes_its_place(store, store_template):
    first = Tracker.of_this_process("tests", store)
    assert Tracker.of_this_process("tests", store) is first
    assert Tracker.of_this_process("others", store) is not first
    (store / "mlflow.db").rename(store / "before.db")
    (store / "mlflow.db").write_bytes(store_template.read_bytes())
    again = Tracker.of_this_process("tests", store)
    assert again is not first
    assert Tracker.of_this_process("tests", store) is again
