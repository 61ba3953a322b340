"""What changes over training: the weight of the unlabeled loss and the learning rate."""

import math
from collections.abc import Callable

from semisup.config import ScheduleConfig


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


def lr_factor(config: ScheduleConfig, position: float, total: float, epochs: int) -> float:
    """Factor on the learning rate at `position` of `total` steps (or ticks of a clock), which make `epochs` epochs.

    A position counts from 0: that of a step is the number of steps before it.
    """
    match config.name:
        case "constant":
            return 1.0
        case "step":
            epoch = position * epochs // total
            return config.gamma ** sum(epoch >= milestone for milestone in config.milestones)
        case "cosine":
            return _warm_up_then(lambda done: 0.5 * (1 + math.cos(math.pi * done)), position, total, config.warmup)
        case "one_cycle":
            return _warm_up_then(lambda done: 1 - done, position, total, config.warmup)


def _warm_up_then(decay: Callable[[float], float], position: float, total: float, warmup: float) -> float:
    warm = round(warmup * total)
    if position < warm:
        return min((position + 1) / warm, 1.0)
    return decay(min((position - warm) / max(total - warm, 1), 1.0))
