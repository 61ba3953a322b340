"""The pipeline as a Prefect flow: what stands in MLflow and in Prefect afterwards, and how failures end."""

import json
import re
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Artifact

from flows.pipeline.flow import pipeline
from flows.start.run_names import SET_TAG
from semisup.config import PipelineConfig
from semisup.config.files import load_config
from semisup.errors import UserError
from semisup.pipeline.plan import CHAMPION, KEPT, kept_step, plan
from semisup.pipeline.specs import StageSpec
from semisup.tracking.places.pages import FOR_TRAINING, METRICS, TAGS, VIEW
from semisup.tracking.places.tag_names import told_names
from semisup.tracking.tracker import Tracker
from tests.variants import STEPS

pytestmark = [
    pytest.mark.prefect,
    # MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
ALL = ViewType.ALL


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")


def runs_in(folder: Path) -> list[Run]:
    """Every run of a store, in the order of their starts."""
    client = client_of(folder)
    experiments = [experiment.experiment_id for experiment in client.search_experiments(view_type=ALL)]
    return sorted(client.search_runs(experiments, run_view_type=ALL), key=lambda run: run.info.start_time)


@pytest.fixture(scope="module")
def stored(finished_run) -> dict[str, Run]:
    """Stage (or "pipeline") → its run in MLflow, by the ids in the JSON result."""
    ids = {name: stage["run_id"] for name, stage in finished_run.result["stages"].items()}
    ids["pipeline"] = finished_run.result["run_id"]
    return {name: client_of(finished_run.folder).get_run(run_id) for name, run_id in ids.items()}


def files_of(folder: Path, run: Run) -> Path:
    return Path(unquote(urlsplit(run.info.artifact_uri).path))


# --- what stands in MLflow --------------------------------------------------------------------------------------------


def test_the_store_holds_one_run_of_the_pipeline_and_one_of_each_stage_all_finished(finished_run, stored):
    runs = [run for run in runs_in(finished_run.folder) if run.info.lifecycle_stage == "active"]
    assert {run.info.run_id for run in runs} == {run.info.run_id for run in stored.values()}
    assert len(runs) == 1 + len(STEPS)
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_every_stage_is_a_child_of_the_pipelines_run(stored):
    parent = stored["pipeline"]
    assert "mlflow.parentRunId" not in parent.data.tags
    assert {stored[name].data.tags["mlflow.parentRunId"] for name in STEPS} == {parent.info.run_id}


@pytest.mark.parametrize("name", STEPS)
def test_a_stages_run_is_tagged_with_what_it_is_and_where_it_came_from(name, finished_run, stored):
    expected = {"stage": name, "step": name, "config": "tiny", "seed": "3", "complete": "true"}
    (step,) = (step for step in plan(finished_run.config) if step.name == name)
    for role, source in step.upstream.items():
        if source == CHAMPION:
            continue  # there was none
        kept = kept_step(finished_run.config, "student" if finished_run.result["student_kept"] else "baseline")
        read = stored[kept if source == KEPT else source]
        expected |= {f"upstream.{role}": read.info.run_id, f"digest.{role}": read.data.tags["output_digest"]}
    assert expected.items() <= told_names(stored[name].data.tags).items()
    assert {"fingerprint", "output_digest", "dataset"} <= stored[name].data.tags.keys()


def test_the_pipelines_run_is_tagged_and_holds_the_config_and_the_key_figures(finished_run, stored):
    run = stored["pipeline"]
    expected = {"stage": "pipeline", "config": "tiny", "seed": "3", "verdict": finished_run.result["verdict"]}
    assert expected.items() <= run.data.tags.items()
    assert load_config(files_of(finished_run.folder, run) / "config.yaml") == finished_run.config
    assert run.data.params["pseudo_label.threshold"] == "0.8"
    for name in ("baseline_test_accuracy", "student_test_accuracy", "mcnemar_p", "pseudo_label_coverage"):
        assert run.data.metrics[name] == finished_run.result[name]


def test_mlflows_table_of_runs_has_a_view_whose_columns_the_pipelines_run_fills(finished_run, stored, artifacts):
    run = stored["pipeline"]
    assert set(METRICS) <= run.data.metrics.keys()
    assert set(TAGS) - {SET_TAG} <= run.data.tags.keys()  # nothing was set on top of its config
    assert f"&viewStateShareKey={VIEW})" in artifacts["semisup-summary"].data
    assert re.match(r"\d+\.\d[↗→↘]\d+\.\d \d+/\d+ % tiny-seed3$", run.info.run_name)


def test_the_data_set_is_an_input_of_the_pipelines_run(finished_run, stored):
    (entry,) = stored["pipeline"].inputs.dataset_inputs
    facts = json.loads((files_of(finished_run.folder, stored["split"]) / "dataset.json").read_text(encoding="utf-8"))
    assert entry.dataset.name == "digits"
    assert facts["digest"].startswith(entry.dataset.digest)
    assert len(entry.dataset.digest) >= 8


@pytest.mark.parametrize(("name", "extra"), [("baseline", set()), ("joint", {"alpha", "mask_rate"})])
def test_every_epoch_has_its_metrics_in_mlflow_and_they_are_those_of_the_history(name, extra, finished_run, stored):
    history = pd.read_parquet(files_of(finished_run.folder, stored[name]) / "history.parquet")
    client = client_of(finished_run.folder)
    for metric in {"train_loss", "validation_loss", "validation_accuracy", "learning_rate"} | extra:
        logged = client.get_metric_history(stored[name].info.run_id, metric)
        assert [(m.step, m.value) for m in logged] == list(zip(history["epoch"], history[metric], strict=True))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("split", ["split.parquet", "dataset.json", "class_counts.png"]),
        ("baseline", ["weights.safetensors", "history.parquet", "learning_curves.png"]),
        ("pseudo_label", ["pseudo_labels.parquet", "confidence_histogram.png", "picture_grid.png"]),
        ("joint", ["weights.safetensors", "history.parquet", "learning_curves.png"]),
        ("keep", ["kept.json"]),
        ("labels", ["pseudo_labels.parquet", "confidence_histogram.png", "picture_grid.png"]),
        ("evaluate", ["report.html", "report.md", "predictions.parquet", "metrics.json"]),
        ("promote", ["decision.json", "predictions.parquet"]),
    ],
)
def test_every_stages_files_are_artifacts_of_its_run(name, expected, finished_run, stored):
    listed = {entry.path for entry in client_of(finished_run.folder).list_artifacts(stored[name].info.run_id)}
    assert set(expected) <= listed


def test_the_student_is_a_model_of_its_run_ready_to_be_loaded(finished_run, stored):
    client = client_of(finished_run.folder)
    (model,) = client.search_logged_models([stored["joint"].info.experiment_id])
    assert model.source_run_id == stored["joint"].info.run_id
    assert model.name == "model"


def test_nothing_but_the_store_is_left_in_the_working_folder(finished_run):
    left = {path.name for path in finished_run.folder.iterdir()}
    assert left - {"mlflow.db.lock"} == {"mlflow.db", "mlartifacts", ".semisup"}
    assert [path.name for path in (finished_run.folder / ".semisup").rglob("*") if path.is_file()] == ["semisup.mark"]


# --- the result -------------------------------------------------------------------------------------------------------


def test_the_result_has_the_keys_that_others_rely_on(finished_run):
    result = finished_run.result
    assert set(result["stages"]) == set(STEPS)
    for stage in result["stages"].values():
        assert set(stage) == {"run_id", "seconds", "reused"}
        assert stage["reused"] is False
        assert 0 < stage["seconds"] <= result["seconds"]
    for name in ("baseline_test_accuracy", "student_test_accuracy", "pseudo_label_precision"):
        assert 0 <= result[f"{name}_low"] <= result[name] <= result[f"{name}_high"] <= 1
    assert 0 < result["pseudo_label_coverage"] < 1
    assert 0 < result["mcnemar_p"] <= 1
    assert result["run_id"]


def test_the_result_says_what_the_metrics_of_the_evaluation_say(finished_run, stored):
    metrics = json.loads((files_of(finished_run.folder, stored["evaluate"]) / "metrics.json").read_text("utf-8"))
    result = finished_run.result
    for model in ("baseline", "student"):
        assert result[f"{model}_test_accuracy"] == metrics[model]["accuracy"]["estimate"]
    assert result["mcnemar_p"] == metrics["mcnemar"]["p_value"]
    assert result["verdict"] == metrics["verdict"]


def test_the_report_is_where_the_result_says(finished_run):
    report = Path(finished_run.result["report"])
    assert report.is_relative_to(finished_run.folder)
    assert "<html" in report.read_text(encoding="utf-8")


def test_the_flow_leaves_the_same_bits_as_the_plain_stages(finished_run, stored, stage_folders):
    """And `semisup.run` leaves those as well: tests/api/test_runs.py."""
    compared = set()
    for name, folder in stage_folders.items():
        for theirs in folder.rglob("*"):
            if theirs.suffix in {".parquet", ".safetensors", ".json"} and theirs.name != "timings.json":
                file = theirs.relative_to(folder)
                ours = files_of(finished_run.folder, stored[name]) / file
                assert ours.read_bytes() == theirs.read_bytes(), f"{name}/{file}"
                compared.add(name)
    assert compared == {*STEPS}


# --- what stands in Prefect -------------------------------------------------------------------------------------------


def latest_artifacts(run_id: str) -> dict[str, Artifact]:
    """Key → artifact, of the flow run whose artifacts name this MLflow run."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts()
    (flow_run_id,) = {artifact.flow_run_id for artifact in found if run_id in str(artifact.data)}
    return {artifact.key: artifact for artifact in found if artifact.flow_run_id == flow_run_id}


@pytest.fixture(scope="module")
def artifacts(finished_run) -> dict[str, Artifact]:
    return latest_artifacts(finished_run.result["stages"]["split"]["run_id"])


@pytest.mark.parametrize("name", STEPS)
def test_every_stage_publishes_a_link_to_its_mlflow_run(name, finished_run, artifacts):
    artifact = artifacts[f"semisup-{name.replace('_', '-')}"]
    run_id = finished_run.result["stages"][name]["run_id"]
    assert f"/runs/{run_id}?{FOR_TRAINING})" in artifact.data  # a Markdown link: [text](address)
    assert artifact.data.startswith("[")
    assert artifact.task_run_id is not None


def test_the_flow_publishes_the_summary_table(finished_run, artifacts):
    table = artifacts["semisup-summary"].data
    for name in ("baseline_test_accuracy", "student_test_accuracy"):
        assert f"| {finished_run.result[name]:.1%} |" in table
    assert finished_run.result["verdict"] in table


def messages_of_the_flow_run(artifacts: dict[str, Artifact]) -> list[str]:
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[artifacts["semisup-summary"].flow_run_id]))
    with get_client(sync_client=True) as client:
        return [log.message for log in client.read_logs(log_filter=of_run, limit=200)]


def test_our_lines_are_in_prefects_log(finished_run, artifacts):
    accepted = f"({finished_run.result['pseudo_label_coverage']:.1%})"
    wanted = ["1,197 unlabeled", "6/6 loss", accepted, "McNemar p"]
    for _ in range(60):  # they arrive in the background, within a few seconds
        messages = messages_of_the_flow_run(artifacts)
        missing = [word for word in wanted if not any(word in message for message in messages)]
        if not missing:
            break
        time.sleep(0.5)
    assert missing == []


def test_every_stage_is_a_task_of_its_own_name_and_all_are_completed(artifacts):
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    flow_run_id = artifacts["semisup-summary"].flow_run_id
    with get_client(sync_client=True) as client:
        of_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
        for _ in range(60):  # so do the last states of tasks
            tasks = client.read_task_runs(flow_run_filter=of_run)
            if len(tasks) == len(STEPS) + 1 and all(task.state.is_final() for task in tasks):
                break
            time.sleep(0.5)
        assert client.read_flow_run(flow_run_id).name == "tiny-seed3"
    assert sorted(task.name.rpartition("-")[0] for task in tasks) == sorted([*STEPS, "open_store"])
    assert all(task.state.is_completed() for task in tasks)


# --- how failures end -------------------------------------------------------------------------------------------------


def break_stage(monkeypatch: pytest.MonkeyPatch, broken: str, error: BaseException) -> None:
    """One stage raises, half-way through; the others are as they were."""

    load_whole = StageSpec.load

    def load(spec: StageSpec, checkpoints: Path | None = None, number: int | None = None):
        if spec.name != broken:
            return load_whole(spec, checkpoints, number)

        def stage(config, inputs, out_dir, log):
            (out_dir / "half.txt").write_text("half a file", encoding="utf-8")
            raise error

        return stage

    monkeypatch.setattr(StageSpec, "load", load)


def outcome_of_each(folder: Path) -> dict[str, str]:
    return {run.data.tags["stage"]: run.info.status for run in runs_in(folder)}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("error", [RuntimeError("the disk is on fire"), UserError("too bad; mend it")])
def test_a_stage_that_fails_leaves_its_run_and_the_pipelines_failed(error, store, tiny_config, monkeypatch):
    break_stage(monkeypatch, "baseline", error)
    with pytest.raises(type(error), match=str(error)):
        pipeline(tiny_config)
    assert outcome_of_each(store) == {"pipeline": "FAILED", "split": "FINISHED", "baseline": "FAILED"}
    failed = next(run for run in runs_in(store) if run.data.tags["stage"] == "baseline")
    assert "complete" not in failed.data.tags
    listed = {entry.path for entry in client_of(store).list_artifacts(failed.info.run_id)}
    assert listed == {"config.yaml", "lineage.json"}
    assert str(error) in failed.data.tags["error"]


@pytest.mark.usefixtures("prefect_server")
def test_an_interrupted_stage_leaves_its_run_and_the_pipelines_killed(store, tiny_config, monkeypatch):
    break_stage(monkeypatch, "split", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        pipeline(tiny_config)
    assert outcome_of_each(store) == {"pipeline": "KILLED", "split": "KILLED"}


@pytest.mark.usefixtures("prefect_server")
def test_a_mistake_in_the_data_writes_no_run_at_all(tmp_path, tiny_config, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = tiny_config.model_dump() | {"split": {"labeled_per_class": 100_000}}
    with pytest.raises(UserError, match=r"split\.labeled_per_class=100000"):
        pipeline(PipelineConfig.model_validate(values))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("prefect_server")
def test_the_flow_takes_its_config_as_plain_values_and_refuses_unknown_keys(tmp_path, tiny_config, monkeypatch):
    """As a deployment gives it: parameters are JSON."""
    from prefect.exceptions import ParameterTypeError

    monkeypatch.chdir(tmp_path)
    values = tiny_config.model_dump(mode="json") | {"sed": 1}
    with pytest.raises(ParameterTypeError, match="sed"):
        pipeline(values)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("prefect_server", "rerunnable")
def test_a_store_that_fails_over_the_page_of_the_experiment_costs_no_pipeline(finished_run, monkeypatch):
    def refuse(*_: object) -> None:
        raise MlflowException("Permission denied")

    monkeypatch.setattr(Tracker, "experiment_tags", refuse)
    result = pipeline(finished_run.config)
    run = client_of(Path.cwd()).get_run(result["run_id"])
    assert (run.info.status, run.data.tags["complete"]) == ("FINISHED", "true")


@pytest.mark.usefixtures("prefect_server")
def test_a_prefect_server_that_loses_an_artifact_costs_no_stage(store, tiny_config, monkeypatch):
    def lost(**artifact: object) -> None:
        raise OSError("the server is gone")

    monkeypatch.setattr("prefect.artifacts.create_link_artifact", lost)
    break_stage(monkeypatch, "baseline", RuntimeError("far enough"))
    with pytest.raises(RuntimeError, match="far enough"):
        pipeline(tiny_config)
    assert outcome_of_each(store)["split"] == "FINISHED"
