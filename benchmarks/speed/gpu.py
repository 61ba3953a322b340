"""Our loop on a GPU: against the bare steps of the same net on a ready batch, and against PIL in a DataLoader.

    python -m benchmarks.speed.gpu [--quick]

ResNet-18 for images of 32×32, batches of 128, bfloat16, channels last, images that lie on the device. The sides take
turns; time is that of the wall, and each side waits for the device before it looks at the clock. The bare side learns
from one ready batch again and again. The sources' way is what their code does: PIL images, torchvision's transforms one
by one, a DataLoader with two workers, a copy to the device. Without a CUDA device nothing is measured.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from benchmarks.output import Figure, in_turns, publish_figures
from benchmarks.speed.pictures import Pictures
from semisup.config import AugmentConfig, OptimizerConfig, TrainConfig
from semisup.networks.classifier import Classifier
from semisup.networks.models import build_model
from semisup.training.loop import Examples, train
from semisup.training.optimization.optimizers import build_optimizer
from semisup.training.optimization.precision import computing_in

MEAN, STD = [0.49, 0.48, 0.45], [0.25, 0.24, 0.26]
SGD = OptimizerConfig(name="sgd", lr=0.1, momentum=0.9)
NO_AUGMENT = AugmentConfig()
AUGMENT = AugmentConfig(shift=0.125, horizontal_flip=True)


@dataclass(frozen=True)
class Setting:
    """What every side does: so many steps of a net on batches of images (N, 3, 32, 32)."""

    device: torch.device
    net: str = "resnet18_small"
    images: int = 10_000
    batch: int = 128
    steps: int = 200
    workers: int = 2

    def data(self) -> tuple[Tensor, Tensor]:
        """Random uint8 images and their labels, on the CPU."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (self.images, 3, 32, 32), dtype=torch.uint8, generator=generator)
        return images, torch.randint(0, 10, (self.images,), generator=generator)

    def model(self) -> Classifier:
        """The net with new weights, on the device."""
        model = build_model(self.net, (3, 32, 32), 10, mean=MEAN, std=STD, seed=0)
        return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def now(self) -> float:
        """Seconds on the wall, once the device has done what it was asked."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def main() -> None:
    """Print and save the ratios."""
    figures = measure(quick="--quick" in sys.argv)
    if not figures:
        sys.exit("there is no CUDA device here, so nothing was measured")
    publish_figures("gpu", figures)


def measure(*, quick: bool) -> list[Figure]:
    """The ratios, where there is a CUDA device."""
    if not torch.cuda.is_available():
        return []
    return ratios(Setting(torch.device("cuda")), turns=3 if quick else 9)


def ratios(setting: Setting, turns: int) -> list[Figure]:
    """Our loop through the bare steps, and the sources' way through ours."""
    times = in_turns(sides(setting), turns)
    return [
        Figure.ratio(f"our step / bare step, {setting.net}", times["plain"], times["bare"], "≤ 1.05"),
        Figure.ratio(f"PIL in a DataLoader / ours, augmented, {setting.net}", times["PIL"], times["ours"], "≥ 20"),
    ]


def sides(setting: Setting) -> dict[str, Callable[[], float]]:
    """Side → what takes its turn and tells its seconds, without those of its first step or epoch."""
    images, labels = setting.data()
    return {
        "bare": lambda: bare(setting, setting.model(), images, labels),
        "plain": lambda: ours(setting, setting.model(), images, labels, NO_AUGMENT),
        "ours": lambda: ours(setting, setting.model(), images, labels, AUGMENT),
        "PIL": lambda: by_pil(setting, setting.model(), images, labels),
    }


def bare(setting: Setting, model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Steps on one ready batch."""
    batch = images[: setting.batch].to(setting.device).float().contiguous(memory_format=torch.channels_last)
    return _learn(setting, model, lambda: (batch, labels[: setting.batch].to(setting.device)))


def by_pil(setting: Setting, model: Classifier, images: Tensor, labels: Tensor) -> float:
    """Steps on batches as the sources make them, which come normalized."""
    moved, mirrored = v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()
    pictures = Pictures(images, labels, moved, mirrored, mean=MEAN, std=STD)
    loader: DataLoader[Any] = DataLoader(
        pictures,
        setting.batch,
        shuffle=True,
        drop_last=True,
        num_workers=setting.workers,
        pin_memory=setting.workers > 0,
    )

    def batches() -> Any:
        while True:
            yield from loader

    stream = batches()

    def following() -> tuple[Tensor, Tensor]:
        batch, truth = next(stream)
        return batch.to(setting.device, memory_format=torch.channels_last), truth.to(setting.device)

    return _learn(setting, model.backbone if isinstance(model.backbone, nn.Module) else model, following)


def ours(setting: Setting, model: nn.Module, images: Tensor, labels: Tensor, augment: AugmentConfig) -> float:
    """The second epoch of our loop."""
    there, truth = images.to(setting.device), labels.to(setting.device)
    ends: list[float] = []
    train(
        model,
        TrainConfig(epochs=2, batch_size=setting.batch, optimizer=SGD, augment=augment, precision="bfloat16"),
        Examples(there, truth),
        Examples(there[:2], truth[:2]),
        num_classes=10,
        steps_per_epoch=setting.steps,
        seed=0,
        on_epoch=lambda record: ends.append(setting.now()),
    )
    return ends[1] - ends[0]


def _learn(setting: Setting, model: nn.Module, following: Callable[[], tuple[Tensor, Tensor]]) -> float:
    optimizer = build_optimizer(model, SGD, fused=True)
    model.train()
    started = 0.0
    for step in range(setting.steps + 1):
        if step == 1:
            started = setting.now()  # the first step allocates, and the workers begin
        batch, truth = following()
        with computing_in("bfloat16", setting.device):
            logits = model(batch).float()
        optimizer.zero_grad()
        F.cross_entropy(logits, truth).backward()
        optimizer.step()
    return setting.now() - started


if __name__ == "__main__":
    main()
