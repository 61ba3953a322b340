"""Pretrained weights: every way in which they are saved, which of them are taken, and what does not fit."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import nn
from torchvision.models import get_model
from torchvision.transforms.v2 import functional as tv

from semisup.config import ModelConfig
from semisup.errors import UserError
from semisup.networks.family import IMAGENET
from semisup.networks.heads import head_name
from semisup.networks.models import build_model
from semisup.networks.pretrained import begin_with, expect_weights, find_weights, imagenet_normalization
from tests.mistakes import user_mistake

NAME = "torchvision:mobilenet_v3_small"
HEAD = "classifier.3."
SHAPE = (3, 32, 32)
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 256, (4, *SHAPE), dtype=torch.uint8, generator=GENERATOR)


def trained_elsewhere(num_classes: int = 1000) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return get_model("mobilenet_v3_small", weights=None, num_classes=num_classes)


def fresh(name: str = NAME, num_classes: int = 5) -> Any:
    return build_model(name, SHAPE, num_classes, mean=IMAGENET[0], std=IMAGENET[1], seed=1)


def saved(state: Any, file: Path) -> Path:
    if file.suffix == ".safetensors":
        safetensors.torch.save_file(state, file)
    else:
        torch.save(state, file)
    return file


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("weights.pth", dict),
        ("weights.safetensors", dict),
        ("checkpoint.pt", lambda state: {"epoch": 3, "model": state}),
        ("parallel.pt", lambda state: {f"module.{key}": value for key, value in state.items()}),
        ("ours.safetensors", lambda state: {f"backbone.{key}": value for key, value in state.items()}),
    ],
)
def test_all_weights_but_those_of_the_head_are_taken_however_they_were_saved(name, wrap, tmp_path):
    theirs, model = trained_elsewhere().state_dict(), fresh()
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    begin_with(model.backbone, saved(wrap(theirs), tmp_path / name), NAME)
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, before[key] if key.startswith(HEAD) else theirs[key]), key


def test_a_whole_model_gives_the_features_that_torchvision_and_its_preprocessing_give(tmp_path):
    theirs, model = trained_elsewhere().eval(), fresh().eval()
    begin_with(model.backbone, saved(theirs.state_dict(), tmp_path / "w.pth"), NAME)
    theirs.classifier[3] = nn.Identity()
    with torch.inference_mode():
        expected = theirs(tv.normalize(tv.to_dtype(IMAGES, torch.float32, scale=True), *map(list, IMAGENET)))
        torch.testing.assert_close(model.features(IMAGES), expected)


def test_a_gray_image_is_one_of_three_equal_channels():
    model = build_model(NAME, (1, 32, 32), 5, mean=IMAGENET[0], std=IMAGENET[1], seed=1).eval()
    color = fresh().eval()
    gray = IMAGES[:, :1]
    with torch.inference_mode():
        assert torch.equal(model(gray), color(gray.expand(-1, 3, -1, -1).contiguous()))


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "densenet121", "vit_b_32", "convnext_tiny", "regnet_y_400mf"])
def test_the_head_is_what_depends_on_the_number_of_classes(name):
    first, second = (get_model(name, weights=None, num_classes=classes).state_dict() for classes in (3, 4))
    differing = {key.rpartition(".")[0] for key in first if first[key].shape != second[key].shape}
    assert differing == {head_name(get_model(name, weights=None, num_classes=3))}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state | {"features.0.0.weight": torch.zeros(16, 1, 3, 3)}, r"features.0.0.weight is \(16, 1"),
        (lambda state: {k: v for k, v in state.items() if k != "features.0.1.bias"}, "features.0.1.bias is in the net"),
        (lambda state: state | {"more.weight": torch.zeros(1)}, "more.weight is in the file alone"),
        (lambda state: {"a": 1}, "holds no state dict"),
        (lambda state: nn.Linear(2, 2), "cannot be read as numbers alone"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(change, words, tmp_path):
    file = saved(change(dict(trained_elsewhere().state_dict())), tmp_path / "w.pth")
    with user_mistake(match=words) as caught:
        begin_with(fresh().backbone, file, NAME)
    assert str(file) in str(caught.value)


def test_a_file_that_is_no_weights_is_refused(tmp_path):
    for name in ("w.pth", "w.safetensors"):
        file = tmp_path / name
        file.write_bytes(b"no weights at all")
        with pytest.raises(UserError, match="cannot be read"):
            begin_with(fresh().backbone, file, NAME)


def test_weights_that_change_while_a_pipeline_runs_are_refused(tmp_path):
    file = saved(trained_elsewhere().state_dict(), tmp_path / "w.pth")
    expect_weights([file])
    begin_with(fresh().backbone, file, NAME)
    saved(trained_elsewhere(3).state_dict(), file)
    with pytest.raises(UserError, match="changed while the pipeline ran"):
        begin_with(fresh().backbone, file, NAME)


def test_nothing_is_fetched_unless_the_config_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    fetched = []
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, file, *_, **__: fetched.append((url, file)))
    with pytest.raises(UserError, match=r"set model\.download: true"):
        find_weights("DEFAULT", NAME, download=False)
    assert not fetched
    file = find_weights("DEFAULT", NAME, download=True)
    assert fetched == [(f"https://download.pytorch.org/models/{file.name}", str(file))]
    file.write_bytes(b"there")
    assert find_weights("DEFAULT", NAME, download=False) == file
    assert len(fetched) == 1


@pytest.mark.parametrize("ask", [lambda name: find_weights("DEFAULT", name, download=False), imagenet_normalization])
def test_weights_of_a_network_that_there_is_not_name_the_nearest(ask):
    with pytest.raises(UserError, match="'torchvision:resnet19' is not a known model; did you mean") as said:
        ask("torchvision:resnet19")
    assert "torchvision:resnet18" in str(said.value)


@pytest.mark.parametrize(("weights", "model"), [("absent.pth", NAME), ("DEFAULT", "small_cnn"), (".", NAME)])
def test_weights_that_are_not_there_are_refused(weights, model):
    with pytest.raises(UserError, match=r"model\.weights="):
        find_weights(weights, model, download=True)


def test_a_fetch_that_fails_is_one_line(tmp_path, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(UserError, match="cannot be fetched: no route to host"):
        find_weights("DEFAULT", NAME, download=True)


def test_normalization_is_what_torchvision_says_of_its_weights():
    assert imagenet_normalization("torchvision:resnet18") == IMAGENET
    assert imagenet_normalization("torchvision:efficientnet_v2_l") == ((0.5,) * 3, (0.5,) * 3)
    # torchvision's GoogLeNet turns ImageNet-normalized channels into ones from -1 to 1.
    from torchvision.models import GoogLeNet

    net = GoogLeNet(num_classes=3, transform_input=True, aux_logits=False, init_weights=False)
    pixels = tv.to_dtype(IMAGES, torch.float32, scale=True)
    expected = net._transform_input(tv.normalize(pixels, *map(list, IMAGENET)))
    torch.testing.assert_close(
        tv.normalize(pixels, *map(list, imagenet_normalization("torchvision:googlenet"))), expected
    )


def test_a_frozen_body_neither_learns_nor_moves_its_running_figures():
    model = fresh("resnet18_small")
    model.freeze()
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model(IMAGES).square().sum().backward()
    optimizer.step()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"backbone.fc.weight", "backbone.fc.bias"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"train": "head"}, "train='head', but weights is unset"),
        ({"download": True}, "download=true, but weights is unset"),
        ({"name": "pooled_cnn", "whiten": True, "weights": "w.pth"}, "whiten=true"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(values, words):
    with pytest.raises(ValidationError, match=words):
        ModelConfig.model_validate(values)
