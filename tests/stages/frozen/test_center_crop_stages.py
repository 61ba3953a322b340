"""A pipeline whose network looks at all of an image and at its center, from the folder to a prediction."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from semisup.config import PipelineConfig
from semisup.frozen.network import ProbedClassifier
from semisup.pipeline.log import Silence
from semisup.stages.support.features import features_key, features_of
from semisup.stages.support.images import images_for_test, pool_of
from semisup.stages.support.models.saved import load_model, load_placed
from tests.data.corpus import three_colors

SIDE, CROP = 45, 35


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PipelineConfig:
    root = three_colors(tmp_path_factory.mktemp("photos"), 8, 4, 6)
    return PipelineConfig.model_validate(
        {
            "recipe": "graph",
            "data": {"name": "folder", "root": root, "size": SIDE, "cache": tmp_path_factory.mktemp("cache")},
            "split": {"labeled_per_class": 6},
            "model": {"name": "efficientnet_lite0", "center_crop": CROP, "mirror": True, "precision": "float32"},
            "runtime": {"device": "cpu", "threads": 1},
        }
    )


@pytest.fixture(scope="module")
def folders(config: PipelineConfig, stage_runner: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found: dict[str, Path] = stage_runner(config, tmp_path_factory.mktemp("stages"))
    return found


def test_a_model_that_is_read_back_looks_at_the_views_that_it_was_trained_with(config, folders):
    said = json.loads((folders["joint"] / "model.json").read_text(encoding="utf-8"))
    assert (said["image_shape"], said["center_crop"]) == ([3, SIDE, SIDE], CROP)
    predictions = pd.read_parquet(folders["evaluate"] / "predictions.parquet")
    images = images_for_test(config).images
    for model in (load_placed(folders["joint"], config), load_model(folders["joint"])):
        with torch.inference_mode():
            confidence, label = model(images).softmax(dim=1).max(dim=1)
        np.testing.assert_array_equal(label, predictions["student_label"])
        np.testing.assert_allclose(confidence, predictions["student_confidence"], atol=1e-4)


def test_features_of_other_views_are_other_features(config, folders):
    model, pool = load_placed(folders["joint"], config), pool_of(config)
    assert isinstance(model, ProbedClassifier)
    kept = features_of(config, model, pool, "pool", Silence())
    with torch.inference_mode():
        torch.testing.assert_close(kept[:4], model.features(pool.images[:4]), atol=1e-4, rtol=1e-4)
    keys = {features_key(model, pool, "pool")}
    for other in ({"center_crop": None}, {"center_crop": CROP - 1}, {"center_crop": CROP, "mirror": False}):
        model.looks = model.looks.__class__(**{"mirror": True} | other)
        keys.add(features_key(model, pool, "pool"))
    assert len(keys) == 4
