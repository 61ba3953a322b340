"""What configs need to know of a family of networks. Its code is :mod:`semisup.networks.family`'s."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from semisup.config.plugins import Plugins

READY_MADE = "features"
"""The network of images that are known by a vector each (`data.features`): none."""


@dataclass(frozen=True, kw_only=True)
class FamilyFacts:
    """What decides which configs make sense with the networks of a family."""

    names: Callable[[], Sequence[str]] = tuple
    """Names of its networks, without the family."""
    installed: frozenset[str] = frozenset()
    """Names of those that begin with weights of their own, which are installed with them."""
    has_options: bool = False
    """Do they have the options `width`, `dropout` and `batch_norm`?"""
    whitening: frozenset[str] = frozenset()
    """Names of those whose first filters can be set by `whiten`."""


FAMILIES: Plugins[FamilyFacts] = Plugins(
    FamilyFacts,
    key="model.name",
    group="semisup.backbones",
    package="semisup.networks.families",
    attribute="FAMILY",
    first=("own", "resnet18_small", "efficientnet_lite", "features", "torchvision", "timm"),
)
"""By the name before the colon in `model.name`."""


JOINT = "+"
"""Between the names of networks whose features stand side by side."""


def networks_in(name: str) -> tuple[str, ...]:
    """The networks that `model.name` names."""
    return tuple(name.split(JOINT))


def family_of(name: str) -> str:
    """The family of a network: what stands before a colon, or whose name the network's begins with, or own."""
    prefix, colon, _ = name.partition(":")
    if colon:
        return prefix
    return max((known for known in FAMILIES.own if name.startswith(known)), key=len, default="own")
