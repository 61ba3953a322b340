"""Classifiers that take raw images: whatever the network, the one preprocessing is part of the model."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from semisup.data.geometry import upright
from semisup.errors import UserError

MODELS = ("seed_cnn", "small_cnn", "vgg_small", "resnet18_small")  # and "torchvision:<name>"
TORCHVISION = "torchvision:"
SEED_CNN_SMALLEST_SIDE = 6
SMALLEST_MAP = 4  # no stride and no pooling of ours leaves a map with a shorter side


class Preprocess(nn.Module):
    """Pixels on the 0..255 scale, uint8 or float32 (B, C, H, W), to normalised float32 of the same shape.

    Every split goes through this one path, and it travels with the weights and with the exported model.
    `mean` and `std` are per channel, on the 0..1 scale. With `deskew`, images are first sheared upright and centred.
    What learns from augmented views, or looks at them, must get views of images that were deskewed once, and leave it
    out here: deskewing a view would undo its shear and shift. See `deskewed_once`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, deskew: bool = False) -> None:
        super().__init__()
        self.deskew = deskew
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        if self.deskew:
            images = upright(images)
        # (x / 255 - mean) / std, as one pass over the pixels.
        return torch.addcmul(-self.mean / self.std, images.float(), 1 / (255 * self.std))


class Classifier(nn.Module):
    """A backbone behind its preprocessing: uint8 or float32 images on the 0..255 scale to logits (B, num_classes)."""

    def __init__(self, preprocess: Preprocess, backbone: nn.Module) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.backbone(self.preprocess(images))
        return logits


@contextmanager
def deskewed_once(model: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    """Inside, the model takes images for upright; what is yielded makes them so, where the model deskews.

    For views: deskew an image, augment what comes out, and let the model look at that as it is.
    """
    deskewing = [module for module in model.modules() if isinstance(module, Preprocess) and module.deskew]
    for module in deskewing:
        module.deskew = False
    try:
        yield upright if deskewing else lambda images: images
    finally:
        for module in deskewing:
            module.deskew = True


def build_model(
    name: str,
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    width: float = 1.0,
    dropout: float | None = None,
    batch_norm: bool | None = None,
    deskew: bool = False,
    seed: int,
) -> Classifier:
    """A fresh classifier on the CPU, in training mode. Its weights depend on `seed` alone; no global generator moves.

    Args:
        name: "seed_cnn", "small_cnn", "vgg_small", "resnet18_small", or "torchvision:<name>" for any classifier of
            torchvision.
        image_shape: (C, H, W).
        mean, std: one per channel, on the 0..1 scale.
        width: factor on the hidden widths (not resnet18_small and torchvision's).
        dropout: probability (as `width`); None for the model's own: 0.5, in small_cnn 0. Never on the output layer.
        deskew: see `Preprocess`.
        batch_norm: after the convolutions (as `width`); None for the model's own: on, in seed_cnn off.

    Raises:
        UserError: an unknown name, an option that the model does not have, or images too small for it.
    """
    channels = image_shape[0]
    assert len(mean) == len(std) == channels
    backbone: nn.Module
    # fork_rng without devices and the CPU's own generator: torch.manual_seed would also reseed every GPU.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        match name:
            case "seed_cnn":
                p, norm = 0.5 if dropout is None else dropout, bool(batch_norm)
                backbone = _seed_cnn(image_shape, num_classes, width, p, norm)
            case "small_cnn":
                p, norm = dropout or 0.0, batch_norm is not False
                backbone = _small_cnn(image_shape, num_classes, width, p, norm)
            case "vgg_small":
                p, norm = 0.5 if dropout is None else dropout, batch_norm is not False
                backbone = _vgg_small(image_shape, num_classes, width, p, norm)
            case "resnet18_small":
                _refuse_options(name, width, dropout, batch_norm)
                backbone = _resnet18_small(image_shape[0], num_classes)
            case _:
                bare_name = _torchvision_name(name)
                _refuse_options(name, width, dropout, batch_norm)
                backbone = _torchvision_model(bare_name, image_shape, num_classes)
    return Classifier(Preprocess(mean, std, deskew=deskew), backbone)


def _refuse_options(name: str, width: float, dropout: float | None, batch_norm: bool | None) -> None:
    for option, value, default in (("width", width, 1.0), ("dropout", dropout, None), ("batch_norm", batch_norm, None)):
        if value != default:
            raise UserError(
                f"model.{option}={value}, but model.name={name!r} has no such option; "
                f"leave it out, or use seed_cnn, small_cnn or vgg_small, which have it"
            )


def _scaled(filters: int, width: float) -> int:
    return max(1, round(filters * width))


def _seed_cnn(
    image_shape: tuple[int, int, int], num_classes: int, width: float, dropout: float, batch_norm: bool
) -> nn.Sequential:
    """The supervised baseline of the source: 7,720,266 parameters for 1×28×28 and ten classes, most in one linear."""
    channels, *sides = image_shape
    if min(sides) < SEED_CNN_SMALLEST_SIDE:
        raise UserError(
            f"model.name='seed_cnn' needs images of at least {SEED_CNN_SMALLEST_SIDE} pixels a side, but these are "
            f"{sides[0]}×{sides[1]}; use model.name: small_cnn"
        )
    first, second, hidden, last = (_scaled(units, width) for units in (64, 192, 1024, 512))
    height, breadth = ((side - 2) // 2 // 2 for side in sides)
    return nn.Sequential(
        *_convolution(channels, first, kernel=3, stride=1, padding=0, batch_norm=batch_norm),
        nn.MaxPool2d(2),
        *_convolution(first, second, kernel=3, stride=1, padding=1, batch_norm=batch_norm),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(second * height * breadth, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, last),
        nn.ReLU(),
        nn.Linear(last, num_classes),
    )


def _small_cnn(
    image_shape: tuple[int, int, int], num_classes: int, width: float, dropout: float, batch_norm: bool
) -> nn.Sequential:
    """The fast one: strides instead of pooling, and no stride where the map would get a side below 4."""
    channels, height, breadth = image_shape
    layers: list[nn.Module] = []
    for kernel, filters in ((5, 16), (3, 32), (3, 64)):
        stride = 2 if (min(height, breadth) + 1) // 2 >= SMALLEST_MAP else 1
        height, breadth = -(-height // stride), -(-breadth // stride)
        outputs = _scaled(filters, width)
        layers += _convolution(
            channels, outputs, kernel=kernel, stride=stride, padding=kernel // 2, batch_norm=batch_norm
        )
        channels = outputs
    flat = channels * height * breadth
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout), nn.Linear(flat, num_classes))


def _vgg_small(
    image_shape: tuple[int, int, int], num_classes: int, width: float, dropout: float, batch_norm: bool
) -> nn.Sequential:
    """VGG for small images: three pairs of 3×3 convolutions, each pair pooled while the map keeps a side of 4 or more.

    349,610 parameters for 1×28×28 and ten classes. One linear layer in place of the source's three, which held nine
    tenths of its parameters.

    Source: Simonyan & Zisserman 2015, section 2.1, with batch normalisation.
    """
    channels, height, breadth = image_shape
    layers: list[nn.Module] = []
    for filters in (32, 64, 128):
        outputs = _scaled(filters, width)
        for inputs in (channels, outputs):
            layers += _convolution(inputs, outputs, kernel=3, stride=1, padding=1, batch_norm=batch_norm)
        channels = outputs
        if min(height, breadth) // 2 >= SMALLEST_MAP:
            layers.append(nn.MaxPool2d(2))
            height, breadth = height // 2, breadth // 2
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            # Torch's own weights shrink the signal at every layer, and without batch norm nothing undoes it.
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    flat = channels * height * breadth
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout), nn.Linear(flat, num_classes))


def _convolution(
    inputs: int, outputs: int, *, kernel: int, stride: int, padding: int, batch_norm: bool
) -> list[nn.Module]:
    # Batch norm takes the mean away, and a bias with it; its own takes the place.
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=not batch_norm)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()] if batch_norm else [convolution, nn.ReLU()]


def _resnet18_small(channels: int, num_classes: int) -> nn.Module:
    """ResNet-18 that keeps small images' resolution at the start: a 3×3 convolution of stride 1, and no max pooling.

    Source: He et al. 2016, with the first layer of its section 4.2 (CIFAR-10).
    """
    import torchvision

    backbone: nn.Module = torchvision.models.resnet18(weights=None, num_classes=num_classes)
    convolution = nn.Conv2d(channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's others
    backbone.conv1, backbone.maxpool = convolution, nn.Identity()
    return backbone


def _torchvision_name(name: str) -> str:
    """The name without its prefix, known to be that of a classifier."""
    import torchvision

    # Asked of this module alone: detection, segmentation and video have their own.
    known = torchvision.models.list_models(module=torchvision.models)
    bare_name = name.removeprefix(TORCHVISION)
    if not name.startswith(TORCHVISION) or bare_name not in known:
        raise _unknown_model(name, known)
    return bare_name


def _torchvision_model(bare_name: str, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Any classifier of torchvision, untrained, once a forward pass has shown that it takes images of this size."""
    import torchvision

    # The auxiliary heads of these two would make the output in training a tuple.
    options: dict[str, Any] = (
        {"aux_logits": False, "init_weights": True} if bare_name in {"inception_v3", "googlenet"} else {}
    )
    backbone: nn.Module = torchvision.models.get_model(bare_name, weights=None, num_classes=num_classes, **options)
    channels, height, width = image_shape
    if channels != 3:
        _take_channels(backbone, channels)
    try:
        with torch.no_grad():
            backbone.eval()(torch.zeros(2, *image_shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise UserError(
            f"model.name={TORCHVISION + bare_name!r} does not take images of {height}×{width} pixels ({reason}); "
            "use small_cnn or resnet18_small"
        ) from error
    return backbone.train()


def _take_channels(backbone: nn.Module, channels: int) -> None:
    """Fit the first convolution to other than three channels, keeping the size of what it puts out.

    One channel gets the sum of the three kernels: a grey image then gives exactly what it would give as RGB. More
    take the three in turn, times 3 / channels.
    """
    first = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))
    kernels = first.weight.detach()
    if channels == 1:
        kernels = kernels.sum(dim=1, keepdim=True)
    else:
        kernels = kernels[:, torch.arange(channels) % 3] * (3 / channels)
    first.in_channels, first.weight = channels, nn.Parameter(kernels)


def _unknown_model(name: str, torchvision_names: Sequence[str]) -> UserError:
    full_names = {known: TORCHVISION + known for known in torchvision_names}
    if not name.startswith(TORCHVISION):
        full_names |= {known: known for known in MODELS}
    # Compared without the prefix: it is long enough to make any two names look alike.
    nearest = [full_names[close] for close in get_close_matches(name.removeprefix(TORCHVISION), full_names, n=3)]
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"use one of {', '.join(MODELS)}, torchvision:<name>"
    return UserError(f"model.name={name!r} is not a known model; {hint}")
