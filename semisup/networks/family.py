"""A family of networks as one value: what configs need to know of it, its networks and their weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from torch import Tensor, nn

from semisup.config.families import FamilyFacts
from semisup.errors import UserError

Normalization: TypeAlias = tuple[Sequence[float], Sequence[float]]
"""(mean, standard deviation) of three channels on the 0..1 scale."""
StateDict: TypeAlias = Mapping[str, Tensor]
IMAGENET: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Wanted:
    """A network that is asked for."""

    name: str
    """As in `model.name`."""
    image_shape: tuple[int, int, int]
    """(C, H, W)."""
    num_classes: int
    width: float = 1.0
    """Factor on the hidden widths."""
    dropout: float | None = None
    """Probability; None: the network's own. Never on the output layer."""
    batch_norm: bool | None = None
    """After the convolutions; None: the network's own."""

    @property
    def bare_name(self) -> str:
        """Without the family."""
        return self.name.rpartition(":")[2]


class UnknownNetworkError(LookupError):
    """A family has no network of that name. Whoever asked says so, with the nearest names of all families."""


def no_weights_of_its_own(name: str, weights: str, download: bool) -> Path:
    """Of families whose networks begin at random.

    Raises:
        UserError: always.
    """
    raise UserError(f"model.weights={weights!r} {state_of(weights)}; name a file with a state dict")


def none_installed(name: str) -> Path:
    """Of families whose networks begin at random.

    Raises:
        UserError: always.
    """
    raise UserError(f"model.weights is unset, and model.name={name!r} has no weights of its own; name a file")


def state_of(weights: str) -> str:
    """What a name of weights is that is no file's."""
    return "is a folder" if Path(weights).expanduser().is_dir() else "does not exist"


@dataclass(frozen=True, kw_only=True)
class Family(FamilyFacts):
    """Networks that are built alike. A module below `families`, or an entry point of `semisup.backbones`, holds one.

    Networks are asked for as FAMILY:NAME; of `own` and `efficientnet_lite` the names stand alone.
    """

    build: Callable[[Wanted], nn.Module]
    """A backbone with random weights, in training mode: float32 (B, C, H, W) to logits (B, num_classes). Raises an
    UnknownNetworkError for a name that it does not know, a UserError for images that the network does not take."""
    suggested: bool = False
    """Are they suggested for a wrong name that names no family?"""
    installed_weights: Callable[[str], Path] = none_installed
    """One of `installed` → the file with its weights."""
    find: Callable[[str, str, bool], Path] = no_weights_of_its_own
    """(model.name, model.weights, model.download) → the file with weights of that name, which is no file's. Raises as
    `build`, or a UserError for weights that there are not."""
    normalization: Callable[[str, str | None, bool], Normalization] = lambda *_: IMAGENET
    """(model.name, model.weights, model.download) → how pretrained weights want to see images. Raises as `build`."""
    adapt: Callable[[StateDict, nn.Module], StateDict] = lambda state, _: state
    """(state dict as its authors saved it, network) → the same under the network's names; a ValueError if it cannot."""
    doubt: Callable[[str, str], str | None] = lambda *_: None
    """(model.name, a file named as model.weights) → a warning, where the file may want other pixels than is assumed."""
