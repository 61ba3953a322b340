"""A store that is moved or copied goes on where it lies now: nothing is trained again, nothing written elsewhere."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from PIL import Image
from typer.testing import CliRunner

from flows.cli import app
from flows.pipeline.flow import pipeline
from flows.start import display
from semisup.errors import UserError
from semisup.system.processes import process_tags, started
from semisup.tracking.champions import champion
from semisup.tracking.tracker import Tracker

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below a folder → its size, and when it was changed."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in [folder, *folder.rglob("*")]}


def addresses(folder: Path) -> set[str]:
    """All places of artifacts that a store names, but for that of MLflow's own experiment."""
    query = (
        "SELECT artifact_uri FROM runs UNION SELECT artifact_location FROM logged_models UNION "
        "SELECT storage_location FROM model_versions UNION SELECT artifact_location FROM experiments "
        "WHERE experiment_id != 0"
    )
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        return {place for (place,) in connection.execute(query)}


@pytest.fixture
def original(finished_run, tmp_path, monkeypatch):
    """A finished run's folder that was opened where it lies, as any store was before it is moved."""
    folder = tmp_path / "a"
    shutil.copytree(finished_run.folder, folder)
    monkeypatch.chdir(folder)
    Tracker.open("semisup", folder)
    return folder


def in_place(folder: Path) -> None:
    assert all(place.startswith((folder / "mlartifacts").as_uri()) for place in addresses(folder))


@pytest.mark.parametrize("way", ["move", "copy"])
def test_a_moved_or_copied_store_trains_nothing_again_and_leaves_the_old_place_alone(
    way, original, tmp_path, tiny_config, monkeypatch
):
    there = tmp_path / "b"
    if way == "copy":
        shutil.copytree(original, there)
    else:
        original.rename(there)
    before = stamps(original) if way == "copy" else None
    monkeypatch.chdir(there)
    result = pipeline(tiny_config, force=["split"])  # one stage that writes
    assert {name for name, stage in result["stages"].items() if not stage["reused"]} == {"split"}
    assert Path(result["report"]).is_relative_to(there)
    in_place(there)
    assert stamps(original) == before if way == "copy" else not original.exists()
    Image.new("L", (8, 8)).save(there / "one.png")
    said = CliRunner().invoke(app, ["predict", "models:/tiny@champion", "one.png", "--json"])
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout)["rows"] == 1
    assert (original.exists(), stamps(original) if before else None) == (way == "copy", before)


def test_runs_that_were_under_way_when_a_store_was_copied_go_on_in_the_original_alone(original, tmp_path, monkeypatch):
    tracker = Tracker.open("semisup", original)
    with tracker.run("works", {"fingerprint": "f"}) as run:
        shutil.copytree(original, tmp_path / "b")
        monkeypatch.chdir(tmp_path / "b")
        copy = Tracker.open("semisup", tmp_path / "b")
        assert copy.get(run.id).status == "KILLED"
        assert not copy.running("f")
        assert tracker.get(run.id).status == "RUNNING"
    assert tracker.get(run.id).status == "FINISHED"


def test_a_store_that_is_moved_away_from_a_living_process_is_refused(original, tmp_path, monkeypatch):
    tracker = Tracker.open("semisup", original)
    living = process_tags() | {"pid": str(os.getppid()), "pid.started": started(os.getppid()), "semisup.version": "0"}
    tracker.client.create_run(tracker.experiment_id, tags=living)
    original.rename(tmp_path / "b")
    monkeypatch.chdir(tmp_path / "b")
    before = addresses(tmp_path / "b")
    with pytest.raises(UserError, match=f"moved here from .* while process {os.getppid()}"):
        Tracker.open("semisup", tmp_path / "b")
    assert addresses(tmp_path / "b") == before


def test_a_store_reached_by_two_names_of_its_folder_is_not_moved(original, tmp_path):
    (tmp_path / "link").symlink_to(original)
    before = addresses(original)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path / 'link' / 'mlflow.db'}"
    Tracker.open("semisup", original)
    assert addresses(original) == before


def test_an_experiment_whose_artifacts_a_person_put_elsewhere_stays_there(store, tmp_path):
    elsewhere = (tmp_path / "large disk" / "mlartifacts").as_uri()
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    (tmp_path / "large disk" / "mlartifacts").mkdir(parents=True)
    client.create_experiment("photos", elsewhere)
    tracker = Tracker.open("photos", store)
    with tracker.run("a", {}) as run:
        run.log_params({"a": 1})
    again = Tracker.open("photos", store)
    assert again.get(run.id).artifact_uri.startswith(elsewhere)


def test_an_experiment_whose_artifacts_lie_on_a_disk_that_is_not_mounted_stays_there(store, tmp_path):
    elsewhere = (tmp_path / "not mounted" / "mlartifacts").as_uri()
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    of_others = client.create_experiment("photos", elsewhere)
    run_id = client.create_run(of_others).info.run_id
    (store / "mlartifacts" / "0123456789abcdef0123456789abcdef").mkdir(parents=True)  # a run of another experiment
    Tracker.open("semisup", store)
    assert client.get_experiment(of_others).artifact_location == elsewhere
    assert client.get_run(run_id).info.artifact_uri.startswith(elsewhere)
    assert not (tmp_path / "not mounted").exists()


def test_a_moved_store_of_an_earlier_version_is_known_by_its_runs_folders(original, tmp_path, monkeypatch):
    with closing(sqlite3.connect(original / "mlflow.db")) as connection, connection:
        connection.execute("DELETE FROM experiment_tags")
    original.rename(tmp_path / "b")
    monkeypatch.chdir(tmp_path / "b")
    Tracker.open("semisup", tmp_path / "b")
    in_place(tmp_path / "b")


class Ear(display.Hidden):
    """A display that remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str, *, warning: bool = False) -> None:
        self.lines.append(text)


@pytest.mark.parametrize("lost", ["weights", "model"])
def test_a_champion_whose_files_are_gone_is_named_and_replaced_by_the_next_run(
    lost, original, tiny_config, monkeypatch
):
    tracker = Tracker.open("semisup", original)
    old = champion(tracker, "tiny")
    folder = tracker.local_artifacts(old.run_id)
    shutil.rmtree(folder if lost == "weights" else original / "mlartifacts" / "models" / old.model_id)
    ear = Ear()
    monkeypatch.setattr(display, "_current", ear, raising=True)
    pipeline(tiny_config)
    (named,) = [line for line in ear.lines if "champion" in line and "passed over" in line]
    assert f"version {old.version} of 'tiny'" in named
    new = champion(tracker, "tiny")
    assert new.version != old.version
    Image.new("L", (8, 8)).save(original / "one.png")
    assert CliRunner().invoke(app, ["predict", "models:/tiny@champion", "one.png"]).exit_code == 0
