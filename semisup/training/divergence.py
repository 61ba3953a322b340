"""Why a training diverged, as far as its config and its input tell."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from semisup.config.sections.joint import JointConfig
from semisup.config.sections.training import BaselineConfig, OptimizerConfig, TrainConfig
from semisup.data.rows import Images
from semisup.errors import UserError

SECTIONS = {BaselineConfig: "baseline.", JointConfig: "joint."}
LARGEST_ORDINARY_INPUT = 100.0
"""Of normalized pixels, whose deviation is about 1, or of features."""
LOOKED_AT = 256


class Key(NamedTuple):
    """A key of the config that can make a training diverge."""

    name: str
    value: float
    limit: float
    """What is ordinary ends here."""
    above: bool = True
    """Is it too large beyond the limit, and not too small?"""

    @property
    def excess(self) -> float:
        """By how much it is beyond its limit: above 1 it is out of the ordinary."""
        return self.value / self.limit if self.above else self.limit / self.value

    @property
    def advice(self) -> str:
        """The way out."""
        rate = "a smaller learning rate, " if self.name.endswith("optimizer.lr") else ""
        return f"use {rate}{'at most' if self.above else 'at least'} {self.limit:g}"


def keys_of(config: TrainConfig) -> list[Key]:
    """The keys of a stage's config that can make its loss infinite, those that it heeds alone."""
    section = SECTIONS.get(type(config), "")
    keys = optimizer_keys(config.optimizer, section)
    if isinstance(config, JointConfig):
        keys.append(Key("joint.alpha_final", config.alpha_final, 10))
        if config.labels_every_step:
            keys.append(Key("joint.policy.temperature", config.policy.temperature, 0.05, above=False))
        if "fairness_weight" in config.facts.heeds:
            keys.append(Key("joint.policy.fairness_weight", config.policy.fairness_weight, 1))
    return keys


def optimizer_keys(optimizer: OptimizerConfig, section: str) -> list[Key]:
    """The learning rate, and what else of an optimizer can make a training diverge."""
    return [
        Key(f"{section}optimizer.lr", optimizer.lr, 1 if optimizer.name == "sgd" else 0.1),
        Key(f"{section}optimizer.weight_decay", optimizer.weight_decay, 1),
    ]


def diverged(
    keys: Sequence[Key], loss: float, validation_loss: float, epoch: int, largest_input: float | None = None
) -> UserError:
    """The mistake to raise: one line that begins with the likeliest cause; `keys` begin with the learning rate."""
    what = f"the loss is {loss} in training and {validation_loss} in validation in epoch {epoch}; training diverged"
    strange = sorted((key for key in keys if key.excess > 1), key=lambda key: key.excess, reverse=True)
    seen = ""
    if largest_input is not None:
        seen = f" (largest normalized input: {largest_input:.4g})"
        huge = not largest_input <= LARGEST_ORDINARY_INPUT
        if huge and (not strange or not math.isfinite(largest_input)):
            return UserError(
                f"the largest input of the network is {largest_input:.4g}, and ordinary is at most "
                f"{LARGEST_ORDINARY_INPUT:g}: {what}, most likely because of it; look at the images (data.range), "
                "model.normalize and model.weights"
            )
    return UserError(_blaming(strange, what, seen) if strange else _blaming_none(keys, what, seen))


def _blaming(strange: Sequence[Key], what: str, seen: str) -> str:
    first, *rest = strange
    also = f"; also out of the ordinary: {', '.join(f'{key.name}={key.value}' for key in rest)}" if rest else ""
    return f"{first.name}={first.value}: {what}, most likely because of this{seen}; {first.advice}{also}"


def _blaming_none(keys: Sequence[Key], what: str, seen: str) -> str:
    rate, *others = keys
    rest = ", ".join(f"{key.name}={key.value:g}" for key in others)
    return (
        f"{rate.name}={rate.value}: {what}, though nothing is out of the ordinary{seen}; use a smaller learning rate, "
        f"or look at {rest}"
    )


def largest_input(model: nn.Module, inputs: Images) -> float:
    """The largest absolute number that a network's first layer gets of some images or features (N, ...)."""
    preprocess = getattr(model, "preprocess", nn.Identity())
    with torch.inference_mode():
        return float(preprocess(inputs[:LOOKED_AT]).float().abs().max())
