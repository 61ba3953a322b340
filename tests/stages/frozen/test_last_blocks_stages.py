"""The last blocks alone are trained: on what is kept of the images below them, as in the whole network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semisup.checks.warnings import config_warnings
from semisup.config import AugmentConfig, PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.pipeline.log import Silence
from semisup.stages.open_world.elsewhere import compare_with_pool
from semisup.stages.open_world.unknown import find_unknown
from semisup.stages.support.features import views_of
from semisup.stages.support.images import pool_of
from semisup.stages.support.models.configured import fresh_model
from semisup.stages.support.models.saved import load_model
from semisup.training.batches import KeptViews, View
from tests.mistakes import user_mistake

NAME = "timm:test_efficientnet"
BASELINE = ("split", "baseline")


@pytest.fixture(scope="module")
def weights(weights_of: Callable[[str], Path]) -> Path:
    return weights_of(NAME)


@pytest.fixture
def values(tiny_config: PipelineConfig, weights: Path, tmp_path: Path) -> dict[str, Any]:
    values: dict[str, Any] = tiny_config.model_dump()
    values["model"] = {"name": NAME, "weights": str(weights), "train": "last_2", "precision": "float32"}
    values["data"]["cache"] = tmp_path / "cache"
    values["pseudo_label"]["threshold"] = 0.0
    for stage in ("baseline", "joint"):
        values[stage] |= {"epochs": 2, "batch_size": 25}
    values["joint"] |= {"epoch_over": "labeled", "ramp_start": 0, "ramp_end": 1}
    return values


def test_training_on_kept_activations_is_training_the_same_layers_of_the_whole_network(
    values, stage_runner, monkeypatch, tmp_path
):
    config = PipelineConfig.model_validate(values)
    kept = stage_runner(config, tmp_path / "kept")
    monkeypatch.setattr("semisup.config.TrainConfig.sees_images_as_they_are", property(lambda self: False))
    monkeypatch.setattr("semisup.config.JointConfig.sees_images_as_they_are", property(lambda self: False))
    whole = stage_runner(config, tmp_path / "whole")
    for step in ("baseline", "joint"):
        ours, theirs = (load_model(folders[step]).state_dict() for folders in (kept, whole))
        for key, value in theirs.items():
            torch.testing.assert_close(ours[key], value, rtol=1e-5, atol=1e-5, msg=f"{step} {key}")


def test_all_that_stages_ask_of_the_frozen_part_is_computed_once(values, stage_runner, looked_at, tmp_path):
    config = PipelineConfig.model_validate(values)
    folders = stage_runner(config, tmp_path / "run")
    everything = len(pool_of(config)) + DatasetFacts.read(folders["split"]).test_size
    assert sum(looked_at) == everything
    stage_runner(config, tmp_path / "again")
    assert sum(looked_at) == everything


def test_kept_views_stand_for_the_images_and_are_computed_once_for_all_seeds(values, stage_runner, looked_at, tmp_path):
    values["baseline"]["augment"] = values["joint"]["augment"] = {"shift": 0.2}
    values["joint"]["strong_augment"] = {"rotation": 30}
    values["model"]["kept_views"] = 3
    config = PipelineConfig.model_validate(values)
    folders = stage_runner(config, tmp_path / "run")
    facts = DatasetFacts.read(folders["split"])
    roles = {role: sum(counts) for role, counts in facts.class_counts.items()}
    plain = len(pool_of(config)) + facts.test_size
    assert sum(looked_at) == plain + 3 * roles["labeled"] + 6 * roles["unlabeled"]
    model = fresh_model(config, facts, "one")
    rows, augment = torch.tensor([3, 1]), AugmentConfig(shift=0.2)
    views = views_of(config, model, pool_of(config), rows, Silence(), augment=augment)
    other_seed = config.model_copy(update={"seed": 7})
    before = sum(looked_at)
    assert torch.equal(views_of(other_seed, model, pool_of(config), rows, Silence(), augment=augment), views)
    assert sum(looked_at) == before


def test_of_kept_views_training_draws_each_and_no_other():
    plain, augment = torch.zeros(2, 1), AugmentConfig(shift=0.1)
    table = torch.arange(8.0).view(2, 4, 1)
    images = KeptViews(plain, {augment: table})
    view = View(images, augment, 0, "test")
    drawn = [view(torch.tensor([1, 0])) for _ in range(60)]
    assert {float(batch[0]) for batch in drawn} == {4.0, 5.0, 6.0, 7.0}
    assert {float(batch[1]) for batch in drawn} == {0.0, 1.0, 2.0, 3.0}
    assert torch.equal(View(images, AugmentConfig(), 0, "clean")(torch.tensor([1])), plain[1:])
    # A share of a batch is the same rows of the whole.
    whole, share = View(images, augment, 5, "test"), View(images, augment, 5, "test")
    both = torch.tensor([0, 1])
    assert torch.equal(whole(both)[1:], share(both, torch.tensor([1])))


def test_views_that_the_cache_cannot_hold_are_one_line_and_plain_images_go_through_the_network(
    values, stage_runner, looked_at, tmp_path
):
    values["data"]["cache_limit"] = "100 KB"
    few = stage_runner(PipelineConfig.model_validate(values), tmp_path / "few", BASELINE)
    assert not looked_at
    assert (few["baseline"] / "weights.safetensors").exists()
    values["baseline"]["augment"] = {"shift": 0.2}
    values["model"]["kept_views"] = 100
    with user_mistake(match=r"data.cache_limit=0.0001 GB, but .* raise it"):
        stage_runner(PipelineConfig.model_validate(values), tmp_path / "many", BASELINE)


def test_kept_views_cannot_be_mixed_and_are_idle_where_none_is_looked_at(values):
    values["model"]["kept_views"] = 3
    assert [line for line in config_warnings(PipelineConfig.model_validate(values), 10) if "kept_views=3" in line]
    values["joint"]["augment"] = {"shift": 0.2}
    assert not [line for line in config_warnings(PipelineConfig.model_validate(values), 10) if "kept_views" in line]
    values["joint"]["mixup"] = {"alpha": 0.2}
    with pytest.raises(ValueError, match=r"kept_views=3, but joint\.mixup\.alpha=0\.2"):
        PipelineConfig.model_validate(values)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_unknown_images_and_pools_are_judged_by_what_the_last_layer_sees_kept_or_not(
    precision, values, stage_runner, tmp_path
):
    values["model"]["precision"] = precision
    values["pseudo_label"]["unknown"] = {"false_alarms": 0.2}
    values["pseudo_label"]["threshold"] = {"target_precision": 0.5}
    values["split"]["calibration_images"] = 60
    config = PipelineConfig.model_validate(values)
    folders = stage_runner(config, tmp_path / "run", BASELINE)
    split, facts = Split.read(folders["split"] / "split.parquet"), DatasetFacts.read(folders["split"])
    whole = config.model_copy(update={"data": config.data.model_copy(update={"cache_limit": "100 KB"})})
    found, theirs = (find_unknown(each, folders, split, facts, Silence()) for each in (config, whole))
    assert found is not None
    assert theirs is not None
    assert np.isfinite(found.scores).all()
    compared, other = (compare_with_pool(each, folders, split, facts, Silence()) for each in (config, whole))
    assert compared is not None
    assert other is not None
    if precision == "float32":
        np.testing.assert_allclose(found.scores, theirs.scores, atol=0.01)
        assert compared.p_values["confidence"] == pytest.approx(other.p_values["confidence"], abs=0.01)
