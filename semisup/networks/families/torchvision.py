"""torchvision's classifiers."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semisup.errors import UserError
from semisup.networks.downloads import in_torchs_cache
from semisup.networks.family import Family, Normalization, UnknownNetworkError, Wanted, state_of

HALVES = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
OF_TENSORFLOW = {"torchvision:inception_v3", "torchvision:googlenet"}
"""Their weights came from elsewhere and want pixels from -1 to 1; where torchvision loads them itself, it turns those
normalized by ImageNet's figures into such ones inside the network."""


def torchvision_classifier(bare_name: str, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
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
            f"model.name='torchvision:{bare_name}' does not take images of {height}×{width} pixels ({reason}); "
            "use small_cnn or resnet18_small"
        ) from error
    return backbone.train()


def _take_channels(backbone: nn.Module, channels: int) -> None:
    """Fit the first convolution to other than three channels, keeping the size of what it puts out.

    One channel gets the sum of the three kernels: a gray image then gives exactly what it would give as RGB. More
    take the three in turn, times 3 / channels.
    """
    first = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))
    kernels = first.weight.detach()
    if channels == 1:
        kernels = kernels.sum(dim=1, keepdim=True)
    else:
        kernels = kernels[:, torch.arange(channels) % 3] * (3 / channels)
    first.in_channels, first.weight = channels, nn.Parameter(kernels)


@cache
def _names() -> Sequence[str]:
    import torchvision

    # Asked of this module alone: detection, segmentation and video have their own.
    found: Sequence[str] = torchvision.models.list_models(module=torchvision.models)
    return found


def _build(wanted: Wanted) -> nn.Module:
    if wanted.bare_name not in _names():
        raise UnknownNetworkError
    return torchvision_classifier(wanted.bare_name, wanted.image_shape, wanted.num_classes)


def _weights_of(name: str) -> Any:
    """torchvision's enumeration of a network's weights."""
    import torchvision

    bare_name = name.rpartition(":")[2]
    if bare_name not in _names():
        raise UnknownNetworkError
    return torchvision.models.get_model_weights(bare_name)


def _find(name: str, weights: str, download: bool) -> Path:
    """torchvision's weights of that name, where torch keeps what it fetches."""
    known = {member: found.url for member, found in _weights_of(name).__members__.items()}
    if weights not in known:
        names = f", or one of torchvision's own ({', '.join(known)})" if known else ""
        raise UserError(f"model.weights={weights!r} {state_of(weights)}; name a file with a state dict{names}")
    return in_torchs_cache(known[weights], weights, download)


def _normalization(name: str, *_: object) -> Normalization:
    if name in OF_TENSORFLOW:
        return HALVES
    wanted = _weights_of(name).DEFAULT.transforms()
    return tuple(wanted.mean), tuple(wanted.std)


FAMILY = Family(build=_build, names=_names, find=_find, normalization=_normalization, suggested=True)
