"""A network cut in two is the network, and what lies below the cut never changes."""

import copy
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from semisup.config import ModelConfig, PipelineConfig
from semisup.errors import UserError
from semisup.networks.cuts import cut
from semisup.networks.models import build_model
from semisup.networks.pretrained import imagenet_normalization, weights_digest
from semisup.stages.support.models.configured import network, weights_files
from semisup.stages.support.models.saved import load_model
from tests.mistakes import user_mistake

CASES = [
    ("efficientnet_lite0", 64, 7),
    ("timm:test_efficientnet", 64, 5),
    ("timm:mobilenetv3_small_050", 64, 6),
    ("timm:test_vit", 64, 6),
    ("timm:test_vit3", 32, 9),
    ("timm:test_convnext", 64, 4),
    ("timm:test_resnet", 64, 4),
    ("resnet18_small", 16, 4),
    ("torchvision:resnet18", 64, 4),
    ("torchvision:convnext_tiny", 32, 4),
]


def built(name: str, side: int) -> Any:
    mean, std = imagenet_normalization(name)
    return build_model(name, (3, side, side), 5, mean=mean, std=std, seed=0)


def pixels(side: int, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("name", "side", "blocks"), CASES)
def test_tail_of_body_is_the_network_bit_for_bit_wherever_it_is_cut(name, side, blocks):
    model = built(name, side).eval()
    images = model.preprocess(pixels(side))
    with torch.inference_mode():
        expected = model.backbone(images)
        for last in range(1, blocks + 1):
            body, tail = cut(model.backbone, last)
            assert torch.equal(tail(body(images)), expected)
            assert torch.equal(copy.deepcopy(tail)(copy.deepcopy(body)(images)), expected)
        assert torch.equal(model.backbone(images), expected)
    with pytest.raises(UserError, match=f"has {blocks} blocks; use at most last_{blocks}, or all"):
        cut(model.backbone, blocks + 1)


@pytest.mark.parametrize(("name", "side", "blocks"), CASES)
def test_every_tensor_belongs_to_one_part_under_the_networks_own_name(name, side, blocks):
    backbone = built(name, side).backbone
    whole = backbone.state_dict(keep_vars=True)
    sizes = []
    for last in range(1, blocks + 1):
        body, tail = (part.state_dict(keep_vars=True) for part in cut(backbone, last))
        assert not body.keys() & tail.keys()
        assert {**body, **tail}.keys() == whole.keys()
        assert all(value is whole[key] for key, value in {**body, **tail}.items())
        sizes.append(len(tail))
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "timm:test_vit", "timm:test_convnext", "resnet18_small"])
def test_what_lies_below_the_cut_does_not_learn_and_no_running_figure_moves(name):
    model = built(name, 64)
    model.freeze(2)
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(pixels(64)).square().sum().backward()
    optimizer.step()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    tail = {f"backbone.{key}" for key in model.tail.state_dict()}
    assert changed
    assert changed <= tail
    assert not any("running" in key for key in changed)
    # Learned by the tail alone on activations, it is the same.
    other = built(name, 64)
    other.freeze(2)
    other.train()
    alone = other.tail.train()
    with torch.no_grad():
        activations = other.activations(pixels(64))
    optimizer = torch.optim.SGD(alone.parameters(), lr=0.1)
    alone(activations).square().sum().backward()
    optimizer.step()
    for key, value in other.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[key], rtol=1e-5, atol=1e-6)


def test_dropout_behind_the_blocks_acts_in_training_alone():
    import timm

    model = built("timm:test_efficientnet", 64)
    model.backbone = timm.create_model("test_efficientnet", num_classes=5, drop_rate=0.5)
    model.freeze(1)
    images = pixels(64)
    with torch.no_grad():
        kept = model.train().activations(images)
        assert torch.equal(kept, model.eval().activations(images))
        assert torch.equal(model(images), model(images))
        assert not torch.equal(model.train()(images), model(images))
        assert not torch.equal(model.tail.train()(kept), model.tail.train()(kept))


@pytest.mark.parametrize("name", ["small_cnn", "torchvision:mobilenet_v2", "timm:test_byobnet"])
def test_networks_that_have_no_cut_are_refused_in_one_line(name):
    with user_mistake(match="use head or all"):
        built(name, 64).freeze(2)


def test_only_a_pretrained_network_keeps_blocks_and_their_number_is_one_digit():
    assert ModelConfig(name="efficientnet_lite0", train="last_2").last_blocks == 2
    assert ModelConfig().last_blocks == 0
    with pytest.raises(ValidationError, match="train='last_2', but weights is unset"):
        ModelConfig.model_validate({"train": "last_2"})
    for wrong in ("last_0", "last_10", "last"):
        with pytest.raises(ValidationError, match="last_1"):
            ModelConfig.model_validate({"name": "efficientnet_lite0", "train": wrong})


def test_a_pipeline_trains_the_last_blocks_alone_and_leaves_the_whole_network(
    tiny_config: PipelineConfig, stage_runner, tmp_path
):
    values: dict[str, Any] = tiny_config.model_dump()
    values["model"] = {"name": "efficientnet_lite0", "train": "last_2"}
    values["baseline"] |= {"ema_decay": 0.9, "epochs": 2}
    config = PipelineConfig.model_validate(values)
    folders = stage_runner(config, tmp_path / "run", ("split", "baseline"))
    model = load_model(folders["baseline"])
    assert model.last_blocks == 2
    begun = network(config, (1, 8, 8), 10, [0.5], [0.5], seed=0).backbone.state_dict()
    tail = model.tail.state_dict()
    for key, value in model.backbone.state_dict().items():
        assert key in tail or torch.equal(value, begun[key]), key
    learned = [key for key, value in tail.items() if not torch.equal(value, begun[key])]
    assert {key.partition(".")[0] for key in learned} == {"blocks", "conv_head", "bn2", "classifier"}
    assert weights_digest(weights_files(config)) in (folders["baseline"] / "model.json").read_text()
