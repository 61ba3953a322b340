"""How long a run will take, measured on this machine as busy as it is."""

import time
from dataclasses import dataclass

import torch

from semisup.budget import Budget
from semisup.config import PipelineConfig
from semisup.frozen.network import ProbedClassifier
from semisup.networks.inference.choice import make_ready
from semisup.stages.support.models.configured import network, settle_inference
from semisup.stages.support.models.device import pick_device
from semisup.system.memory import keep_for_reuse

AT_ONCE, AT_LEAST, AT_MOST = 8, 1.5, 40
"""Images in a forward pass; seconds that are measured; passes after which it is enough."""
TRIED = 0.3
"""Seconds of work that say how busy a machine is."""


@dataclass(frozen=True)
class Estimate:
    """Seconds that a run needs for what takes longest."""

    looking: float | None
    """Wall-clock, of the frozen network at all images; None where there is none."""
    training: float | None
    """Of processor time, the budget of both trainings; None where there is none."""
    held_up: float
    """Wall-clock seconds for each that a processor works for one thread: 1 on a machine at rest, more on a busy one."""


def estimate(config: PipelineConfig, images: int, image_shape: tuple[int, int, int]) -> Estimate:
    """For so many images of the pool and the test, none of which the network has seen yet."""
    if config.model.train == "probe":
        return Estimate(images * seconds_an_image(config, image_shape, images), None, held_up())
    budgets = [Budget.parse(part.budget) for part in (config.baseline, config.joint) if part.budget is not None]
    timed = [budget.amount for budget in budgets if budget.unit != "steps"]
    return Estimate(None, sum(timed) if len(timed) == 2 else None, held_up())


def held_up() -> float:
    """How much longer than its work a thread takes now, at least 1: others want the processors, too."""
    began, worked = time.perf_counter(), time.thread_time()
    while time.thread_time() - worked < TRIED:
        sum(range(1000))
    return max(1.0, (time.perf_counter() - began) / (time.thread_time() - worked))


def seconds_an_image(config: PipelineConfig, image_shape: tuple[int, int, int], images: int) -> float:
    """That the frozen network looks at one of so many images (C, H, W), once it is warm."""
    device, halves = pick_device(config), [0.5] * image_shape[0]
    model = network(config, image_shape, 2, halves, halves, seed=0).to(device).eval()
    settle_inference(config, model, image_shape, images)
    make_ready(model, image_shape, config.runtime.inference)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)
    assert isinstance(model, ProbedClassifier), "model.train: probe builds no other"
    keep_for_reuse()
    batch = torch.zeros((AT_ONCE, *image_shape), dtype=torch.uint8, device=device)
    with torch.inference_mode():
        model.features(batch)  # the first pass prepares kernels
        began, passes = time.perf_counter(), 0
        while passes < AT_MOST and (passes == 0 or time.perf_counter() - began < AT_LEAST):
            model.features(batch).sum().item()  # waits for a device
            passes += 1
    return (time.perf_counter() - began) / (passes * AT_ONCE)
