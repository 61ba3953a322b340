"""A disk that is full or read-only, and a store of another MLflow: one line each, and no traceback above it."""

import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
from alembic import command
from mlflow.store.db.utils import _get_alembic_config

from semisup.errors import UserError
from semisup.tracking.looking import look
from semisup.tracking.places.failures import store_failures
from semisup.tracking.tracker import Tracker
from tests.mistakes import user_mistake


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """Makes a small disk of its own, the working folder of the test; skipped where nobody may mount one."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    place = tmp_path / "disk"
    place.mkdir()

    def mounted(kilobytes: int) -> Path:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("no permission to mount a disk")
        monkeypatch.chdir(place)
        return place

    yield mounted
    monkeypatch.chdir(tmp_path)
    subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


def write_runs(tracker: Tracker) -> None:
    """More than a disk has room for."""
    with store_failures(tracker.uri):
        for number in range(1000):
            with tracker.run(f"run {number}", {"note": "x" * 2000}):
                pass


def fill(folder: Path) -> None:
    """Until nothing more goes in."""
    with (folder / "fill").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"0" * 4096)


def test_a_store_on_a_full_disk_is_one_line_and_no_traceback(disk, store_template, capfd):
    place = disk(4000)
    (place / "mlflow.db").write_bytes(store_template.read_bytes())
    tracker = Tracker.open("semisup", place)
    fill(place)
    with user_mistake(match="no space is left"):
        write_runs(tracker)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_disk_on_which_no_store_has_room_is_left_as_it_was(disk, capfd):
    place = disk(400)
    with pytest.raises(UserError, match="no space is left"):
        Tracker.open("semisup", place)
    assert {path.name for path in place.iterdir()} <= {"mlflow.db.lock"}
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_store_on_a_read_only_disk_is_one_line(disk, store_template):
    place = disk(4000)
    (place / "mlflow.db").write_bytes(store_template.read_bytes())
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    with pytest.raises(UserError, match="no permission to write"):
        Tracker.open("semisup", place)


@pytest.mark.parametrize(
    ("schema", "said"), [("ffffffffffff", "newer"), ("0a8213491aaa", "is older .*mlflow db upgrade")]
)
def test_a_store_of_another_mlflow_says_which_one_to_use(schema, said, store):
    with closing(sqlite3.connect(store / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (schema,))
    with user_mistake(match=said):
        Tracker.open("semisup", store)


@pytest.fixture
def of_an_older_mlflow(store):
    """A store with a run, brought back to the tables of MLflow 3.16 by MLflow's own migrations."""
    with Tracker.open("semisup", store).run("a run", {"semisup.version": "0"}) as run:
        pass
    url = f"sqlite:///{store}/mlflow.db"
    command.downgrade(_get_alembic_config(url), "b7e2c1a4d9f3")
    return store, run.id, url


def test_a_store_of_an_older_mlflow_is_not_brought_up_to_date_unasked(of_an_older_mlflow):
    """MLflow does that by itself where a table is missing; the older version could not open the store any more."""
    store, _, url = of_an_older_mlflow
    before = (store / "mlflow.db").read_bytes()
    for look_at in (lambda: Tracker.open("semisup", store), lambda: look(store)):
        with pytest.raises(UserError, match=f"is older than this MLflow.*; make a copy .* `mlflow db upgrade {url}`"):
            look_at()
    assert (store / "mlflow.db").read_bytes() == before


def test_a_store_of_an_older_mlflow_is_upgraded_by_the_command_that_is_named(of_an_older_mlflow):
    store, run_id, url = of_an_older_mlflow
    subprocess.run([Path(sys.executable).with_name("mlflow"), "db", "upgrade", url], check=True, capture_output=True)
    assert [run.id for run in Tracker.open("semisup", store).search("attributes.status = 'FINISHED'")] == [run_id]
