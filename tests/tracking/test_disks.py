"""A disk that is full or read-only, and a store of another MLflow: one line each, and no traceback above it."""

import sqlite3
import subprocess
from contextlib import closing, suppress
from pathlib import Path

import pytest

from semisup.errors import UserError
from semisup.tracking.places.failures import store_failures
from semisup.tracking.tracker import Tracker


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """Makes a small disk of its own, the working folder of the test; skipped where nobody may mount one."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    place = tmp_path / "disk"
    place.mkdir()

    def mounted(kilobytes: int) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
        try:
            subprocess.run(command, check=True, capture_output=True)
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
    with pytest.raises(UserError, match="no space is left") as raised:
        write_runs(tracker)
    assert "\n" not in str(raised.value)
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
    with pytest.raises(UserError, match=said) as raised:
        Tracker.open("semisup", store)
    assert "\n" not in str(raised.value)
