"""A pretrained network whose last layer alone is trained: the same with kept features and without, nothing twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from semisup.checks.warnings import config_warnings
from semisup.config import PipelineConfig
from semisup.delivery.predict import Predictor
from semisup.errors import UserError
from semisup.networks.models import build_model
from semisup.stages.preflight.check import check
from semisup.stages.support.features import features_key
from semisup.stages.support.images import pool_of
from semisup.stages.support.models.configured import fresh_model
from semisup.stages.support.models.saved import load_model
from semisup.system.json_files import read_json
from semisup.training.predict import predict_probabilities


@pytest.fixture(scope="module")
def weights(weights_of: Callable[[str], Path]) -> Path:
    return weights_of("small_cnn")


@pytest.fixture
def config(tiny_config: PipelineConfig, weights: Path, tmp_path: Path) -> PipelineConfig:
    values: dict[str, Any] = tiny_config.model_dump()
    values["model"] = {"name": "small_cnn", "weights": str(weights), "train": "head"}
    values["data"]["cache"] = tmp_path / "cache"
    values["pseudo_label"]["threshold"] = 0.5
    values["rounds"] = 2
    return PipelineConfig.model_validate(values)


def test_a_pipeline_of_two_rounds_asks_the_frozen_network_once_about_every_image(
    config, stage_runner, looked_at, tmp_path
):
    folders = stage_runner(config, tmp_path / "run")
    pool = pool_of(config)
    assert sum(looked_at) == len(pool) + read_json(folders["split"] / "dataset.json")["test_size"]
    stage_runner(config, tmp_path / "again")
    assert sum(looked_at) == len(pool) + read_json(folders["split"] / "dataset.json")["test_size"]
    for step in ("baseline", "joint", "joint-2", "pseudo_label-2"):
        for file in ("weights.safetensors", "pseudo_labels.parquet"):
            if (folders[step] / file).exists():
                assert (folders[step] / file).read_bytes() == (tmp_path / "again" / step / file).read_bytes()


def test_what_is_left_is_the_whole_network_whose_body_is_the_given_one(config, weights, stage_runner, tmp_path):
    folders = stage_runner(config, tmp_path / "run", ("split", "baseline", "pseudo_label", "joint"))
    given = torch.load(weights, weights_only=True)
    for step in ("baseline", "joint"):
        model = load_model(folders[step])
        for key, value in model.backbone.state_dict().items():
            assert torch.equal(value, given[key]) != key.startswith("11."), key
    # What the pseudo-label table says comes from features; here the images go through the whole network.
    import pandas as pd

    pseudo_labels = pd.read_parquet(folders["pseudo_label"] / "pseudo_labels.parquet")
    model, images = load_model(folders["baseline"]), pool_of(config).images
    said = predict_probabilities(model, images[torch.from_numpy(pseudo_labels["index"].to_numpy().copy())])
    torch.testing.assert_close(
        torch.from_numpy(pseudo_labels["confidence"].to_numpy().copy()), said.max(dim=1).values, rtol=1e-4, atol=1e-5
    )
    predictor = Predictor.load(folders["joint"], None, torch.device("cpu"))
    assert predictor.target.channels == "gray"
    assert predictor.probabilities(images[:3].numpy()).shape == (3, 10)


def test_training_on_features_is_training_the_head_of_the_whole_network(config, stage_runner, monkeypatch, tmp_path):
    names = ("split", "baseline")
    with_features = stage_runner(config, tmp_path / "features", names)
    monkeypatch.setattr("semisup.config.TrainConfig.sees_images_as_they_are", property(lambda self: False))
    without = stage_runner(config, tmp_path / "images", names)
    ours, theirs = (load_model(folders["baseline"]).state_dict() for folders in (with_features, without))
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-3, atol=1e-3)


def test_features_are_known_by_what_decides_them_alone(config, weights, stage_runner, tmp_path):
    from semisup.data.facts import DatasetFacts

    split = stage_runner(config, tmp_path / "run", ("split",))["split"]
    facts, pool = DatasetFacts.read(split), pool_of(config)
    model = fresh_model(config, facts, "one")
    key = features_key(model, pool, "pool")
    other_head = fresh_model(config, facts, "two")
    assert not torch.equal(model.head.weight, other_head.head.weight)
    assert features_key(other_head, pool, "pool") == key
    other_body = fresh_model(config, facts, "one")
    with torch.no_grad():
        next(other_body.backbone.parameters())[0, 0, 0, 0] += 1e-6
    assert features_key(other_body, pool, "pool") != key
    model.preprocess.mean += 0.01
    assert features_key(model, pool, "pool") != key


def test_the_digest_of_the_weights_counts_and_their_path_does_not(config, weights, tmp_path):
    from flows.pipeline.reuse import lineage_for
    from semisup.pipeline.plan import Step

    def fingerprint(file: Path) -> str:
        moved = config.model_copy(update={"model": config.model.model_copy(update={"weights": str(file)})})
        step = Step("baseline", "baseline", {})
        return lineage_for(step, moved, {}, check(moved).digests).fingerprint

    elsewhere = tmp_path / "elsewhere.pth"
    elsewhere.write_bytes(weights.read_bytes())
    assert fingerprint(elsewhere) == fingerprint(weights)
    state = torch.load(weights, weights_only=True)
    torch.save({key: value + 1 for key, value in state.items()}, elsewhere)
    assert fingerprint(elsewhere) != fingerprint(weights)


def test_a_network_without_a_linear_layer_at_its_end_cannot_be_probed(tiny_config, tmp_path):
    file, name = tmp_path / "w.pth", "torchvision:squeezenet1_1"
    model = build_model(name, (3, 32, 32), 10, mean=[0.5] * 3, std=[0.5] * 3, seed=0)
    torch.save(model.backbone.state_dict(), file)
    values = tiny_config.model_dump() | {"model": {"name": name, "weights": str(file), "train": "head"}}
    from semisup.stages.preflight import check as preflight

    config = PipelineConfig.model_validate(values)
    with pytest.raises(UserError, match="does not end with a linear layer"):
        preflight._check_probe(config, _frozen(model), (3, 32, 32))


def _frozen(model: Any) -> Any:
    model.freeze()
    return model


def test_views_that_cannot_be_kept_are_a_warning(config):
    values = config.model_dump()
    values["joint"]["augment"] = {"shift": 0.1}
    warnings = config_warnings(PipelineConfig.model_validate(values), 10)
    assert [line for line in warnings if "model.train='head'" in line and "joint learns from augmented" in line]
    assert not [line for line in config_warnings(config, 10) if "model.train" in line]


def test_weights_of_an_earlier_run_on_gray_images_serve_gray_images_with_its_own_figures(
    tiny_config, stage_folders, stage_runner, tmp_path
):
    values: dict[str, Any] = tiny_config.model_dump()
    earlier = stage_folders["baseline"] / "weights.safetensors"
    values["model"] |= {"weights": str(earlier), "train": "head"}
    values["data"]["cache"] = tmp_path / "cache"
    config = PipelineConfig.model_validate(values)
    check(config)
    folders = stage_runner(config, tmp_path / "run", ("split", "baseline"))
    ours, theirs = (load_model(folder["baseline"]) for folder in (folders, stage_folders))
    assert (ours.preprocess.mean.shape, ours.preprocess.mean) == (theirs.preprocess.mean.shape, theirs.preprocess.mean)
    images = pool_of(config).images[:20]
    torch.testing.assert_close(ours.features(images), theirs.features(images))
    # Asked for, the data set's figures are taken; here they are those of the same images.
    values["model"]["normalize"] = "data"
    check(PipelineConfig.model_validate(values))
