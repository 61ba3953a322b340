"""Models: their sizes from the formula, the one preprocessing path, seeds, export, and what they refuse."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from semisup.errors import UserError
from semisup.networks.classifier import Preprocess
from semisup.networks.models import build_model
from tests.mistakes import user_mistake
from tests.waiting import LONG

GRAY, RGB = (1, 28, 28), (3, 32, 32)
WITH_OPTIONS = ["seed_cnn", "small_cnn", "paired_cnn", "pooled_cnn", "vgg_small"]
OWN_MODELS = [*WITH_OPTIONS, "resnet18_small"]


def build(name="small_cnn", shape=GRAY, num_classes=10, *, seed=0, **options):
    channels = shape[0]
    mean, std = (0.4, 0.5, 0.6)[:channels], (0.2, 0.3, 0.25)[:channels]
    return build_model(name, shape, num_classes, mean=mean, std=std, seed=seed, **options)


def batch(shape, size=4):
    return torch.randint(0, 256, (size, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def conv(inputs, outputs, kernel):
    return inputs * outputs * kernel**2


def linear(inputs, outputs):
    return inputs * outputs + outputs


def test_seed_cnn_has_the_parameters_of_the_source():
    convolutions = conv(1, 64, 3) + 64 + conv(64, 192, 3) + 192
    expected = convolutions + linear(192 * 6 * 6, 1024) + linear(1024, 512) + linear(512, 10)
    assert expected == 7_720_266
    assert parameters(build("seed_cnn")) == expected


def test_seed_cnn_has_the_layers_of_the_source_in_order():
    layers = [type(layer).__name__ for layer in build("seed_cnn").backbone]
    block = ["Conv2d", "ReLU", "MaxPool2d"]
    assert layers == [*block, *block, "Flatten", *["Dropout", "Linear", "ReLU"] * 2, "Linear"]


def test_small_cnn_has_33914_parameters_on_mnist():
    batch_norms = 2 * (16 + 32 + 64)
    expected = conv(1, 16, 5) + conv(16, 32, 3) + conv(32, 64, 3) + batch_norms + linear(64 * 4 * 4, 10)
    assert expected == 33_914
    assert parameters(build("small_cnn")) == expected


def test_small_cnn_without_batch_norm_has_biases_instead():
    expected = conv(1, 16, 5) + conv(16, 32, 3) + conv(32, 64, 3) + (16 + 32 + 64) + linear(64 * 4 * 4, 10)
    assert parameters(build("small_cnn", batch_norm=False)) == expected


def test_batch_norm_in_seed_cnn_follows_both_convolutions():
    layers = [type(layer) for layer in build("seed_cnn", batch_norm=True).backbone]
    after_convolutions = [layers[i + 1] for i, layer in enumerate(layers) if layer is nn.Conv2d]
    assert after_convolutions == [nn.BatchNorm2d, nn.BatchNorm2d]
    assert nn.BatchNorm2d not in [type(layer) for layer in build("seed_cnn").backbone]


@pytest.mark.parametrize(
    ("side", "strides"),
    [(28, [2, 2, 2]), (32, [2, 2, 2]), (16, [2, 2, 1]), (8, [2, 1, 1]), (7, [2, 1, 1]), (6, [1, 1, 1])],
)
def test_small_cnn_strides_only_while_the_map_keeps_a_side_of_four(side, strides):
    model = build("small_cnn", (1, side, side)).eval()
    convolutions = [layer for layer in model.backbone if isinstance(layer, nn.Conv2d)]
    assert [layer.stride[0] for layer in convolutions] == strides
    assert model(batch((1, side, side))).shape == (4, 10)


def test_paired_cnn_is_small_cnn_with_a_convolution_more_in_every_pair():
    more = [conv(c, c, 3) + 2 * c for c in (16, 32, 64)]  # and batch norm's scale and shift
    assert parameters(build("paired_cnn")) == parameters(build("small_cnn")) + sum(more)
    strides, kernels = (
        [getattr(layer, name)[0] for layer in build("paired_cnn").backbone if isinstance(layer, nn.Conv2d)]
        for name in ("stride", "kernel_size")
    )
    assert strides == [2, 1, 2, 1, 2, 1]
    assert kernels == [5, 3, 3, 3, 3, 3]


def test_pooled_cnn_has_the_same_295106_parameters_whatever_the_size_of_the_image():
    blocks = sum(conv(a, b, 3) + conv(b, b, 3) + 4 * b for a, b in ((24, 32), (32, 64), (64, 128)))
    expected = conv(3, 24, 2) + 24 + blocks + linear(128, 10)
    assert {parameters(build("pooled_cnn", (3, side, side))) for side in (8, 32, 96)} == {expected}
    assert expected == 295_106


@pytest.mark.parametrize(("side", "pools"), [(28, 3), (32, 3), (64, 3), (16, 2), (8, 1), (7, 1), (6, 0), (2, 0)])
def test_pooled_cnn_pools_only_while_the_map_keeps_a_side_of_three(side, pools):
    model = build("pooled_cnn", (1, side, side), width=0.1).eval()
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in model.backbone) == pools
    assert model(batch((1, side, side))).shape == (4, 10)


def test_pooled_cnn_refuses_images_of_a_single_pixel():
    with pytest.raises(UserError, match="at least 2 pixels a side, but these are 1×1"):
        build("pooled_cnn", (1, 1, 1))


def test_vgg_small_has_349610_parameters_on_mnist():
    pairs = conv(1, 32, 3) + conv(32, 32, 3) + conv(32, 64, 3) + conv(64, 64, 3) + conv(64, 128, 3) + conv(128, 128, 3)
    channels = 2 * (32 + 64 + 128)
    classes = linear(128 * 7 * 7, 10)
    assert pairs + 2 * channels + classes == 349_610
    assert parameters(build("vgg_small")) == 349_610
    assert parameters(build("vgg_small", batch_norm=False)) == pairs + channels + classes  # biases in its place


@pytest.mark.parametrize(
    ("side", "pools", "last_side"), [(28, 2, 7), (32, 3, 4), (64, 3, 8), (16, 2, 4), (8, 1, 4), (7, 0, 7), (4, 0, 4)]
)
def test_vgg_small_pools_only_while_the_map_keeps_a_side_of_four(side, pools, last_side):
    model = build("vgg_small", (1, side, side), width=0.1).eval()
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in model.backbone) == pools
    assert list(model.backbone)[-1].in_features == 13 * last_side**2  # 128 · 0.1, rounded
    assert model(batch((1, side, side))).shape == (4, 10)


def test_vgg_small_is_made_of_pairs_of_three_by_three_convolutions_between_its_pools():
    layers = [type(layer) for layer in build("vgg_small", RGB, batch_norm=False).backbone]
    assert layers == [*[nn.Conv2d, nn.ReLU] * 2, nn.MaxPool2d] * 3 + [nn.Flatten, nn.Dropout, nn.Linear]
    kernels = {layer.kernel_size for layer in build("vgg_small", RGB).backbone if isinstance(layer, nn.Conv2d)}
    assert kernels == {(3, 3)}


def test_vgg_small_without_batch_norm_keeps_the_size_of_its_signal_from_layer_to_layer():
    """He et al. 2015: at weights of variance 2 / inputs the mean square of an input lives on behind every ReLU."""
    model = build("vgg_small", (3, 64, 64), width=2.0, batch_norm=False)
    signal = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for layer in model.backbone[:2]:
            signal = layer(signal)
        start = signal.square().mean()
        for layer in model.backbone[2:-3]:
            signal = signal if isinstance(layer, nn.MaxPool2d) else layer(signal)  # pooling raises it on purpose
    assert 1 / 3 < signal.square().mean() / start < 3  # torch's own weights: a sixth per layer, 1 / 7,776 here


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_width_scales_the_hidden_layers_and_leaves_the_classes(name):
    half = [layer for layer in build(name, width=0.5).backbone if isinstance(layer, nn.Conv2d | nn.Linear)]
    full = [layer for layer in build(name).backbone if isinstance(layer, nn.Conv2d | nn.Linear)]
    first = 1 if name == "pooled_cnn" else 0  # its first layer is as wide as the patches want it
    assert [2 * layer.weight.shape[0] for layer in half[first:-1]] == [
        layer.weight.shape[0] for layer in full[first:-1]
    ]
    assert half[-1].weight.shape[0] == 10


@pytest.mark.parametrize("name", OWN_MODELS)
@pytest.mark.parametrize("shape", [GRAY, RGB, (1, 8, 8), (3, 13, 22), (2, 6, 6)])
def test_every_model_gives_one_logit_per_class_in_training_and_evaluation(name, shape):
    model = build(name, shape, 7)
    assert model.training
    assert model(batch(shape)).shape == (4, 7)
    assert model.eval()(batch(shape)).shape == (4, 7)


def test_resnet18_small_keeps_the_resolution_up_to_its_second_stage():
    model = build("resnet18_small", RGB)
    # torchvision's ResNet-18 with ten classes has 11,181,642 parameters; the first 7×7 kernels become 3×3 ones.
    assert parameters(model) == 11_181_642 - conv(3, 64, 7) + conv(3, 64, 3)
    shapes = []
    model.backbone.layer1.register_forward_hook(lambda _module, _inputs, output: shapes.append(output.shape))
    model(batch(RGB))
    assert shapes == [(4, 64, 32, 32)]


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_dropout_is_on_in_training_off_in_evaluation_and_never_the_last_layer(name):
    model = build(name, dropout=0.5)
    images = batch(GRAY)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))
    assert isinstance(list(model.backbone)[-1], nn.Linear)


def test_default_dropout_is_one_half_in_the_nets_of_old_and_none_in_the_fast_ones():
    rates = {
        name: {layer.p for layer in build(name).backbone if isinstance(layer, nn.Dropout)} for name in WITH_OPTIONS
    }
    assert rates == {name: {0.5} if name in {"seed_cnn", "vgg_small"} else {0.0} for name in WITH_OPTIONS}


def test_preprocessing_is_pixels_over_255_less_the_mean_over_the_deviation():
    preprocess = Preprocess(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    images = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    expected = torch.tensor([[-1.0, 1.0], [-1.0, 3.0], [0.0, 0.5]]).view(1, 3, 1, 2)
    out = preprocess(images)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, expected)


def test_preprocessing_agrees_with_the_formula_on_every_gray_level():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    expected = (torch.arange(256, dtype=torch.float64) / 255 - 0.1307) / 0.3081
    out = Preprocess((0.1307,), (0.3081,))(images)
    torch.testing.assert_close(out.flatten().double(), expected, atol=1e-6, rtol=0)


def test_preprocessing_keeps_channels_last():
    images = batch(RGB).contiguous(memory_format=torch.channels_last)
    assert Preprocess((0.5,) * 3, (0.2,) * 3)(images).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", OWN_MODELS)
def test_uint8_and_float_images_give_the_same_logits(name):
    model, images = build(name, RGB).eval(), batch(RGB)
    assert torch.equal(model(images), model(images.float()))


def test_mean_and_deviation_travel_with_the_weights():
    source, target = build("small_cnn"), build_model("small_cnn", GRAY, 10, mean=[0.0], std=[1.0], seed=1)
    target.load_state_dict(source.state_dict())
    images = batch(GRAY)
    assert torch.equal(source.eval()(images), target.eval()(images))


@pytest.mark.parametrize("name", OWN_MODELS)
def test_an_exported_model_takes_uint8_batches_of_any_size_and_agrees(name):
    model = build(name, RGB).eval()
    sizes = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(model, (batch(RGB, 2),), dynamic_shapes=sizes).module()
    for size in (1, 5):
        images = batch(RGB, size)
        torch.testing.assert_close(exported(images), model(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", OWN_MODELS)
def test_weights_depend_on_the_seed_and_on_nothing_else(name):
    torch.manual_seed(1)
    first = build(name, seed=3).state_dict()
    torch.manual_seed(2)
    again, other = build(name, seed=3).state_dict(), build(name, seed=4).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", OWN_MODELS)
def test_building_a_model_leaves_the_global_generator_where_it_was(name):
    before = torch.get_rng_state()
    build(name)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_small_models_do_without_torchvision():
    script = """
import sys
from semisup.networks.models import build_model
for name in ("seed_cnn", "small_cnn", "paired_cnn", "pooled_cnn", "vgg_small"):
    build_model(name, (1, 28, 28), 10, mean=[0.5], std=[0.5], seed=0)
sys.exit("torchvision" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=LONG)


def test_a_torchvision_model_on_gray_images_gives_what_it_gives_on_them_as_rgb():
    gray = build_model("torchvision:resnet18", (1, 32, 32), 5, mean=[0.3], std=[0.2], seed=0).eval()
    rgb = build_model("torchvision:resnet18", (3, 32, 32), 5, mean=[0.3] * 3, std=[0.2] * 3, seed=0).eval()
    images = batch((1, 32, 32))
    torch.testing.assert_close(gray(images), rgb(images.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


def test_a_torchvision_model_takes_six_channels():
    model = build_model("torchvision:squeezenet1_1", (6, 40, 40), 5, mean=[0.3] * 6, std=[0.2] * 6, seed=0)
    assert model(batch((6, 40, 40))).shape == (4, 5)


def test_googlenet_gives_logits_in_training_too():
    model = build("torchvision:googlenet", RGB, 4)
    assert model.training
    assert model(batch(RGB)).shape == (4, 4)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("smal_cnn", "small_cnn"),
        ("resnet18", "torchvision:resnet18"),
        ("mobilenet_v2", "torchvision:mobilenet_v2"),
        ("torchvision:resnet19", "torchvision:resnet18"),
        ("torchvision:fasterrcnn_resnet50_fpn", "torchvision:"),
        ("vgg_smal", "vgg_small"),
        (
            "%%%",
            "use one of seed_cnn, small_cnn, paired_cnn, pooled_cnn, vgg_small, resnet18_small, efficientnet_lite0, "
            "efficientnet_lite2, features, torchvision:<name>, timm:<name>",
        ),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_ones(name, hint):
    with user_mistake(match=r"model\.name=") as caught:
        build(name)
    assert name in str(caught.value)
    assert hint in str(caught.value)


def test_an_unknown_name_is_what_is_named_even_with_an_option_besides():
    with pytest.raises(UserError, match=r"model\.name='smal_cnn' is not a known model"):
        build("smal_cnn", dropout=0.5)


@pytest.mark.parametrize("name", ["resnet18_small", "torchvision:resnet18"])
@pytest.mark.parametrize(
    ("option", "value"), [("dropout", 0.5), ("batch_norm", True), ("batch_norm", False), ("width", 2.0)]
)
def test_an_option_that_the_model_lacks_is_refused_with_those_that_have_it(name, option, value):
    with pytest.raises(
        UserError, match=rf"model\.{option}={value}.*seed_cnn, small_cnn, paired_cnn, pooled_cnn, vgg_small"
    ):
        build(name, RGB, **{option: value})


@pytest.mark.parametrize("name", ["torchvision:alexnet", "torchvision:vit_b_32", "torchvision:inception_v3"])
def test_images_too_small_for_a_torchvision_model_are_refused_with_their_size(name):
    with user_mistake(match="28×28 pixels"):
        build(name)


def test_seed_cnn_refuses_images_below_six_pixels_and_takes_six():
    assert build("seed_cnn", (1, 6, 6), width=0.1).eval()(batch((1, 6, 6))).shape == (4, 10)
    with pytest.raises(UserError, match="at least 6 pixels a side, but these are 5×9"):
        build("seed_cnn", (1, 5, 9))
