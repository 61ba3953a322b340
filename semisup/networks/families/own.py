"""This project's own networks, with a width, dropout and batch norm."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semisup.errors import UserError
from semisup.networks.family import Family, UnknownNetworkError, Wanted

SEED_CNN_SMALLEST_SIDE = 6
SMALLEST_MAP = 4  # no stride of ours leaves a map with a shorter side, nor a pooling where a linear layer sees the map
PATCH = 2
"""Side of the patches that pooled_cnn's first filters see."""
SMALLEST_POOLED_MAP = 3  # where only the largest value of each channel is looked at in the end


def _scaled(filters: int, width: float) -> int:
    return max(1, round(filters * width))


def seed_cnn(
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


def small_cnn(
    image_shape: tuple[int, int, int], num_classes: int, width: float, dropout: float, batch_norm: bool
) -> nn.Sequential:
    """The fast one: strides instead of pooling, and no stride where the map would get a side below 4."""
    return _strided_cnn(image_shape, num_classes, width, dropout, batch_norm, paired=False)


def paired_cnn(
    image_shape: tuple[int, int, int], num_classes: int, width: float, dropout: float, batch_norm: bool
) -> nn.Sequential:
    """`small_cnn` with a second convolution behind each: three pairs, of which the first one strides."""
    return _strided_cnn(image_shape, num_classes, width, dropout, batch_norm, paired=True)


def _strided_cnn(
    image_shape: tuple[int, int, int], num_classes: int, width: float, dropout: float, batch_norm: bool, *, paired: bool
) -> nn.Sequential:
    channels, height, breadth = image_shape
    layers: list[nn.Module] = []
    for kernel, filters in ((5, 16), (3, 32), (3, 64)):
        stride = 2 if (min(height, breadth) + 1) // 2 >= SMALLEST_MAP else 1
        height, breadth = -(-height // stride), -(-breadth // stride)
        outputs = _scaled(filters, width)
        layers += _convolution(
            channels, outputs, kernel=kernel, stride=stride, padding=kernel // 2, batch_norm=batch_norm
        )
        if paired:
            layers += _convolution(outputs, outputs, kernel=3, stride=1, padding=1, batch_norm=batch_norm)
        channels = outputs
    flat = channels * height * breadth
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout), nn.Linear(flat, num_classes))


def vgg_small(
    image_shape: tuple[int, int, int], num_classes: int, width: float, dropout: float, batch_norm: bool
) -> nn.Sequential:
    """VGG for small images: three pairs of 3×3 convolutions, each pair pooled while the map keeps a side of 4 or more.

    349,610 parameters for 1×28×28 and ten classes. One linear layer in place of the source's three, which held nine
    tenths of its parameters.

    Source: Simonyan & Zisserman 2015, section 2.1, with batch normalization.
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


def pooled_cnn(
    image_shape: tuple[int, int, int], num_classes: int, width: float, dropout: float, batch_norm: bool
) -> nn.Sequential:
    """For photographs: a 2×2 convolution, three blocks of two convolutions and a pooling, and the largest of each map.

    The first layer has two filters for each pixel and channel that they see (`whitening_filters`). A block is conv 3×3,
    max pool while that leaves a side of 3 or more, batch norm, GELU, conv 3×3, batch norm, GELU.
    295,106 parameters for 3×32×32 and ten classes. The size of the image changes no weight.

    Source: Jordan 2024 (arXiv 2404.00498), section 3.1, with half of its channels or fewer and batch norm's scale kept.
    """
    channels, *sides = image_shape
    if min(sides) < 2:
        raise UserError(
            f"model.name='pooled_cnn' needs images of at least 2 pixels a side, but these are {sides[0]}×{sides[1]}; "
            "use model.name: small_cnn"
        )
    first, side = 2 * channels * PATCH**2, min(sides) - 1
    layers: list[nn.Module] = [nn.Conv2d(channels, first, PATCH), nn.GELU()]
    channels = first
    for filters in (32, 64, 128):
        outputs = _scaled(filters, width)
        norm = [nn.BatchNorm2d(outputs)] if batch_norm else []
        layers.append(nn.Conv2d(channels, outputs, 3, padding=1, bias=not batch_norm))
        if side // 2 >= SMALLEST_POOLED_MAP:
            layers.append(nn.MaxPool2d(2))
            side //= 2
        layers += [*norm, nn.GELU(), nn.Conv2d(outputs, outputs, 3, padding=1, bias=not batch_norm)]
        layers += [*([nn.BatchNorm2d(outputs)] if batch_norm else []), nn.GELU()]
        channels = outputs
    return nn.Sequential(
        *layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, num_classes)
    )


def whitening_filters(covariance: Tensor, floor: float = 1e-2) -> Tensor:
    """Filters (2K, C, 2, 2) that make the K = 4C numbers of a patch independent and equally wide, and their negatives.

    Filter k is eigenvector k of the patches' covariance (K, K), the widest first, over √(eigenvalue + floor): what
    hardly varies is not blown up. A patch is flattened channel by channel.

    Source: Jordan 2024 (arXiv 2404.00498), section 3.2.
    """
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance.double())
    filters = (eigenvectors / (eigenvalues + floor).sqrt()).T.flip(0)
    return torch.cat([filters, -filters]).float().view(2 * len(covariance), -1, PATCH, PATCH)


def whiten_first_layer(network: nn.Module, covariance: Tensor) -> None:
    """Set pooled_cnn's first filters, which are learned no more, by the patches' covariance (K, K)."""
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        first.weight.copy_(whitening_filters(covariance))
        assert first.bias is not None
        first.bias.zero_()
    first.weight.requires_grad_(False)


def _convolution(
    inputs: int, outputs: int, *, kernel: int, stride: int, padding: int, batch_norm: bool
) -> list[nn.Module]:
    # Batch norm takes the mean away, and a bias with it; its own takes the place.
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=not batch_norm)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()] if batch_norm else [convolution, nn.ReLU()]


@dataclass(frozen=True)
class _Network:
    """A network, and what its dropout and batch norm are where nothing is said."""

    build: Callable[[tuple[int, int, int], int, float, float, bool], nn.Module]
    """image shape, classes, width, dropout, batch norm → the network."""
    dropout: float = 0.0
    batch_norm: bool = True


_NETWORKS = {
    "seed_cnn": _Network(seed_cnn, dropout=0.5, batch_norm=False),
    "small_cnn": _Network(small_cnn),
    "paired_cnn": _Network(paired_cnn),
    "pooled_cnn": _Network(pooled_cnn),
    "vgg_small": _Network(vgg_small, dropout=0.5),
}


def _build(wanted: Wanted) -> nn.Module:
    if wanted.name not in _NETWORKS:
        raise UnknownNetworkError
    network = _NETWORKS[wanted.name]
    p = network.dropout if wanted.dropout is None else wanted.dropout
    norm = network.batch_norm if wanted.batch_norm is None else wanted.batch_norm
    return network.build(wanted.image_shape, wanted.num_classes, wanted.width, p, norm)


FAMILY = Family(
    build=_build, names=lambda: [*_NETWORKS], has_options=True, suggested=True, whitening=frozenset({"pooled_cnn"})
)
