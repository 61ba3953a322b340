"""Our training loop against the bare steps of the same net on ready batches, and against PIL in a DataLoader.

All sides take turns in one process with one thread, and measure that process's own time on the processor, so that
neighbors on the machine count for little; ratios are of one turn. All use the same fused optimizer and batch size.

The bare side reuses one float batch and looks at no figure; the loop draws a shuffled batch, gathers,
normalizes, makes targets, keeps figures, moves the learning rate and, where asked, augments. With a teacher (the moving
average of the weights, which looks at the images as they are) the bare side is a forward pass of the teacher, one of
the student on both batches, backward, step, and torch's own update of the average. Validation is left out (two images).

The sources' way is what their code does: PIL images, torchvision's transforms one by one, a DataLoader without
workers (one core against one core), and the same net, optimizer and loss.
"""

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from benchmarks.output import Figure, in_turns, publish_figures
from benchmarks.speed.pictures import Pictures
from semisup.config import AugmentConfig, EarlyStoppingConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from semisup.data.rows import Rows
from semisup.networks.models import build_model
from semisup.pseudo_labels.policies.fixmatch import FixMatch
from semisup.training.loop import Examples, UnlabeledTerm, train
from semisup.training.optimization.optimizers import build_optimizer
from semisup.training.process_group import ALONE, ProcessGroup

BATCH = 128
UNLABELED = 256
IMAGES = 2_000
MEAN, STD = [0.13], [0.31]
NETS = {"seed_cnn": (1.0, 5), "small_cnn": (1.0, 60)}
"""Name → (width, steps per turn)."""
AUGMENT = AugmentConfig(rotation=15, shift=0.07, scale=0.15, shear=0.2)
NO_AUGMENT = AugmentConfig()


def main() -> None:
    """Print and save the ratios; `quick` takes fewer turns of the light net alone."""
    publish_figures("step_overhead", measure(quick="--quick" in sys.argv))


def measure(*, quick: bool) -> list[Figure]:
    """Every ratio of this module."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        return [
            ratio for name in NETS if not quick or name == "small_cnn" for ratio in _of_net(name, 5 if quick else 9)
        ]
    finally:
        torch.set_num_threads(threads)


def _of_net(name: str, turns: int) -> list[Figure]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 1, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (IMAGES,), generator=generator)
    width, steps = NETS[name]

    def model() -> nn.Module:
        return build_model(name, (1, 28, 28), 10, mean=MEAN, std=STD, width=width, seed=0)

    sides: dict[str, Callable[[], float]] = {
        "bare": lambda: bare(model(), images, labels, steps),
        "bare with a teacher": lambda: bare_with_teacher(model(), images, labels, steps),
        "plain": lambda: ours(model(), images, labels, steps, NO_AUGMENT),
        "augmented": lambda: ours(model(), images, labels, steps, AUGMENT),
        "taught": lambda: ours(model(), images, labels, steps, NO_AUGMENT, taught=True),
    }
    light = name == "small_cnn"
    if light:
        sides["PIL"] = lambda: by_pil(model(), images, labels, steps)
    times = in_turns(sides, turns)
    found = [
        Figure.ratio(f"our step / bare step, {name}", times["plain"], times["bare"], "≤ 1.03"),
        Figure.ratio(f"… with augmentation, {name}", times["augmented"], times["bare"], "≤ 1.10"),
        Figure.ratio(f"… with an EMA teacher, {name}", times["taught"], times["bare with a teacher"], "≤ 1.12"),
    ]
    if light:
        found.append(
            Figure.ratio(f"PIL in a DataLoader / ours, augmented, {name}", times["PIL"], times["augmented"], "≥ 2.5")
        )
    return found


def bare(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> float:
    """CPU seconds of so many steps on one ready batch."""
    optimizer = build_optimizer(model, OptimizerConfig(), fused=True)
    batch, truth = images[:BATCH].float(), labels[:BATCH]
    model.train()
    for step in range(steps + 1):
        if step == 1:
            started = time.process_time()  # the first step allocates
        optimizer.zero_grad()
        F.cross_entropy(model(batch), truth).backward()
        optimizer.step()
    return time.process_time() - started


def bare_with_teacher(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> float:
    """The same with unlabeled images that the average of the weights labels."""
    optimizer, teacher = build_optimizer(model, OptimizerConfig(), fused=True), _average(model)
    batch, truth, others = images[:BATCH].float(), labels[:BATCH], images[BATCH : BATCH + UNLABELED].float()
    model.train()
    for step in range(steps + 1):
        if step == 1:
            started = time.process_time()
        with torch.no_grad():
            confidence, guess = teacher.module.eval()(others).softmax(dim=1).max(dim=1)
        logits, their_logits = model(torch.cat([batch, others])).split([BATCH, UNLABELED])
        theirs = F.cross_entropy(their_logits, guess, reduction="none") * (confidence >= 0.5)
        optimizer.zero_grad()
        (F.cross_entropy(logits, truth) + theirs.mean()).backward()
        optimizer.step()
        teacher.update_parameters(model)
    return time.process_time() - started


def ours(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    steps: int,
    augment: AugmentConfig,
    *,
    taught: bool = False,
    clock: Callable[[], float] = time.process_time,
    group: ProcessGroup = ALONE,
) -> float:
    """Seconds by the clock, the processor's unless told otherwise, of so many steps of our loop: the second epoch."""
    config = TrainConfig(
        epochs=2,
        batch_size=BATCH,
        optimizer=OptimizerConfig(),
        schedule=ScheduleConfig(),
        early_stopping=EarlyStoppingConfig(),
        augment=augment,
        ema_decay=0.99 if taught else 0.0,
    )
    term = None
    if taught:
        term = UnlabeledTerm(
            Rows(images, torch.arange(len(images))),
            FixMatch(0.5),
            UNLABELED,
            1.0,
            0,
            0,
            mix=False,
            smooth=False,
            teacher="ema",
            view="same",
        )
    ends: list[float] = []
    rows = Rows(images, torch.arange(len(images)))  # as the stages hand them over
    train(
        model,
        config,
        Examples(rows, labels),
        Examples(images[:2], labels[:2]),  # an image for each of two processes
        num_classes=10,
        steps_per_epoch=steps,
        seed=0,
        unlabeled=term,
        on_epoch=lambda record: ends.append(clock()),
        group=group,
    )
    return ends[1] - ends[0]


def by_pil(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> float:
    """CPU seconds of so many steps as the sources make them, and of as many accuracies."""
    bent = v2.RandomAffine(15, translate=(0.07, 0.07), scale=(0.85, 1.15), shear=11)
    pictures = Pictures(images, labels, bent, mean=MEAN, std=STD)
    loader = DataLoader(pictures, BATCH, shuffle=True, drop_last=True)
    optimizer, done = build_optimizer(model, OptimizerConfig(), fused=True), 0
    network = model.backbone if isinstance(model.backbone, nn.Module) else model  # images come normalized
    model.train()
    started = time.process_time()
    while done < steps:
        for batch, truth in loader:
            logits = network(batch)
            loss = F.cross_entropy(logits, truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            (logits.argmax(dim=1) == truth).float().mean().item()
            done += 1
            if done == steps:
                break
    return time.process_time() - started


def _average(model: nn.Module) -> AveragedModel:
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True)


if __name__ == "__main__":
    main()
