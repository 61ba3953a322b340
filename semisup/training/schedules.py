"""What changes over training: the weight of the unlabelled loss and the learning rate."""

import math
from collections.abc import Callable

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from semisup.config import OptimizerConfig, ScheduleConfig


def alpha_ramp(epoch: int, start: int, end: int, final: float) -> float:
    """α(t): 0 up to `start`, linear to `final` at `end`, constant from then on; epochs count from 1.

    start = end makes a step: 0 up to `start` and `final` after it, with start = end = 0 `final` throughout.

    Source: Lee 2013, equation 16.
    """
    if epoch <= start:
        return 0.0
    if epoch >= end:
        return final
    return final * (epoch - start) / (end - start)


def build_optimizer(model: nn.Module, config: OptimizerConfig, *, fused: bool) -> Optimizer:
    """The configured optimiser; weight decay acts on weight matrices and filters only.

    Decaying a batch-norm scale or a bias regularises nothing that weight decay is meant for.
    """
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    match config.name:
        case "sgd":
            return SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0, fused=fused)
        case "adam":
            return Adam(groups, lr=config.lr, betas=config.betas, fused=fused)
        case "adamw":
            return AdamW(groups, lr=config.lr, betas=config.betas, fused=fused)


def build_lr_schedule(optimizer: Optimizer, config: ScheduleConfig, *, epochs: int, steps_per_epoch: int) -> LambdaLR:
    """Learning-rate schedule that is stepped after every optimiser step."""
    total = epochs * steps_per_epoch

    def factor(step: int) -> float:
        match config.name:
            case "constant":
                return 1.0
            case "step":
                epoch = step // steps_per_epoch
                return config.gamma ** sum(epoch >= milestone for milestone in config.milestones)
            case "cosine":
                return _warm_up_then(lambda done: 0.5 * (1 + math.cos(math.pi * done)), step, total, config.warmup)
            case "one_cycle":
                return _warm_up_then(lambda done: 1 - done, step, total, config.warmup)

    return LambdaLR(optimizer, factor)


def _warm_up_then(decay: Callable[[float], float], step: int, total: int, warmup: float) -> float:
    warm_steps = round(warmup * total)
    if step < warm_steps:
        return (step + 1) / warm_steps
    return decay((step - warm_steps) / max(total - warm_steps, 1))
