"""`semisup regress` from end to end: what it prints, what stands in MLflow, what is reused, how mistakes end."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
import sklearn.metrics
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from flows.cli import app
from flows.pipeline.regression import comparisons, rows
from semisup.config.files import load_kind
from semisup.config.regression import RegressionConfig
from semisup.pipeline.specs import SPECS
from semisup.ready_made import list_configs

PROJECT = Path(__file__).parents[3]
# MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")
QUICK = RegressionConfig.model_validate(
    {
        "name": "quick",
        "seed": 2,
        "model": {"hidden": [8]},
        "train": {"epochs": 4, "disturb_value": {"rate": 50, "scale": 0.5}},
        "runtime": {"device": "cpu", "threads": 1},
        "tracking": {"system_metrics": False},
    }
)
STAGES = ("regression_fit", "regression_evaluate")


def invoke(*arguments: str):
    env = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "COLUMNS": "200", "TERM": "dumb"}
    return CliRunner().invoke(app, list(arguments), env=env, catch_exceptions=False)


@dataclass(frozen=True)
class Finished:
    folder: Path
    result: dict[str, Any]
    screen: str
    changed: dict[str, Any]

    def run(self, run_id: str) -> Run:
        return MlflowClient(tracking_uri=f"sqlite:///{self.folder}/mlflow.db").get_run(run_id)

    def stage(self, name: str) -> Run:
        return self.run(self.result["stages"][name]["run_id"])

    def files(self, name: str) -> Path:
        return Path(unquote(urlsplit(self.stage(name).info.artifact_uri).path))


@pytest.fixture(scope="module")
def finished(prefect_server, workplace) -> Finished:
    """A regression from the command line three times over: as JSON, on the screen, and changed; to be read only."""
    with workplace(QUICK) as (folder, config):
        first = invoke("regress", str(config), "--json")
        screen = invoke("regress", str(config))
        changed = invoke("regress", str(config), "--set", "train.disturb_value.rate=0", "--json")
    for outcome in (first, screen, changed):
        assert outcome.exit_code == 0, outcome.output
    return Finished(folder, last_line(first), screen.stdout, last_line(changed))


def last_line(outcome) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(outcome.stdout.splitlines()[-1])
    return parsed


# --- what it leaves ---------------------------------------------------------------------------------------------------


@pytest.mark.prefect
def test_each_stage_is_a_finished_run_below_the_one_of_the_whole(finished):
    parent = finished.run(finished.result["run_id"])
    assert parent.data.tags["complete"] == "true"
    assert parent.info.status == "FINISHED"
    for name in STAGES:
        tags = finished.stage(name).data.tags
        assert finished.stage(name).info.status == "FINISHED"
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert {"stage": name, "config": "quick", "seed": "2", "complete": "true"}.items() <= tags.items()
    assert finished.stage(STAGES[1]).data.tags["upstream.regression_fit"] == finished.stage(STAGES[0]).info.run_id


@pytest.mark.prefect
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_logs_its_part_of_the_config_its_figures_and_its_files(name, finished):
    run = finished.stage(name)
    assert {key.partition(".")[0] for key in run.data.params} == set(SPECS[name].sections)
    assert {"config.yaml", "lineage.json", "manifest.json"} <= {path.name for path in finished.files(name).iterdir()}
    assert {"best_epoch" if name == "regression_fit" else "network_mae", "stage_seconds"} <= set(run.data.metrics)


@pytest.mark.prefect
def test_the_result_holds_the_figures_of_the_predictions_that_were_left(finished):
    predictions = pd.read_parquet(finished.files("regression_evaluate") / "predictions.parquet")
    parent = finished.run(finished.result["run_id"]).data.metrics
    for model in ("network", "linear", "mean"):
        expected = sklearn.metrics.mean_absolute_error(predictions["truth"], predictions[model])
        assert finished.result["models"][model]["mae"]["estimate"] == pytest.approx(expected)
        assert parent[f"{model}_mae"] == pytest.approx(expected)
    assert Path(finished.result["residuals"]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.prefect
def test_the_screen_shows_three_models_their_intervals_and_where_the_residuals_are(finished):
    lines = [" ".join(line.split()) for line in finished.screen.splitlines()]
    for row in rows(finished.result):
        assert " ".join(row) in lines
    assert {*comparisons(finished.result)} <= {*finished.screen.splitlines()}
    assert f"Residuals: {finished.result['residuals']}" in finished.screen
    assert "2 of 2 stages reused" in finished.screen


@pytest.mark.prefect
def test_a_change_of_the_noise_trains_anew_and_the_same_config_does_not(finished):
    assert [stage["reused"] for stage in finished.result["stages"].values()] == [False, False]
    assert [stage["reused"] for stage in finished.changed["stages"].values()] == [False, False]
    found = {name: finished.changed["stages"][name]["run_id"] for name in STAGES}
    assert all(finished.stage(name).info.run_id != run_id for name, run_id in found.items())


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "diabetes"], ["diabetes.yaml: task: regression", "`semisup regress`"]),
        (["status", "diabetes"], ["diabetes.yaml: task: regression", "`semisup regress`"]),
        (["regress", "digits"], ["digits.yaml", "task: regression", "`semisup run`"]),
        (["regress", "diabets"], ["'diabets' is neither a file nor a ready-made config", "diabetes"]),
        (["regress", "diabetes", "--set", "train.disturb_value.rate=101"], ["train.disturb_value.rate=101", "100"]),
        (["regress", "diabetes", "--set", "train.disturb_value.scale=-1"], ["train.disturb_value.scale=-1"]),
        (["regress", "diabetes", "--set", "trian.epochs=3"], ["unknown key 'trian'", "'train'"]),
        (["regress", "diabetes", "--set", "split.validation_rows=350"], ["split.validation_rows=350", "at most 334"]),
    ],
)
def test_a_mistake_is_one_line_with_status_2_and_leaves_nothing(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = invoke(*arguments)
    assert outcome.exit_code == 2
    assert outcome.stdout == ""
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("error: ")
    assert all(word in line for word in said)
    assert list(tmp_path.iterdir()) == []


# --- the ready-made config --------------------------------------------------------------------------------------------


def test_the_ready_made_config_is_listed_and_valid():
    path = PROJECT / "configs" / "diabetes.yaml"
    assert load_kind(RegressionConfig, path).name == "diabetes"
    assert ("diabetes", path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")) in list_configs()


def test_keys_lists_every_key_of_a_regression_with_its_default():
    outcome = invoke("regress", "diabetes", "--keys")
    assert outcome.exit_code == 0
    found = {line.split()[0]: line.split()[1] for line in outcome.stdout.splitlines()[1:]}
    expected = {"train.disturb_value.rate": "0.0", "train.optimizer.lr": str(RegressionConfig().train.optimizer.lr)}
    assert expected.items() <= found.items()
