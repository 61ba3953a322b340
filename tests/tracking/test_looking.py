"""A store that is looked at without MLflow says what MLflow says."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from semisup.errors import StoreUnavailableError, UserError
from semisup.tracking import looking
from semisup.tracking.champions import ALIAS
from semisup.tracking.looking import SCHEMA, SqliteReader, look
from semisup.tracking.reader import Reader
from semisup.tracking.tracker import Tracker

FILTERS = [
    "",
    "tags.stage = 'pipeline'",
    "tags.stage = 'joint' and tags.complete = 'true' and attributes.status = 'FINISHED'",
    "attributes.status = 'FAILED'",
    "tags.semisup.version LIKE '%'",
    "tags.`upstream.joint` = 'abc' and tags.stage = 'joint'",
    "tags.config = 'Ä \"quoted\" -- %'",
    "tags.stage = 'JOINT'",
    "tags.stage = 'nothing'",
]


@pytest.fixture
def filled(store) -> Path:
    """Runs that ended in every way, of two experiments, one of which is deleted; figures that are no numbers."""
    tracker = Tracker.open("tests", store)
    tags = {"config": 'Ä "quoted" -- %', "complete": "true", "step.joint": "abc"}
    with tracker.run("first", {"stage": "pipeline", **tags}) as first:
        first.log_metrics({"nan": float("nan"), "infinite": float("inf"), "a": 0.1, "per epoch": 1.0}, step=1)
        first.log_metrics({"per epoch": 2.0}, step=2)
    with tracker.run("second", {"stage": "joint", "upstream.joint": "abc", **tags}, first.id):
        pass
    with pytest.raises(ValueError, match="no"), tracker.run("third", {"stage": "joint"}):
        raise ValueError("no")
    with tracker.run("deleted", {"stage": "joint"}) as deleted:
        pass
    tracker.client.delete_run(deleted.id)
    with Tracker.open("gone", store).run("fourth", {"stage": "joint"}):
        pass
    tracker.client.delete_experiment(tracker.client.get_experiment_by_name("gone").experiment_id)
    tracker.client.create_registered_model("digits")
    tracker.client.create_model_version(
        "digits", "file:///nowhere", first.id, tags={"promoted_by": "x", "model_id": "m"}
    )
    tracker.client.create_model_version("digits", "file:///nowhere", first.id)
    tracker.client.set_registered_model_alias("digits", ALIAS, "1")
    tracker.client.create_logged_model(tracker.experiment_id, "model", source_run_id=first.id)
    return store


def both(folder: Path) -> tuple[Reader, Tracker]:
    ours = look(folder)
    assert isinstance(ours, SqliteReader)
    return ours, Tracker.existing(folder)


def shown(runs: list) -> list[str]:
    """With every tag and figure in its order; as text, for NaN is like nothing."""
    return [repr(run) for run in runs]


@pytest.mark.parametrize("wanted", FILTERS)
def test_a_search_finds_the_runs_that_mlflow_finds_in_the_same_order_with_all_that_they_hold(wanted, filled):
    ours, theirs = both(filled)
    assert shown(ours.search(wanted)) == shown(theirs.search(wanted))
    assert shown(ours.search(wanted, limit=1)) == shown(theirs.search(wanted, limit=1))


def test_among_the_filters_are_some_that_find_runs_and_some_that_find_none(filled):
    found = [len(look(filled).search(wanted)) for wanted in FILTERS]
    assert min(found) == 0
    assert max(found) == 3  # neither a deleted run nor those of a deleted experiment


def test_a_run_that_is_named_is_the_one_that_mlflow_gives_deleted_or_not(filled):
    ours, theirs = both(filled)
    with closing(sqlite3.connect(filled / "mlflow.db")) as connection:
        ids = [name for (name,) in connection.execute("SELECT run_uuid FROM runs")]
    assert len(ids) == 5
    for run_id in ids:
        assert shown([ours.get(run_id)]) == shown([theirs.get(run_id)])
        assert repr(ours.known(run_id)) == repr(theirs.known(run_id))
    assert ours.known("f" * 32) is None


def test_registered_models_are_as_mlflow_has_them(filled):
    ours, theirs = both(filled)
    for name in ("digits", "other"):
        assert ours.alias(name, ALIAS) == theirs.alias(name, ALIAS)
        assert ours.alias(name, "nobody") is theirs.alias(name, "nobody") is None
        for number in ("1", "2", "3"):
            assert ours.version(name, number) == theirs.version(name, number)
    assert ours.alias("digits", ALIAS).tags["promoted_by"] == "x"
    MlflowClient(f"sqlite:///{filled}/mlflow.db").delete_model_version("digits", "1")
    assert ours.version("digits", "1") is theirs.version("digits", "1") is None
    with closing(sqlite3.connect(filled / "mlflow.db")) as connection:
        (model_id,) = connection.execute("SELECT model_id FROM logged_models").fetchone()
    assert ours.model_place(model_id) == theirs.model_place(model_id)
    assert ours.model_place("m-0") is theirs.model_place("m-0") is None


def test_tags_of_an_experiment_and_the_address_of_its_runs_are_those_of_mlflow(filled):
    ours, theirs = both(filled)
    client = MlflowClient(f"sqlite:///{filled}/mlflow.db")
    for experiment in client.search_experiments():
        number = experiment.experiment_id
        assert ours.experiment_tags(number) == theirs.experiment_tags(number)
        assert ours.table(number) == theirs.table(number)


def test_the_schema_that_is_known_here_is_that_of_the_mlflow_that_is_installed(filled):
    with closing(sqlite3.connect(filled / "mlflow.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(SCHEMA,)]


def test_a_store_of_another_schema_and_one_whose_files_are_elsewhere_are_mlflows_to_read(filled, monkeypatch):
    monkeypatch.setattr(looking, "SCHEMA", "another")
    assert isinstance(look(filled), Tracker)
    monkeypatch.undo()
    MlflowClient(f"sqlite:///{filled}/mlflow.db").create_experiment("elsewhere", "s3://bucket/folder")
    assert isinstance(look(filled), Tracker)


def test_a_look_writes_nothing(filled):
    before = (filled / "mlflow.db").read_bytes()
    ours = look(filled)
    ours.search("")
    ours.alias("digits", ALIAS)
    assert (filled / "mlflow.db").read_bytes() == before


def test_a_store_that_stays_locked_or_is_damaged_ends_a_look_in_one_line(filled, monkeypatch):
    ours = look(filled)
    monkeypatch.setattr(looking, "SECONDS_UNTIL_FREE", 0.1)
    with closing(sqlite3.connect(filled / "mlflow.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailableError, match="does not answer"):
            ours.search("")
    size = (filled / "mlflow.db").stat().st_size
    (filled / "mlflow.db").write_bytes(b"SQLite format 3\0" + b"\1" * size)
    with pytest.raises(UserError, match="damaged"):
        ours.search("")
