"""Networks side by side: each counts as much as another, sees images as it wants them, and stays what it was."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from semisup.config import ModelConfig, PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.delivery.predict import Predictor
from semisup.errors import UserError
from semisup.networks.families.efficientnet_lite import EMBEDDED
from semisup.networks.joined import TOTAL, join
from semisup.networks.models import build_model
from semisup.networks.pretrained import expect_weights, imagenet_normalization, weights_digest
from semisup.pipeline.plan import kept_step, read_kept
from semisup.pseudo_labels import TABLE_FILE
from semisup.stages.preflight.check import check
from semisup.stages.rungs import RUNGS, on_rung
from semisup.stages.support.images import pool_of
from semisup.stages.support.models.configured import network, weights_files
from semisup.stages.support.models.saved import load_model

NAMES = ("efficientnet_lite0", "efficientnet_lite2")
BOTH = "+".join(NAMES)
CONVNEXT = "timm:test_convnext"


def config_of(name: str, **model: Any) -> PipelineConfig:
    return PipelineConfig.model_validate(
        {
            "recipe": "graph",
            "data": {"name": "digits"},
            "split": {"labeled_per_class": 5},
            "model": {"name": name, "precision": "float32"} | model,
            "runtime": {"device": "cpu", "threads": 1, "inference": "torch"},
        }
    )


def features_of(name: str, images: Tensor, **model: Any) -> Tensor:
    shape = (images.shape[1], images.shape[2], images.shape[3])
    figures = [0.5] * shape[0]
    with torch.inference_mode():
        return network(config_of(name, **model), shape, 4, figures, figures, seed=0).eval().features(images)


def to_the_same_total(features: Tensor) -> Tensor:
    """What a network makes nothing of stays 0."""
    total = features.abs().sum(dim=1, keepdim=True)
    return TOTAL * features / total.where(total > 0, 1)


def pixels(count: int, channels: int = 3, side: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def convnext(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of another family, which wants other pixels."""
    file = tmp_path_factory.mktemp("weights") / "convnext.pth"
    model = build_model(CONVNEXT, (3, 64, 64), 4, mean=[0.5] * 3, std=[0.5] * 3, seed=7)
    torch.save(model.backbone.state_dict(), file)
    assert imagenet_normalization(CONVNEXT) != imagenet_normalization("efficientnet_lite0")
    return file


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("names", [NAMES, ("efficientnet_lite0", CONVNEXT), (CONVNEXT, "efficientnet_lite0")])
def test_the_features_are_those_of_each_network_alone_scaled_to_the_same_total(names, channels, convnext):
    images = pixels(3, channels)
    weights = {"weights": str(convnext)}
    joined = features_of("+".join(names), images, **(weights if CONVNEXT in names else {}))
    alone = [features_of(name, images, **(weights if name == CONVNEXT else {})) for name in names]
    expected = torch.cat([to_the_same_total(each) for each in alone], dim=1)
    torch.testing.assert_close(joined, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def finished(stage_runner: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[PipelineConfig, dict[str, Path]]:
    config = config_of(BOTH)
    data = config.data.model_copy(update={"cache": tmp_path_factory.mktemp("cache")})
    config = config.model_copy(update={"data": data})
    folders: dict[str, Path] = stage_runner(config, tmp_path_factory.mktemp("stages"))
    return config, folders


def test_a_saved_model_makes_of_an_image_what_its_networks_do_and_says_what_the_pipeline_said(finished):
    config, folders = finished
    facts, split = DatasetFacts.read(folders["split"]), Split.read(folders["split"] / "split.parquet")
    images = pool_of(config, facts).images[split.indices("unlabeled")]
    kept = folders[kept_step(config, read_kept(folders["keep"])["model"])]
    alone = [features_of(name, images[:20]) for name in NAMES]
    expected = torch.cat([to_the_same_total(each) for each in alone], dim=1)
    with torch.inference_mode():
        torch.testing.assert_close(load_model(kept).eval().features(images[:20]), expected, rtol=1e-4, atol=1e-4)
    said = Predictor.load(kept, None, torch.device("cpu")).probabilities(images.numpy())
    table = pd.read_parquet(folders["labels"] / TABLE_FILE).set_index("id").loc[split.ids("unlabeled")]
    assert (said.argmax(axis=1) == table["label"]).all()
    # In 8×8 pixels the networks see next to nothing, and what is scaled up is half rounding.
    np.testing.assert_allclose(said.max(axis=1), table["confidence"], rtol=0.01)


def test_every_networks_weights_count(finished):
    config, folders = finished
    expected = "+".join(EMBEDDED[name].sha256 for name in NAMES)
    assert check(config).digests.weights == weights_digest(weights_files(config)) == expected
    assert expected in (folders["joint"] / "model.json").read_text(encoding="utf-8")


def test_weights_that_changed_meanwhile_are_refused_whichever_networks_they_are(convnext, tmp_path):
    file = tmp_path / "w.pth"
    file.write_bytes(convnext.read_bytes())
    config = config_of(f"efficientnet_lite0+{CONVNEXT}", weights=str(file))
    expect_weights(weights_files(config))
    model = build_model(CONVNEXT, (3, 64, 64), 4, mean=[0.5] * 3, std=[0.5] * 3, seed=8)
    torch.save(model.backbone.state_dict(), file)
    with pytest.raises(UserError, match="changed while the pipeline ran"):
        network(config, (3, 64, 64), 4, [0.5] * 3, [0.5] * 3, seed=0)


def test_spaces_around_the_sign_are_nothing():
    assert ModelConfig(name=" + ".join(NAMES), train="probe").name == BOTH


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"name": f"{BOTH}+"}, r"\+ stands between the names of different networks"),
        ({"name": "efficientnet_lite0+efficientnet_lite0"}, r"\+ stands between the names of different networks"),
        ({"name": "efficientnet_lite0+features"}, r"\+ stands between the names of different networks"),
        ({"name": BOTH, "train": "last_2"}, "train='last_2', but name='.*' joins the features of 2 networks"),
        ({"name": BOTH, "train": "all"}, "use train: probe"),
        ({"name": f"efficientnet_lite0+{CONVNEXT}"}, "train='probe', but weights is unset"),
        (
            {"name": BOTH, "weights": "mine.pth"},
            "weights='mine.pth', but each of name='.*' begins with its installed ones",
        ),
    ],
)
def test_what_cannot_be_joined_is_refused_in_one_line(model, said):
    with pytest.raises(ValidationError, match=said) as caught:
        ModelConfig.model_validate({"train": "probe"} | model)
    assert len(caught.value.errors()) == 1


def test_networks_that_see_different_channels_are_not_joined():
    gray, color = (
        build_model("small_cnn", (channels, 28, 28), 4, mean=[0.5] * channels, std=[0.5] * channels, seed=0)
        for channels in (1, 3)
    )
    with pytest.raises(UserError, match="networks that see 1 and 3 channels"):
        join([gray, color], 4)


@pytest.mark.parametrize("rung", RUNGS)
def test_where_more_is_trained_than_a_probe_it_is_the_first_network(rung):
    config = PipelineConfig.model_validate({"recipe": "auto", "model": {"name": BOTH}})
    alone = PipelineConfig.model_validate({"recipe": "auto", "model": {"name": NAMES[0]}})
    assert on_rung(config, rung).model == on_rung(alone, rung).model
