"""Which model and which pseudo-labels a name means, in a store with a finished pipeline."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from flows.cli import app
from flows.store.exportable import find_labels
from flows.store.served import MODELS, find_model
from semisup.data.sources import load_test
from semisup.errors import UserError
from semisup.stages.support.models.saved import model_digest
from semisup.tracking.places.tag_names import HIDDEN
from semisup.tracking.tracker import Tracker

pytestmark = [
    pytest.mark.prefect,
    # MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


@pytest.fixture
def ids(rerunnable, finished_run):
    stages = {name: stage["run_id"] for name, stage in finished_run.result["stages"].items()}
    return stages | {"pipeline": finished_run.result["run_id"]}


def test_a_pipeline_its_evaluation_and_its_champion_are_the_model_that_was_kept(ids, finished_run, tmp_path):
    kept = "joint" if finished_run.result["student_kept"] else "baseline"
    folder = find_model(ids[kept], tmp_path).folder
    for name in ("pipeline", "evaluate"):
        assert find_model(ids[name], tmp_path).folder == folder
        assert find_model(ids[name][:8], tmp_path).folder == folder
    assert find_model("models:/tiny@champion", tmp_path).folder == folder
    assert find_model("models:/tiny/1", tmp_path).folder == folder
    assert find_model(ids["baseline"], tmp_path).folder != find_model(ids["joint"], tmp_path).folder


def test_the_temperature_is_the_one_that_an_evaluation_fitted_for_this_very_model(rerunnable, ids, tmp_path):
    assert find_model(ids["joint"], tmp_path).temperature is None
    tracker = Tracker.existing(rerunnable)
    tracker.client.log_metric(ids["evaluate"], "student_temperature", 1.75)
    tracker.client.log_metric(ids["evaluate"], "baseline_temperature", 0.5)
    assert find_model(ids["joint"], tmp_path).temperature == 1.75
    assert find_model(ids["baseline"], tmp_path).temperature == 0.5
    assert find_model("models:/tiny@champion", tmp_path).temperature in {1.75, 0.5}


def test_what_is_no_model_is_named_in_one_line(rerunnable, ids, tmp_path):
    tracker = Tracker.existing(rerunnable)
    for name, said in (
        (ids["split"], "has no model"),
        ("models:/tiny", "not of the form"),
        ("models:/tiny/9", "not in this store"),
        ("models:/nobody@champion", "not in this store"),
        ("models:/tiny@nobody", "not in this store"),
    ):
        with pytest.raises(UserError, match=said):
            find_model(name, tmp_path)
    weights = tracker.artifacts(ids["joint"], tmp_path) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00\x00")
    with pytest.raises(UserError, match=r"weights.safetensors was changed"):
        find_model(ids["joint"], tmp_path)


def test_the_command_says_what_evaluate_said(rerunnable, ids, tmp_path):
    (tmp_path / "digits").mkdir()
    for number, image in enumerate(load_test("digits", None, False).images[:30].numpy()):
        Image.fromarray(image[0]).save(tmp_path / "digits" / f"{number:02d}.png")
    arguments = ["predict", ids["joint"][:8], str(tmp_path / "digits"), "--out", str(tmp_path / "p.parquet")]
    outcome = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    folder = Tracker.existing(rerunnable).artifacts(ids["evaluate"], tmp_path)
    evaluated = pd.read_parquet(folder / "predictions.parquet").head(30)
    table = pd.read_parquet(tmp_path / "p.parquet")
    assert table["label"].astype(int).tolist() == evaluated["student_label"].tolist()
    np.testing.assert_allclose(table["confidence"], evaluated["student_confidence"], rtol=1e-4)


def test_the_labels_of_a_pipeline_are_those_of_the_model_that_it_kept(rerunnable, ids, finished_run, tmp_path):
    tracker = Tracker.existing(rerunnable)
    for name in (ids["pipeline"], ids["labels"][:10]):
        found = find_labels(name, tmp_path)
        assert found.run_id == ids["labels"]
        assert found.split == tracker.artifacts(ids["split"], tmp_path)
        assert found.config == finished_run.config
    kept = "joint" if finished_run.result["student_kept"] else "baseline"
    assert tracker.get(ids["labels"]).tags["upstream.kept"] == ids[kept]
    teachers = pd.read_parquet(find_labels(ids["pipeline"], tmp_path).pseudo_labels / "pseudo_labels.parquet")[
        "teacher"
    ]
    assert set(teachers) == {f"{MODELS[kept]}:{model_digest(tracker.artifacts(ids[kept], tmp_path))}"}


def test_the_table_that_a_student_learned_from_is_had_by_naming_its_run(rerunnable, ids, tmp_path):
    assert find_labels(ids["pseudo_label"], tmp_path).run_id == ids["pseudo_label"]
    with pytest.raises(UserError, match="has no labels"):
        find_labels(ids["joint"], tmp_path)


def test_a_pipeline_of_before_final_labels_is_not_taken_for_one_that_has_them(rerunnable, ids, tmp_path):
    client = Tracker.existing(rerunnable).client
    client.delete_tag(ids["pipeline"], HIDDEN + "step.labels")
    for step, run in (
        (f"{HIDDEN}step.pseudo_label-10", ids["pseudo_label"]),
        (f"{HIDDEN}step.pseudo_label-2", ids["baseline"]),
    ):
        client.set_tag(ids["pipeline"], step, run)
    for command in (["export", "--format", "csv"], ["review"]):
        said = CliRunner().invoke(app, [command[0], ids["pipeline"], *command[1:]], catch_exceptions=False)
        assert said.exit_code == 2
        (line,) = said.stderr.splitlines()
        assert "of an earlier version" in line
        assert f"run its config again, or name {ids['pseudo_label'][:8]} for the table of its teacher" in line


def test_the_export_command_writes_as_many_rows_as_were_accepted(rerunnable, ids, tmp_path):
    out = tmp_path / "labels.parquet"
    arguments = ["export", ids["pipeline"], "--format", "parquet", "--out", str(out)]
    outcome = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    pseudo_labels = pd.read_parquet(find_labels(ids["pipeline"], tmp_path).pseudo_labels / "pseudo_labels.parquet")
    assert pd.read_parquet(out)["id"].tolist() == pseudo_labels.loc[pseudo_labels["accepted"], "id"].tolist()
    for wrong in (["--format", "csv", "--out", str(out)], [*arguments[2:]], [*arguments[2:4], "--link"]):
        again = CliRunner().invoke(app, ["export", ids["pipeline"], *wrong], catch_exceptions=False)
        assert again.exit_code == 2
        assert len(again.stderr.splitlines()) == 1
