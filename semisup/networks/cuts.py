"""Where a network is cut in two: a body that stays as it is, and a tail of its last blocks, which learns."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from semisup.errors import UserError

Step: TypeAlias = Callable[[Any, Tensor], Tensor]
"""A part of a network and what it looks at → what comes out."""


@dataclass(frozen=True)
class _Family:
    """How networks of one kind compute: `begin`, then a chain of modules, then `end`."""

    first: Sequence[str]
    """Names of what `begin` looks at; all that is neither this nor in the chain belongs to `end`."""
    begin: Step
    chain: Sequence[str]
    """Dotted names."""
    blocks: Sequence[int]
    """Where in the chain each block begins."""
    end: Step


def cut(backbone: nn.Module, last: int) -> tuple[nn.Module, nn.Module]:
    """(body, tail) of a network: tail(body(x)) is backbone(x), and the tail begins with the last so many blocks.

    A block is a stage of an EfficientNet, a MobileNetV3, a ResNet or a ConvNeXt, or one of a vision transformer. What
    follows the blocks, up to the logits, belongs to the tail. Both parts hold the network's own layers under its own
    names: what one of them learns, the network has learned.

    Raises:
        UserError: the network is of another kind, or has fewer blocks.
    """
    family = _family(backbone)
    if family is None:
        raise UserError(
            f"model.train='last_{last}' is for EfficientNet, MobileNetV3, ResNet, ConvNeXt and plain vision "
            f"transformers, not for networks like {type(backbone).__name__}; use head or all"
        )
    if last > len(family.blocks):
        raise UserError(
            f"model.train='last_{last}', but the network has {len(family.blocks)} blocks; use at most "
            f"last_{len(family.blocks)}, or all"
        )
    at = family.blocks[-last]
    before, after = family.chain[:at], family.chain[at:]
    body = _part(backbone, lambda part, x: _through(part, before, family.begin(part, x)))
    # What is kept of a body's may be of half precision.
    tail = _part(backbone, lambda part, x: family.end(part, _through(part, after, x.float())))
    tail._parameters = {}  # of a vision transformer: the class token and the positions
    containers = {name.partition(".")[0] for name in family.chain}
    for name in backbone._modules:
        if name in containers:
            _keep(body, name, before)
            _keep(tail, name, after)
        else:
            del (tail if name in family.first else body)._modules[name]
    return body, tail


def _part(backbone: nn.Module, forward: Step) -> nn.Module:
    """The same layers and settings in a module of its own, which computes something else."""
    part = copy.copy(backbone)
    for name, value in vars(backbone).items():
        if isinstance(value, dict):
            part.__dict__[name] = copy.copy(value)
    part.forward = MethodType(forward, part)
    return part


def _keep(part: nn.Module, container: str, names: Sequence[str]) -> None:
    """Leave of a part's container only the modules with these dotted names, and nothing where there are none."""
    inner = [name.partition(".")[2] for name in names if name.partition(".")[0] == container]
    whole = part._modules[container]
    assert whole is not None
    if not inner:
        del part._modules[container]
    elif inner != [""]:  # else it is one of the chain's modules itself
        kept = nn.Sequential()
        for name in inner:
            kept.add_module(name, whole.get_submodule(name))
        kept.training = whole.training  # of itself alone: the layers in it may be in another mode
        part._modules[container] = kept


def _through(part: nn.Module, names: Sequence[str], x: Tensor) -> Tensor:
    for name in names:
        x = part.get_submodule(name)(x)
    return x


def _family(backbone: Any) -> _Family | None:
    match f"{type(backbone).__module__.partition('.')[0]}.{type(backbone).__name__}":
        case "timm.EfficientNet":
            family = _of_container(backbone, "blocks", ("conv_stem", "bn1"), _stem, _efficientnet_end)
        case "timm.MobileNetV3":
            family = _of_container(backbone, "blocks", ("conv_stem", "bn1"), _stem, _head)
        case "timm.VisionTransformer":
            embedding = ("patch_embed", "pos_drop", "patch_drop", "norm_pre")
            family = _of_container(backbone, "blocks", embedding, _embedded_patches, _transformer_end)
        case "timm.ConvNeXt":
            family = _of_container(backbone, "stages", ("stem",), lambda net, x: net.stem(x), _convnext_end)
        case "timm.ResNet":
            family = _of_resnet("act1", _head)
        case "torchvision.ResNet":
            family = _of_resnet("relu", lambda net, x: net.fc(torch.flatten(net.avgpool(x), 1)))
        case "torchvision.ConvNeXt":
            # The stem, and four stages; all but the first one begin with a layer of their own that halves the map.
            chain = tuple(f"features.{index}" for index in range(8))
            family = _Family((), lambda _, x: x, chain, (1, 2, 4, 6), lambda net, x: net.classifier(net.avgpool(x)))
        case _:
            return None
    return family


def _of_container(backbone: nn.Module, container: str, first: Sequence[str], begin: Step, end: Step) -> _Family:
    """Every child of one module is a block."""
    chain = tuple(f"{container}.{name}" for name, _ in backbone.get_submodule(container).named_children())
    return _Family(first, begin, chain, range(len(chain)), end)


def _of_resnet(activation: str, end: Step) -> _Family:
    """Four stages."""
    first = ("conv1", "bn1", activation, "maxpool")
    return _Family(
        first, lambda net, x: _through(net, first, x), ("layer1", "layer2", "layer3", "layer4"), range(4), end
    )


def _stem(net: Any, x: Tensor) -> Any:
    return net.bn1(net.conv_stem(x))


def _head(net: Any, x: Tensor) -> Any:
    return net.forward_head(x)


def _efficientnet_end(net: Any, x: Tensor) -> Any:
    return net.forward_head(net.bn2(net.conv_head(x)))


def _convnext_end(net: Any, x: Tensor) -> Any:
    return net.forward_head(net.norm_pre(x))


def _embedded_patches(net: Any, x: Tensor) -> Any:
    return net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(x))))


def _transformer_end(net: Any, x: Tensor) -> Any:
    return net.forward_head(net.norm(x))
