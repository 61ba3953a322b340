"""Our training loop against the bare forward/backward/step of the same net on one ready batch, in one process.

Both sides use the same fused optimiser and batch size, and take turns, pair by pair. The bare side reuses one float
batch and looks at no figure; the loop draws a shuffled batch, gathers, normalises, makes targets, keeps figures,
moves the learning rate and, where asked, augments. Validation is left out (one image), for it is no part of a step.
"""

import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.output import publish
from semisup.config import AugmentConfig, EarlyStoppingConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from semisup.models import build_model
from semisup.training.loop import Examples, train
from semisup.training.schedules import build_optimizer

BATCH = 128
IMAGES = 2_000
PAIRS = 9
NETS = {"seed_cnn": (1.0, 10), "small_cnn": (2.0, 60)}
"""Name → (width, steps per turn)."""
AUGMENT = AugmentConfig(rotation=15, shift=0.07, scale=0.15, shear=0.2)


def main() -> None:
    """Print and save the ratios."""
    torch.set_flush_denormal(True)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 1, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (IMAGES,), generator=generator)
    rows = []
    for name, (width, steps) in NETS.items():
        times: dict[str, list[float]] = {"bare": [], "plain": [], "augmented": []}
        for pair in range(PAIRS + 1):
            turn = {
                "bare": _bare(_model(name, width), images[:BATCH].float(), labels[:BATCH], steps),
                "plain": _loop(_model(name, width), images, labels, steps, AugmentConfig()),
                "augmented": _loop(_model(name, width), images, labels, steps, AUGMENT),
            }
            if pair:  # the first turn warms up
                for side, seconds in turn.items():
                    times[side].append(seconds / steps)
        for side in ("plain", "augmented"):
            ratios = [ours / bare for ours, bare in zip(times[side], times["bare"], strict=True)]
            rows.append(
                {
                    "net": name,
                    "loop": side,
                    "bare step, ms": 1000 * statistics.median(times["bare"]),
                    "our step, ms": 1000 * statistics.median(times[side]),
                    "ratio, median": statistics.median(ratios),
                    "lowest": min(ratios),
                    "highest": max(ratios),
                    "goal": 1.05 if side == "plain" else 1.15,
                }
            )
    publish("step_overhead", rows, f"batch {BATCH} of 1×28×28, {PAIRS} turns a side, ratios turn by turn")


def _model(name: str, width: float) -> nn.Module:
    return build_model(name, (1, 28, 28), 10, mean=[0.13], std=[0.31], width=width, seed=0)


def _bare(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, steps: int) -> float:
    optimizer = build_optimizer(model, OptimizerConfig(), fused=True)
    model.train()
    for step in range(steps + 1):
        if step == 1:
            started = time.perf_counter()  # the first step allocates
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return time.perf_counter() - started


def _loop(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, steps: int, augment: AugmentConfig) -> float:
    config = TrainConfig(
        epochs=2,
        batch_size=BATCH,
        optimizer=OptimizerConfig(),
        schedule=ScheduleConfig(),
        early_stopping=EarlyStoppingConfig(),
        augment=augment,
    )
    one = Examples(images[:1], labels[:1])
    result = train(model, config, Examples(images, labels), one, num_classes=10, steps_per_epoch=steps, seed=0)
    return result.history[1]["seconds"]


if __name__ == "__main__":
    main()
