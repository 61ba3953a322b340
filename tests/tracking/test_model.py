"""Models in MLflow: an export that needs none of this code, and the registry's champion."""

import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient

from semisup.frozen.looks import Looks
from semisup.frozen.network import EmbeddedProbe, ProbedClassifier
from semisup.networks.classifier import Classifier
from semisup.networks.models import build_model
from semisup.tracking import model as model_module
from semisup.tracking.model import log_model
from semisup.tracking.tracker import Tracker
from tests.waiting import LONG


def open_here(experiment: str = "tests") -> Tracker:
    return Tracker.open(experiment, Path.cwd())


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")


# --- the exported model -----------------------------------------------------------------------------------------------


def trained() -> Classifier:
    return build_model("small_cnn", (1, 8, 8), 10, mean=[0.3], std=[0.4], dropout=0.5, seed=1).eval()


def probe_of_two_views() -> Classifier:
    looks = Looks(mirror=True, center_crop=6)
    body = build_model("small_cnn", looks.shape((1, 8, 8)), 10, mean=[0.3], std=[0.4], seed=1)
    probe = EmbeddedProbe(body.head.in_features, 5, 10)
    torch.nn.init.normal_(probe.components)
    return ProbedClassifier.upon(body, probe, looks=looks).eval()


@pytest.fixture(scope="module", params=[trained, probe_of_two_views])
def exported(store_template, tmp_path_factory, request):
    """(store folder, model id, our network): one export, which takes seconds."""
    folder = tmp_path_factory.mktemp("exported")
    shutil.copy(store_template, folder / "mlflow.db")
    model = request.param()
    example = torch.arange(8 * 64, dtype=torch.int64).remainder(256).to(torch.uint8).view(8, 1, 8, 8)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType", category=UserWarning)
        patch.setattr(os, "environ", os.environ.copy())
        tracker = Tracker.open("tests", folder)
        with tracker.run("joint", {}) as run:
            model_id = log_model(tracker, run.id, model, example)
    return folder, model_id, model


def model_folder(exported) -> Path:
    folder, model_id, _ = exported
    (found,) = [path.parent for path in folder.rglob("MLmodel") if model_id in str(path)]
    return found


PREDICT = """
import sys
from pathlib import Path

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"semisup", "flows"}:
            raise ImportError(name + " is not to be had here")

sys.meta_path.insert(0, Blocker())
import mlflow
import numpy as np

model, images, out = sys.argv[1], np.load(sys.argv[2]), sys.argv[3]
loaded = mlflow.pyfunc.load_model(model)
np.savez(out, *[np.asarray(loaded.predict(images[:size])) for size in (1, 3, 20)])
assert not {"semisup", "flows"} & {name.partition(".")[0] for name in sys.modules}
"""


def test_the_exported_model_predicts_without_this_projects_code_for_batches_of_any_size(exported, tmp_path):
    folder, model_id, model = exported
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    arguments = [f"models:/{model_id}", str(tmp_path / "images.npy"), str(tmp_path / "out.npz")]
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    subprocess.run([sys.executable, "-c", PREDICT, *arguments], check=True, env=environment, cwd=tmp_path, timeout=LONG)
    with torch.inference_mode():
        expected = model(torch.from_numpy(images)).softmax(dim=1).numpy()
    with np.load(tmp_path / "out.npz") as predicted:
        for size, key in zip((1, 3, 20), predicted.files, strict=True):
            assert predicted[key].dtype == np.float32
            np.testing.assert_allclose(predicted[key], expected[:size], atol=1e-5)


def test_the_exported_model_is_an_exported_graph_and_no_pickle(exported):
    files = [path for path in model_folder(exported).rglob("*") if path.is_file()]
    assert not [path.name for path in files if path.suffix in {".pkl", ".pickle", ".pth", ".pt", ".joblib"}]
    (archive,) = [path for path in files if path.suffix == ".pt2"]
    with zipfile.ZipFile(archive) as members:
        graph = json.loads(members.read("model/models/model.json"))
    assert graph["graph_module"]


def test_the_exported_model_states_its_input_its_output_and_an_example(exported):
    import yaml

    stated = yaml.safe_load((model_folder(exported) / "MLmodel").read_text(encoding="utf-8"))
    (inputs,), (outputs,) = (json.loads(stated["signature"][side]) for side in ("inputs", "outputs"))
    assert inputs["tensor-spec"] == {"dtype": "uint8", "shape": [-1, 1, 8, 8]}
    assert outputs["tensor-spec"] == {"dtype": "float32", "shape": [-1, 10]}
    assert stated["saved_input_example_info"]
    requirements = (model_folder(exported) / "requirements.txt").read_text(encoding="utf-8")
    assert f"torch=={torch.__version__.partition('+')[0]}" in requirements
    assert "semisup" not in requirements


def test_the_exported_model_belongs_to_its_run(exported):
    folder, model_id, _ = exported
    client = client_of(folder)
    logged = client.get_logged_model(model_id)
    assert client.get_run(logged.source_run_id).info.run_name == "joint"
    assert str(logged.status) in {"READY", "LoggedModelStatus.READY"}


def test_logging_a_model_leaves_it_as_it_was_even_one_in_training_mode(store, monkeypatch):
    monkeypatch.setattr(model_module.Model, "log", lambda **options: type("Info", (), {"model_id": "m-1"}))
    model = build_model("small_cnn", (1, 8, 8), 10, mean=[0.3], std=[0.4], seed=1).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tracker = open_here()
    with tracker.run("a", {}) as run:
        log_model(tracker, run.id, model, torch.full((8, 1, 8, 8), 200, dtype=torch.uint8))
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == []
