"""The temperature that goes out with a model: fitted in `evaluate`, on images that the model has not learned from."""

import numpy as np
import torch
from torch.nn import functional as F

from semisup.config.files import validate
from semisup.data.roles.split import Split
from semisup.data.sources import load_pool
from semisup.stages.support.models.saved import load_model
from semisup.system.json_files import read_json
from tests.conftest import TINY
from tests.listening import Listener


def test_each_model_gets_the_temperature_of_least_cross_entropy_on_the_calibration_images(stage_runner, tmp_path):
    asked = {"calibrate": {"method": "temperature"}, "promote": {"enabled": False}}
    config = validate(TINY | asked | {"split": TINY["split"] | {"calibration_images": 80}}, source="test")
    log = Listener()
    folders = stage_runner(config, tmp_path, logs={"evaluate": log})
    split = Split.read(folders["split"] / "split.parquet")
    images, truth = load_pool("digits", None, False).images[split.indices("calibration")], split.labels("calibration")
    found = read_json(folders["evaluate"] / "metrics.json")["temperature"]
    for name, stage in (("baseline", "baseline"), ("student", "joint")):
        with torch.inference_mode():
            logits = load_model(folders[stage])(images).double()
        grid = np.geomspace(0.05, 20, 3001)
        losses = [float(F.cross_entropy(logits / value, truth)) for value in grid]
        assert abs(np.log(found[name] / grid[int(np.argmin(losses))])) < 0.005
        assert log.figures[f"{name}_temperature"] == found[name]


def test_without_calibration_there_is_no_temperature(stage_folders):
    assert read_json(stage_folders["evaluate"] / "metrics.json")["temperature"] == {}
