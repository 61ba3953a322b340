"""torch's optimizers, as they are configured, and without torch's compiler."""

import inspect
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from semisup.config import OptimizerConfig

Kind = TypeVar("Kind", bound=Optimizer)


def _apart_from_the_compiler(optimizer: type[Kind]) -> type[Kind]:
    """The same optimizer, whose methods do not load torch's compiler.

    They are wrapped so that `torch.compile` passes over them, and to say so the wrappers import all of `torch._dynamo`:
    seconds before the first step and 180 MB. Here only networks are ever compiled, and what is wrapped works alone.
    """
    step = inspect.unwrap(optimizer.step)

    @torch.no_grad()
    def plain_step(self: Kind, closure: Callable[[], float] | None = None) -> float | None:
        loss: float | None = step(self, closure)
        return loss

    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    plain = {name: inspect.unwrap(getattr(optimizer, name)) for name in names}
    return type(f"Plain{optimizer.__name__}", (optimizer,), plain | {"step": plain_step})


PlainSGD = _apart_from_the_compiler(SGD)
PlainAdam = _apart_from_the_compiler(Adam)
PlainAdamW = _apart_from_the_compiler(AdamW)


def build_optimizer(model: nn.Module, config: OptimizerConfig, *, fused: bool) -> Optimizer:
    """The configured optimizer; weight decay acts on weight matrices and filters only.

    Decaying a batch-norm scale or a bias regularizes nothing that weight decay is meant for.
    """
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    match config.name:
        case "sgd":
            return PlainSGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0, fused=fused)
        case "adam":
            return PlainAdam(groups, lr=config.lr, betas=config.betas, fused=fused)
        case "adamw":
            return PlainAdamW(groups, lr=config.lr, betas=config.betas, fused=fused)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """For the steps to come."""
    for group in optimizer.param_groups:
        group["lr"] = rate
