"""A network whose last layer alone was trained is taken away as any other, without the weights that it began with."""

import json
import os

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from flows.cli import app
from semisup.config import PipelineConfig
from semisup.config.files import to_yaml
from semisup.data.sources import load_test
from semisup.networks.models import build_model
from semisup.tracking.tracker import Tracker

pytestmark = [
    pytest.mark.prefect,
    # MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


def ran(*arguments):
    outcome = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout


@pytest.mark.slow
def test_predict_export_review_and_pyfunc_serve_a_probe_as_evaluate_saw_it(
    store, prefect_server, tiny_config, tmp_path, monkeypatch
):
    weights = tmp_path / "w.pth"
    torch.save(
        build_model("small_cnn", (3, 8, 8), 7, mean=[0.5] * 3, std=[0.5] * 3, seed=11).backbone.state_dict(), weights
    )
    values = tiny_config.model_dump()
    values["name"] = "probe"
    values["model"] = {"name": "small_cnn", "weights": str(weights), "train": "head"}
    values["data"]["cache"] = tmp_path / "cache"
    values["pseudo_label"]["threshold"] = 0.15
    (store / "probe.yaml").write_text(to_yaml(PipelineConfig.model_validate(values)), encoding="utf-8")
    result = json.loads(ran("run", "probe.yaml", "--json").splitlines()[-1])
    weights.unlink()

    tracker = Tracker.existing(store)
    evaluated = pd.read_parquet(
        tracker.artifacts(result["stages"]["evaluate"]["run_id"], tmp_path) / "predictions.parquet"
    ).head(40)
    kept = "student" if result["student_kept"] else "baseline"
    images = load_test("digits", None, False).images[:40].numpy()
    for number, image in enumerate(images):
        Image.fromarray(image[0]).save(store / f"{number:02d}.png")
    ran("predict", result["run_id"], *sorted(store.glob("*.png")), "--out", "p.parquet")
    table = pd.read_parquet("p.parquet")
    assert table["label"].astype(int).tolist() == evaluated[f"{kept}_label"].tolist()
    np.testing.assert_allclose(table["confidence"], evaluated[f"{kept}_confidence"], rtol=1e-3)

    monkeypatch.setitem(os.environ, "MLFLOW_TRACKING_URI", tracker.uri)
    served = np.asarray(mlflow.pyfunc.load_model("models:/probe@champion").predict(images))
    np.testing.assert_array_equal(served.argmax(axis=1), evaluated[f"{kept}_label"])
    np.testing.assert_allclose(served.max(axis=1), evaluated[f"{kept}_confidence"], rtol=1e-3)

    ran("export", result["run_id"], "--format", "imagefolder", "--out", "folder")
    accepted = round(result["pseudo_label_coverage"] * 1197)
    assert len([*(store / "folder").glob("*/*.png")]) == accepted > 0
    ran("review", result["run_id"], "--budget", 3, "--suspects", 0, "--out", "page")
    assert len(pd.read_csv("page/candidates.csv")) == 3
