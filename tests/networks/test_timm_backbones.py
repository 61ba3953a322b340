"""timm's networks: any size that they take, any head, features as timm gives them, and weights from where they are."""

from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.networks.families.timm import doubtful_normalization
from semisup.networks.heads import head_name
from semisup.networks.models import build_model
from semisup.networks.pretrained import begin_with, find_weights, imagenet_normalization
from semisup.stages.preflight.check import check
from tests.mistakes import user_mistake

FAMILIES = {
    "test_vit": 64,
    "test_vit3": 64,  # pools by attention
    "test_convnext": 64,
    "test_resnet": 64,
    "test_efficientnet": 64,
    "test_byobnet": 64,
    "mobilenetv3_small_050": 64,  # its head has a hidden layer: 576 features are seen, 1024 come out
    "resnetv2_18": 64,  # its last layer is a 1×1 convolution
    "dla46_c": 64,  # the same, and it flattens after it
    "swin_tiny_patch4_window7_224": 64,
    "vit_tiny_patch16_224": 32,
}


def pixels(side: int, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def built(name: str, side: int, num_classes: int = 5, seed: int = 0) -> Any:
    mean, std = imagenet_normalization(f"timm:{name}")
    return build_model(f"timm:{name}", (3, side, side), num_classes, mean=mean, std=std, seed=seed)


def refused(name: str, shape: tuple[int, int, int] = (3, 64, 64), **options: Any) -> str:
    with user_mistake() as caught:
        build_model(name, shape, 5, mean=[0.5] * shape[0], std=[0.5] * shape[0], seed=0, **options)
    return str(caught.value)


@pytest.mark.parametrize(("name", "side"), FAMILIES.items())
def test_features_are_those_of_timms_network_without_a_classifier(name, side):
    model, images = built(name, side).eval(), pixels(side)
    bare = timm.create_model(name, num_classes=0, **size_options(name, side)).eval()
    heads = (f"{head_name(model.backbone)}.", "head.fc.", "fc.")
    body = {key: value for key, value in model.backbone.state_dict().items() if not key.startswith(heads)}
    found = bare.load_state_dict(body, strict=False)
    assert not found.unexpected_keys
    assert not found.missing_keys
    with torch.inference_mode():
        assert torch.equal(model.features(images), bare(model.preprocess(images)))
        assert torch.equal(model.head(model.features(images)), model(images))
    assert isinstance(model.head, nn.Linear)
    assert model.head.in_features == bare.head_hidden_size
    assert model.head.out_features == 5


def size_options(name: str, side: int) -> dict[str, Any]:
    return {"dynamic_img_size": True} if name.startswith(("test_vit", "vit_", "swin_")) else {}


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "test_convnext", "vit_base_patch16_clip_224.openai"])
def test_normalization_is_what_timm_resolves_for_the_network(name):
    with torch.device("meta"):
        wanted = timm.data.resolve_model_data_config(timm.create_model(name))
    assert imagenet_normalization(f"timm:{name}") == (wanted["mean"], wanted["std"])


def test_a_tag_of_weights_decides_the_normalization():
    halves, imagenet = (0.5, 0.5, 0.5), (0.485, 0.456, 0.406)
    assert imagenet_normalization("timm:tf_efficientnet_b0.ap_in1k")[0] == halves
    assert imagenet_normalization("timm:tf_efficientnet_b0", "in1k")[0] == imagenet
    assert imagenet_normalization("timm:tf_efficientnet_b0", "ap_in1k")[0] == halves
    assert "name their tag" in str(doubtful_normalization("timm:tf_efficientnet_b0", "w.pth"))
    for name, weights in (("tf_efficientnet_b0.in1k", "w.pth"), ("tf_efficientnet_b0", "in1k"), ("resnet50", "w.pth")):
        assert doubtful_normalization(f"timm:{name}", weights) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:resnet_18", "timm:resnet18"),
        ("timm:vit_smal_patch14_dinov2", "timm:vit_small_patch14_dinov2"),
        ("timm:vit_small_patch14_dinov2.lvd", "use one of lvd142m, or no tag"),
        ("timm:convnext_tiny_in22ft1k", r"timm:convnext_tiny.fb_in22k_ft_in1k?"),
        ("timm:%%", "timm.list_models() lists them"),
        ("timm:hf-hub:timm/resnet18.a1_in1k", "model.weights: hf-hub:timm/resnet18.a1_in1k"),
    ],
)
def test_a_name_that_timm_has_not_is_refused_with_the_nearest_ones(name, words):
    assert words in refused(name)


@pytest.mark.parametrize(
    ("name", "side", "takes"),
    [
        ("vit_tiny_patch16_224", 30, "was made for 224×224, and takes all whose sides are multiples of 16"),
        ("swin_tiny_patch4_window7_224", 30, "multiples of 4"),
        ("vgg11", 16, "was made for 224×224; set data.size"),
    ],
)
def test_a_size_that_a_network_refuses_is_one_line_with_those_that_it_takes(name, side, takes):
    line = refused(f"timm:{name}", (3, side, side))
    assert f"{side}×{side} pixels" in line
    assert takes in line


def test_options_of_other_networks_are_refused():
    assert "set model.dropout=null" in refused("timm:test_resnet", dropout=0.1)


def test_a_vit_of_another_size_interpolates_the_positions_it_was_made_with(tmp_path):
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=9).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    model = built("vit_tiny_patch16_224", 96).eval()
    begin_with(model.backbone, tmp_path / "w.pth", "timm:vit_tiny_patch16_224")
    dynamic = timm.create_model("vit_tiny_patch16_224", num_classes=9, dynamic_img_size=True).eval()
    dynamic.load_state_dict(theirs.state_dict())
    dynamic.reset_classifier(0)
    with torch.inference_mode():
        assert torch.equal(model.features(pixels(96)), dynamic(model.preprocess(pixels(96))))


def test_a_file_in_its_authors_layout_is_read_as_timm_reads_it(tmp_path):
    """ConvNeXt's authors name its layers otherwise, and wrap them; DINOv2's add a token for masks."""
    theirs = timm.create_model("test_vit", num_classes=9)
    state = theirs.state_dict() | {"mask_token": torch.zeros(1, 64)}
    torch.save({"model": state}, tmp_path / "w.pth")
    model = built("test_vit", 64)
    begin_with(model.backbone, tmp_path / "w.pth", "timm:test_vit")
    for key, value in model.backbone.state_dict().items():
        assert key.startswith("head.") or torch.equal(value, theirs.state_dict()[key]), key

    theirs = timm.create_model("convnext_atto_ols", num_classes=9)
    published = {
        as_convnexts_authors(key): value.flatten(1) if "mlp.fc" in key and value.ndim == 4 else value
        for key, value in theirs.state_dict().items()
    }
    assert published.keys() != theirs.state_dict().keys()
    torch.save({"model": published}, tmp_path / "w.pth")
    model = built("convnext_atto_ols", 32)
    begin_with(model.backbone, tmp_path / "w.pth", "timm:convnext_atto_ols")
    for key, value in model.backbone.state_dict().items():
        assert key.startswith("head.fc.") or torch.equal(value, theirs.state_dict()[key]), key


def as_convnexts_authors(key: str) -> str:
    """https://github.com/facebookresearch/ConvNeXt, models/convnext.py."""
    renamed = {"stem.": "downsample_layers.0.", "head.fc.": "head.", "head.norm.": "norm.", ".blocks.": "."}
    renamed |= {"conv_dw": "dwconv", "mlp.fc": "pwconv"}
    renamed |= {f"stages.{stage}.downsample.": f"downsample_layers.{stage}." for stage in range(1, 4)}
    return reduce(lambda name, pair: name.replace(*pair), renamed.items(), key)


def test_weights_of_another_network_are_refused_in_one_line(tmp_path):
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pth")
    for name in ("test_vit", "test_convnext"):
        with user_mistake(match=r"does not fit model\.name='timm:test_"):
            begin_with(built(name, 64).backbone, tmp_path / "w.pth", f"timm:{name}")


def test_a_network_with_two_heads_begins_with_weights_of_other_classes(tmp_path):
    name = "deit_tiny_distilled_patch16_224"
    torch.save(timm.create_model(name, num_classes=9).state_dict(), tmp_path / "w.pth")
    begin_with(built(name, 32).backbone, tmp_path / "w.pth", f"timm:{name}")


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("r160_in1k", r"set model\.download: true"),
        ("DEFAULT", r"set model\.download: true"),
        ("hf-hub:timm/test_vit.r160_in1k", r"set model\.download: true"),
        ("hf-hub:not a repository", "use hf-hub:OWNER/NAME"),
        ("absent.pth", r"one of timm's own \(DEFAULT, r160_in1k\), or hf-hub:OWNER/NAME"),
    ],
)
def test_nothing_is_fetched_unless_the_config_says_so(weights, words):
    with pytest.raises(UserError, match=words):
        find_weights(weights, "timm:test_vit", download=False)


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fail(*_: Any, **__: Any) -> None:
        raise LocalEntryNotFoundError("An error happened\nwhile trying") from OSError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(UserError, match=r"cannot be fetched from \S+: no route to host; name a file$"):
        find_weights("DEFAULT", "timm:test_vit", download=True)


def test_what_the_hub_has_kept_here_is_used_with_its_own_normalization(tmp_path, monkeypatch):
    import huggingface_hub

    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(
        '{"architecture": "test_vit", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}'
    )

    def kept(repository: str, name: str, revision: str | None, local_files_only: bool) -> str:
        assert (repository, revision, local_files_only) == ("me/vit", "v2", True)
        if not (tmp_path / name).exists():
            raise huggingface_hub.errors.LocalEntryNotFoundError(name)
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", kept)
    file = find_weights("hf-hub:me/vit@v2", "timm:test_vit", download=False)
    assert file == tmp_path / "pytorch_model.bin"
    begin_with(built("test_vit", 64).backbone, file, "timm:test_vit")
    assert imagenet_normalization("timm:test_vit", "hf-hub:me/vit@v2") == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_a_config_with_a_network_of_timm_is_checked_before_it_runs(tiny_config: PipelineConfig, tmp_path: Path):
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pth")
    model = {"name": "timm:test_resnet", "weights": str(tmp_path / "w.pth"), "train": "head"}
    check(PipelineConfig.model_validate(tiny_config.model_dump() | {"model": model}))
    model |= {"name": "timm:test_vit"}
    with pytest.raises(UserError, match="multiples of 16"):
        check(PipelineConfig.model_validate(tiny_config.model_dump() | {"model": model}))
