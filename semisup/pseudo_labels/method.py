"""A method of pseudo-labeling as one value: what configs need to know of it, and the policy that it makes."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel
from torch import Tensor

from semisup.config import PolicyConfig
from semisup.config.methods import MethodFacts
from semisup.pseudo_labels import Policy


@dataclass(frozen=True)
class Told:
    """What a policy is made of: the config, and what the table of pseudo-labels says of N unlabeled images.

    A method that learns from `images` labels them itself and is told no table: all of it is None.
    """

    config: PolicyConfig
    num_classes: int
    """C."""
    labels: Tensor | None = None
    """int64 (N,), in [0, C)."""
    confidence: Tensor | None = None
    """float32 (N,), in [0, 1]."""
    accepted: Tensor | None = None
    """bool (N,)."""
    negative: Tensor | None = None
    """bool (N, C): classes that an image is not; only for methods that learn them."""
    momentum: float = 0.99
    """Of running means: `momentum` of the config or, where that is unset, what suits the steps."""
    options: BaseModel | None = None
    """The method's own options, where it has some."""


@dataclass(frozen=True, kw_only=True)
class Method(MethodFacts):
    """A method. A module below `policies`, or an entry point of the group `semisup.policies`, holds one."""

    policy: Callable[[Told], Policy]
    weigh: Callable[[Tensor, int], Tensor] | None = None
    """(confidence (N,), C) → weights (N,) of labels that stand before training begins; None: they come step by step."""
