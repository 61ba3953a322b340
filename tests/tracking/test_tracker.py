"""MLflow as a caller sees it: runs that always end, configs that come back, a model that needs none of this code."""

import getpass
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient
from sqlalchemy import Engine, event

from semisup.config import PipelineConfig
from semisup.config.files import load_config
from semisup.errors import UserError
from semisup.system.processes import process_tags
from semisup.tracking import tracker as tracker_module
from semisup.tracking.places.store import without_secrets
from semisup.tracking.provenance import provenance
from semisup.tracking.run import Run
from semisup.tracking.tracker import Tracker
from tests.mistakes import user_mistake
from tests.waiting import LONG

PROJECT = Path(__file__).parents[2]


def open_here(experiment: str = "tests") -> Tracker:
    return Tracker.open(experiment, Path.cwd())


def client_of(folder: Path) -> MlflowClient:
    """MLflow's own client, for a look at what is in the store."""
    return MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")


def the_error(experiment: str = "tests") -> str:
    with user_mistake() as caught:
        open_here(experiment)
    return str(caught.value)


# --- how a run ends ---------------------------------------------------------------------------------------------------


def test_a_run_that_ends_well_is_finished(store):
    with open_here().run("a", {}) as run:
        assert client_of(store).get_run(run.id).info.status == "RUNNING"
    info = client_of(store).get_run(run.id).info
    assert info.status == "FINISHED"
    assert info.end_time >= info.start_time


class Signal(BaseException):
    """Like Prefect's own for SIGTERM: no Exception."""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no"), "FAILED"),
        (UserError("no"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(143), "KILLED"),
        (Signal(), "KILLED"),
    ],
)
def test_an_exception_fails_a_run_and_an_interruption_kills_it(error, status, store):
    with pytest.raises(type(error)) as caught, open_here().run("a", {}) as run:
        raise error
    assert caught.value is error
    assert client_of(store).get_run(run.id).info.status == status


def test_an_interrupted_child_takes_its_parent_with_it(store):
    tracker = open_here()
    with (
        pytest.raises(KeyboardInterrupt),
        tracker.run("parent", {}) as parent,
        tracker.run("child", {}, parent.id) as child,
    ):
        raise KeyboardInterrupt
    runs = [client_of(store).get_run(run.id) for run in (parent, child)]
    assert [run.info.status for run in runs] == ["KILLED", "KILLED"]
    assert runs[1].data.tags["mlflow.parentRunId"] == parent.id


@pytest.mark.parametrize("method", ["create_run", "log_batch", "set_terminated"])
def test_an_interruption_in_the_middle_of_a_write_lets_it_finish_and_leaves_no_run_running(method, store, monkeypatch):
    """A transaction that a signal tears apart keeps SQLite locked, and nothing can be written any more."""
    tracker = open_here()
    real, completed = getattr(MlflowClient, method), []

    def interrupted(*arguments, **options):
        if not completed:
            signal.raise_signal(signal.SIGINT)
        answer = real(*arguments, **options)
        completed.append(method)
        return answer

    monkeypatch.setattr(MlflowClient, method, interrupted)
    with pytest.raises(KeyboardInterrupt), tracker.run("a", {}) as run:
        run.log_metrics({"x": 1.0}, step=1)
    assert completed
    statuses = [run.info.status for run in client_of(store).search_runs([tracker.experiment_id])]
    assert "RUNNING" not in statuses


@pytest.mark.parametrize("method", ["start", "finish"])
def test_a_broken_monitor_of_system_metrics_leaves_no_run_running(method, store, monkeypatch):
    def broken(self: object) -> None:
        raise OSError("no /proc here")

    monkeypatch.setattr(tracker_module.SystemMetricsMonitor, method, broken)
    tracker = open_here()
    try:
        with tracker.run("a", {}, system_metrics=True):
            pass
    except OSError:
        pass  # to go on without figures is as good as to fail; only a run that never ends is not
    statuses = [run.info.status for run in client_of(store).search_runs([tracker.experiment_id])]
    assert "RUNNING" not in statuses


def test_system_metrics_are_sampled_where_they_are_asked_for(store):
    with open_here().run("a", {}, system_metrics=True) as run:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            sampled = [name for name in client_of(store).get_run(run.id).data.metrics if name.startswith("system/")]
            if sampled:
                break
            time.sleep(0.2)
    assert "system/cpu_utilization_percentage" in sampled


def test_two_runs_may_log_the_same_data_set_for_the_first_time_at_once(store):
    """MLflow looks whether it is there, and then inserts it: the other run comes in between."""
    tracker = open_here()
    with tracker.run("a", {}) as run, tracker.run("b", {}) as other:
        meanwhile = [other]

        def come_in_between(connection, cursor, statement, *_: object) -> None:
            if "FROM datasets" in statement and meanwhile:
                meanwhile.pop().log_dataset(PipelineConfig(), "0" * 64)

        event.listen(Engine, "after_cursor_execute", come_in_between)
        try:
            run.log_dataset(PipelineConfig(), "0" * 64)
        finally:
            event.remove(Engine, "after_cursor_execute", come_in_between)
    assert meanwhile == []
    for each in (run, other):
        (logged,) = client_of(store).get_run(each.id).inputs.dataset_inputs
        assert logged.dataset.digest == "0" * 32


# --- what a run holds -------------------------------------------------------------------------------------------------


def test_a_config_comes_back_from_the_store_equal(store, tmp_path):
    config = PipelineConfig.model_validate(
        {
            "name": "round-trip",
            "seed": 7,
            "data": {"name": "mnist", "root": "some/folder"},
            "joint": {"alpha_final": 0.25, "optimizer": {"name": "sgd", "betas": [0.5, 0.75]}, "mixup": {"alpha": 0.2}},
        }
    )
    with open_here().run("a", {}) as run:
        run.log_config(config)
    client = client_of(store)
    assert load_config(Path(client.download_artifacts(run.id, "config.yaml", str(tmp_path)))) == config
    params = client.get_run(run.id).data.params
    assert params["seed"] == "7"
    assert params["data.root"] == "some/folder"
    assert params["joint.alpha_final"] == "0.25"
    assert params["joint.optimizer.betas"] == "[0.5, 0.75]"
    assert params["split.labeled_per_class"] == str(config.split.labeled_per_class)  # defaults are resolved, too


def test_metrics_of_an_epoch_stand_at_its_step_and_those_of_a_stage_at_zero(store):
    with open_here().run("a", {}) as run:
        for epoch in (1, 2, 3):
            run.log_metrics({"train_loss": 1 / epoch, "validation_loss": 2 / epoch}, step=epoch)
        run.log_metrics({"best_epoch": 3})
    client = client_of(store)
    history = client.get_metric_history(run.id, "validation_loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 2.0), (2, 1.0), (3, pytest.approx(2 / 3))]
    assert [(metric.step, metric.value) for metric in client.get_metric_history(run.id, "best_epoch")] == [(0, 3.0)]


def test_all_metrics_of_a_moment_go_in_one_call(store, monkeypatch):
    with open_here().run("a", {}) as run:
        calls = []
        monkeypatch.setattr(MlflowClient, "log_batch", lambda self, run_id, **what: calls.append(what))
        monkeypatch.setattr(MlflowClient, "log_metric", lambda *arguments, **options: pytest.fail("one by one"))
        run.log_metrics({f"figure_{i}": float(i) for i in range(50)}, step=1)
        monkeypatch.undo()
        os.chdir(store)
    assert [len(call["metrics"]) for call in calls] == [50]


@pytest.mark.parametrize("name", ["recall.T-shirt/top", "recall.[a] & b", "recall.猫", "recall.a:b=c,d#e%"])
def test_a_class_name_of_any_kind_may_be_part_of_a_metrics_name(name, store):
    with open_here().run("a", {}) as run:
        run.log_metrics({name: 0.5})
    assert list(client_of(store).get_run(run.id).data.metrics.values()) == [0.5]


def test_class_names_that_differ_only_in_odd_signs_keep_metrics_of_their_own(store):
    with open_here().run("a", {}) as run:
        run.log_metrics({"recall.c#": 0.25, "recall.c+": 0.75})
    assert sorted(client_of(store).get_run(run.id).data.metrics.values()) == [0.25, 0.75]


def test_the_dataset_is_an_input_of_the_run(store):
    digest = "0123456789abcdef" * 4
    with open_here().run("a", {}) as run:
        run.log_dataset(PipelineConfig(), digest)
    (entry,) = client_of(store).get_run(run.id).inputs.dataset_inputs
    assert entry.dataset.name == "digits"
    assert digest.startswith(entry.dataset.digest)
    assert json.loads(entry.dataset.source) == {"uri": "embedded"}
    assert {tag.key: tag.value for tag in entry.tags} == {"mlflow.data.context": "training"}


@pytest.mark.parametrize("folder", ["plain", "with space", 'with "quotes"', "with % and #"])
def test_the_source_of_a_dataset_is_valid_json_wherever_its_folder_is(folder, store, tmp_path):
    config = PipelineConfig.model_validate({"data": {"name": "mnist", "root": str(tmp_path / folder)}})
    with open_here().run("a", {}) as run:
        run.log_dataset(config, "0" * 64)
    (entry,) = client_of(store).get_run(run.id).inputs.dataset_inputs
    uri = json.loads(entry.dataset.source)["uri"]
    assert Path(unquote(urlsplit(uri).path)) == (tmp_path / folder).resolve()


def test_figures_tags_and_description_are_said_at_once(store):
    with open_here().run("a", {}) as run:
        run.conclude({"accuracy": 0.5}, {"complete": "true"}, description="**72 %** accepted")
    data = client_of(store).get_run(run.id).data
    assert data.metrics == {"accuracy": 0.5}
    assert data.tags["complete"] == "true"
    assert data.tags["mlflow.note.content"] == "**72 %** accepted"  # where MLflow's page shows it


def test_a_run_whose_figures_cannot_be_written_is_not_complete(store, monkeypatch):
    def fail(*_):
        raise MlflowException("no space left")

    tracker = open_here()
    monkeypatch.setattr(SqlAlchemyStore, "_log_metrics", fail)
    with pytest.raises(MlflowException), tracker.run("a", {}) as run:
        run.conclude({"accuracy": 0.5}, {"complete": "true"}, description="")
    assert "complete" not in client_of(store).get_run(run.id).data.tags


def git(*arguments: str) -> str:
    command = ["git", "-C", str(PROJECT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_run_says_who_made_it_from_which_commit_and_with_which_tags(store):
    with open_here().run("a name", {"stage": "split", "config": "tiny"}) as run:
        run.set_tags({"complete": "true", "upstream.split": "abc"})
    stored = client_of(store).get_run(run.id)
    assert stored.info.run_name == "a name"
    expected = {"stage": "split", "config": "tiny", "complete": "true", "upstream.split": "abc"}
    assert (expected | {"mlflow.user": getpass.getuser()}).items() <= stored.data.tags.items()
    assert open_here().get(run.id).tags["pid"] == str(os.getpid())


def test_what_is_for_us_alone_is_hidden_on_mlflows_page_and_read_back(store):
    tracker = open_here()
    told = {"stage": "joint", "digest.split": "d", "step.split": "s", "splits": "d", "upstream.split": "u"}
    with tracker.run("a", told) as run:
        run.set_tags({"step.joint": "j"})
    read, stored = tracker.get(run.id).tags, client_of(store).get_run(run.id).data.tags
    assert (told | {"step.joint": "j"} | {"pid": str(os.getpid())}).items() <= read.items()
    assert read.keys() >= process_tags().keys()
    shown = {name for name in stored if not name.startswith("mlflow.")}
    assert shown <= {"stage", "upstream.split", "semisup.version", "python"}


def test_tags_of_runs_of_before_are_read_as_they_are(store):
    tracker = open_here()
    before = process_tags() | {"step.split": "s", "digest.split": "d", "semisup.version": "0.1.0"}
    run_id = tracker.client.create_run(
        tracker.experiment_id, tags=before | {"pid": "1", "pid.started": "1"}
    ).info.run_id
    assert tracker.get(run_id).tags["step.split"] == "s"
    assert [run.id for run in tracker.close_lost()] == [run_id]


@pytest.mark.skipif(not (PROJECT / ".git").exists(), reason="the project is not a git checkout here")
def test_a_run_is_tagged_with_the_commit_of_the_checkout(store):
    before = git("rev-parse", "HEAD")
    with open_here().run("a", {}) as run:
        pass
    tags = open_here().get(run.id).tags
    assert tags["mlflow.source.git.commit"] in {before, git("rev-parse", "HEAD")}
    assert tags["git.dirty"] in {"true", "false"}


def test_without_git_a_run_simply_lacks_the_commit(store, monkeypatch):
    monkeypatch.setenv("PATH", "")
    provenance.cache_clear()
    try:
        with open_here().run("a", {}) as run:
            pass
    finally:
        provenance.cache_clear()
    assert "mlflow.source.git.commit" not in client_of(store).get_run(run.id).data.tags


def test_the_files_of_a_folder_come_back_with_the_same_bytes(store, tmp_path):
    out = tmp_path / "out"
    (out / "figures").mkdir(parents=True)
    (out / "a.bin").write_bytes(bytes(range(256)))
    (out / "figures" / "b.txt").write_text("b", encoding="utf-8")
    tracker = open_here()
    with tracker.run("a", {}) as run:
        run.log_outputs(out)
    back = tracker.artifacts(run.id, tmp_path)
    assert (back / "a.bin").read_bytes() == bytes(range(256))
    assert (back / "figures" / "b.txt").read_text(encoding="utf-8") == "b"


def test_where_the_files_of_a_run_are_is_asked_once(store, tmp_path, monkeypatch):
    with open_here().run("a", {"fingerprint": "f", "complete": "true"}) as run:
        run.log_config(PipelineConfig())
    asked, not_asked_yet = open_here(), open_here()
    (found,) = asked.finished("f")
    expected = not_asked_yet.artifacts(run.id, tmp_path)
    monkeypatch.setattr(MlflowClient, "get_run", lambda *_: pytest.fail("the store is asked again"))
    for tracker in (asked, not_asked_yet):
        assert tracker.artifacts(found.id, tmp_path) == expected
        assert tracker.locate(found.id, "config.yaml") == str(expected / "config.yaml")


# --- which store, and what is wrong with it ---------------------------------------------------------------------------


def test_the_default_store_keeps_its_artifacts_in_its_own_folder_wherever_the_process_stands(
    store, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    tracker = Tracker.open("tests", store)
    location = client_of(store).get_experiment_by_name("tests").artifact_location
    path = Path(unquote(urlsplit(location).path))
    assert path.is_absolute()
    assert path.parent == store.resolve()
    with tracker.run("a", {}) as run:
        run.log_config(PipelineConfig())
    assert tracker.artifacts(run.id, tmp_path).is_relative_to(store.resolve())
    assert [entry.name for entry in tmp_path.iterdir()] == [store.name]


def test_the_environment_names_another_store(store, tmp_path, monkeypatch, store_template):
    (tmp_path / "elsewhere.db").write_bytes(store_template.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/elsewhere.db")
    with open_here().run("a", {}) as run:
        pass
    elsewhere = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/elsewhere.db")
    assert elsewhere.get_run(run.id).info.status == "FINISHED"
    assert client_of(store).get_experiment_by_name("tests") is None


def test_two_folders_opened_in_one_process_have_a_store_each(store, tmp_path, store_template):
    other = tmp_path / "other"
    other.mkdir()
    (other / "mlflow.db").write_bytes(store_template.read_bytes())
    first, second = Tracker.open("tests", store), Tracker.open("tests", other)
    with first.run("in the first", {}), second.run("in the second", {}):
        pass
    for folder, name in ((store, "in the first"), (other, "in the second")):
        experiment = client_of(folder).get_experiment_by_name("tests")
        assert experiment is not None
        runs = client_of(folder).search_runs([experiment.experiment_id])
        assert [run.info.run_name for run in runs] == [name]


def test_opening_a_store_leaves_the_environment_as_it_was(store):
    before = dict(os.environ)
    open_here()
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", ["with space", "100%", "a%41b", "a#b", "ünïcode"])
def test_a_store_may_be_in_a_folder_of_any_name(name, tmp_path, store_template):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(store_template.read_bytes())
    tracker = Tracker.open("tests", folder)
    with tracker.run("a", {}) as run:
        run.log_config(PipelineConfig())
    artifacts = tracker.artifacts(run.id, tmp_path / "scratch")
    assert (artifacts / "config.yaml").is_file()
    assert artifacts.is_relative_to(folder)
    with sqlite3.connect(folder / "mlflow.db") as connection:
        count = connection.execute("select count(*) from runs").fetchone()
    connection.close()
    assert count == (1,)


def test_an_experiment_is_made_once(store):
    assert open_here().experiment_id == open_here().experiment_id


def test_a_deleted_experiment_is_named_with_the_way_out(store):
    client_of(store).delete_experiment(open_here().experiment_id)
    assert "tracking.experiment='tests' was deleted" in the_error()


def test_a_folder_in_place_of_the_database_is_named_and_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").mkdir()
    assert "is a folder" in the_error()
    assert [path.name for path in tmp_path.rglob("*")] == ["mlflow.db"]


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_text("my shopping list", encoding="utf-8")
    assert "is not an SQLite database" in the_error()
    assert (tmp_path / "mlflow.db").read_text(encoding="utf-8") == "my shopping list"
    assert [path.name for path in tmp_path.rglob("*")] == ["mlflow.db"]


def test_a_database_that_was_cut_short_is_named(store):
    database = store / "mlflow.db"
    os.truncate(database, database.stat().st_size // 2)
    assert f"{str(database)!r} is damaged" in the_error()


def test_a_file_in_place_of_the_artifact_folder_is_named(store):
    (store / "mlartifacts").write_text("", encoding="utf-8")
    assert "is a file" in the_error()


def test_a_store_in_a_folder_that_does_not_exist_is_named_and_the_folder_is_not_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/nowhere/mlflow.db")
    assert "nowhere" in the_error()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [".", "mlflow.db", "mlartifacts"])
def test_a_place_that_cannot_be_written_to_is_named(place, store, monkeypatch):
    """For root, who may write anywhere, the system's answer is replaced."""
    (store / "mlartifacts").mkdir()
    forbidden = store / place
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != forbidden)
    assert "no permission to write" in the_error()
    assert not (store / "mlflow.db.lock").exists()


def test_a_store_that_another_command_holds_for_too_long_is_named(store, monkeypatch):
    monkeypatch.setattr("semisup.tracking.places.store.SECONDS_FOR_OTHERS", 0.1)
    with FileLock(store / "mlflow.db.lock", is_singleton=False):
        assert "mlflow.db.lock is locked" in the_error()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_to_write_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o500)
    try:
        assert "no permission" in the_error()
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_database_without_permission_to_write_is_named(store):
    (store / "mlflow.db").chmod(0o400)
    assert "no permission" in the_error()


def test_an_address_of_no_kind_of_store_is_named_as_such(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "foo://x")
    assert the_error().startswith("MLFLOW_TRACKING_URI='foo://x' is of no kind of store that MLflow knows; ")


def test_a_damaged_database_is_a_mistake_in_one_line(tmp_path, monkeypatch, store_template):
    monkeypatch.chdir(tmp_path)
    content = bytearray(store_template.read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)
    (tmp_path / "mlflow.db").write_bytes(content)
    assert "mlflow.db" in the_error()


def test_a_database_of_a_newer_mlflow_is_a_mistake_in_one_line(store):
    with sqlite3.connect(store / "mlflow.db") as connection:
        connection.execute("update alembic_version set version_num = 'fedcba987654'")
    connection.close()
    assert "mlflow.db" in the_error()


def test_a_locked_database_is_a_mistake_in_one_line(store, monkeypatch):
    blocker = sqlite3.connect(store / "mlflow.db", isolation_level=None)
    blocker.execute("begin exclusive")
    try:
        assert "mlflow.db" in the_error()
    finally:
        blocker.execute("rollback")
        blocker.close()


@pytest.mark.parametrize("uri", ["nonsense://x", "http://127.0.0.1:9", "sqlite:", "postgresql://u:p@127.0.0.1:9/x"])
def test_an_address_that_leads_nowhere_is_a_mistake_in_one_line(uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    try:
        assert "MLFLOW_TRACKING_URI" in the_error()
    finally:
        assert list(tmp_path.iterdir()) == []


def test_a_password_in_the_address_is_in_no_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:hunter2@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    message = the_error()
    assert "127.0.0.1:9" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://someone:hunter2@example.org:5000/x?y=1", "http://***@example.org:5000/x?y=1"),
        ("https://token@example.org", "https://***@example.org"),
        ("postgresql+psycopg2://me:p@ss@db/mlflow", "postgresql+psycopg2://***@db/mlflow"),
        ("http://example.org:5000", "http://example.org:5000"),
        ("postgresql://me:pa/s#s?@db/mlflow", "postgresql://***@db/mlflow"),
        ("postgresql://db/mlflow?user=me&password=p&x=1", "postgresql://db/mlflow?user=***&password=***&x=1"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_user_name_and_password(uri, shown):
    assert without_secrets(uri) == shown


def test_the_link_of_a_run_on_a_server_is_its_page_there_without_the_password():
    tracker = Tracker(client=None, uri="http://someone:hunter2@example.org:5000/", experiment_id="7")  # type: ignore
    assert tracker.link("abc") == "http://***@example.org:5000/#/experiments/7/runs/abc?workflowType=machine_learning"


def test_the_link_of_a_run_in_a_file_is_where_semisup_ui_serves_it():
    tracker = Tracker(client=None, uri="sqlite:////x/mlflow.db", experiment_id="7")  # type: ignore
    assert tracker.link("abc") == "http://127.0.0.1:5000/#/experiments/7/runs/abc?workflowType=machine_learning"


def test_a_run_is_a_value_that_names_its_experiment(store):
    tracker = open_here()
    with tracker.run("a", {}) as run:
        assert isinstance(run, Run)
        assert run.experiment_id == tracker.experiment_id


OPEN = """
import sys
from pathlib import Path
import flows
from semisup.tracking.tracker import Tracker
tracker = Tracker.open("tests", Path.cwd())
with tracker.run(sys.argv[1], {}) as run:
    run.log_metrics({"x": 1.0})
"""


@pytest.mark.slow
def test_three_processes_that_open_a_fresh_store_at_once_all_write_into_it(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    processes = [
        subprocess.Popen([sys.executable, "-c", OPEN, f"run {i}"], cwd=tmp_path, env=environment) for i in range(3)
    ]
    try:
        assert [process.wait(timeout=LONG) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    client = client_of(tmp_path)
    runs = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["run 0", "run 1", "run 2"]
    assert {run.info.status for run in runs} == {"FINISHED"}


OPEN_AND_DIE = """
import os, signal, sys, threading
from pathlib import Path
import flows
from semisup.tracking.tracker import Tracker
threading.Timer(float(sys.argv[1]), lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
Tracker.open("tests", Path.cwd())
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.2, 0.8, 2.0])
def test_a_process_killed_while_it_makes_the_store_ruins_nothing(seconds, tmp_path, monkeypatch):
    """MLflow's migrations are no transaction: half a schema would be refused for ever."""
    monkeypatch.chdir(tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    code = [sys.executable, "-c", OPEN_AND_DIE, str(seconds)]
    assert subprocess.run(code, env=environment, check=False, timeout=LONG).returncode == -signal.SIGKILL
    with open_here().run("a", {}) as run:
        pass
    assert client_of(tmp_path).get_run(run.id).info.status == "FINISHED"
    assert [path.name for path in tmp_path.glob(".mlflow.db.semisup-*")] == []


def test_work_that_must_be_alone_is_never_done_by_two_at_once(store):
    """As many as like may ask; each is served, one after the other, and no run is left of it."""

    tracker, inside, most, done = open_here(), [], [], []

    def work() -> None:
        inside.append(1)
        most.append(len(inside))
        tracker.search("")  # takes long enough for another one to come in, if it could
        inside.pop()
        done.append(1)

    with ThreadPoolExecutor(3) as threads:
        for future in [threads.submit(tracker.exclusively, "crown:x", work) for _ in range(3)]:
            future.result(timeout=LONG)
    assert len(done) == 3
    assert max(most) == 1
    assert tracker.search("") == []


def test_a_password_of_the_store_is_in_no_traceback(monkeypatch):
    import traceback

    from mlflow.exceptions import MlflowException

    from semisup.errors import StoreUnavailableError
    from semisup.tracking.places.failures import store_failures

    uri = "http://alice:s3cret@127.0.0.1:9"
    for said in (f"API request to {uri}/api/2.0 failed with exception x", f"no permission at {uri}/api"):
        try:
            with store_failures(uri):
                raise MlflowException(said)
        except (StoreUnavailableError, MlflowException) as error:
            text = "".join(traceback.format_exception(error))
        assert "127.0.0.1:9" in text
        assert "s3cret" not in text.replace(said, "")
