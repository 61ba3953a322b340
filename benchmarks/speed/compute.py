"""Training in bfloat16, compiled, and both, against training in float32 as it comes.

    python -m benchmarks.speed.compute [--quick]

Batches of 128 CIFAR-sized images without augmentation, on one thread. The sides take turns, and time is that of the
processor, so that other work on the machine counts little. What compiling takes is told apart: it is that of the first
epoch, and goes into no ratio.
"""

import os
import statistics
import sys
import tempfile
import time
from typing import Any

import torch

from benchmarks.output import in_turns, publish, show
from semisup.config import OptimizerConfig, Precision, TrainConfig
from semisup.networks.models import build_model
from semisup.training.loop import Examples, train
from semisup.training.optimization.precision import has_bfloat16

BATCH = 128
STEPS = {"small_cnn": 12, "seed_cnn": 4, "resnet18_small": 1}
"""Network → steps of an epoch."""
SIDES: dict[str, tuple[Precision, bool]] = {
    "float32": ("float32", False),
    "bfloat16": ("bfloat16", False),
    "float32, compiled": ("float32", True),
    "bfloat16, compiled": ("bfloat16", True),
}
NOTE = "images/s: median over the turns of one run; ratios to float32 turn by turn, lowest and highest"


def main() -> None:
    """Print and save the speeds."""
    quick = "--quick" in sys.argv
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # what an earlier run compiled would be found again
        rows = [row for net in STEPS for row in _rows(net, turns=2 if quick else 7)]
    has = "with" if has_bfloat16(torch.device("cpu")) else "without"
    note = f"{NOTE}; a processor {has} bfloat16 of its own, one thread"
    (show if quick else publish)("compute", rows, note)


def _rows(net: str, turns: int) -> list[dict[str, Any]]:
    first: dict[str, float] = {}

    def side(name: str) -> float:
        beginning, rest = _seconds(net, *SIDES[name])
        first.setdefault(name, beginning - rest)
        return rest

    times = in_turns({name: lambda name=name: side(name) for name in SIDES}, turns)  # type: ignore[misc]
    rows = []
    for name, seconds in times.items():
        ratios = [plain / one for plain, one in zip(times["float32"], seconds, strict=True)]
        rows.append(
            {
                "network": net,
                "training": name,
                "images/s": round(STEPS[net] * BATCH / statistics.median(seconds)),
                "ratio": round(statistics.median(ratios), 2),
                "lowest": round(min(ratios), 2),
                "highest": round(max(ratios), 2),
                "compiling, CPU s": round(first[name], 1) if SIDES[name][1] else 0.0,
            }
        )
    return rows


def _seconds(net: str, precision: Precision, compiles: bool) -> tuple[float, float]:
    """CPU seconds of the first of two epochs, and of the second."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (512, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (512,), generator=generator)
    ends = [_now()]
    train(
        build_model(net, (3, 32, 32), 10, mean=[0.5] * 3, std=[0.25] * 3, seed=0),
        TrainConfig(epochs=2, batch_size=BATCH, optimizer=OptimizerConfig(lr=1e-3), precision=precision),
        Examples(images, labels),
        Examples(images[:2], labels[:2]),
        num_classes=10,
        steps_per_epoch=STEPS[net],
        seed=0,
        on_epoch=lambda record: ends.append(_now()),
        compiles=compiles,
    )
    return ends[1] - ends[0], ends[2] - ends[1]


def _now() -> float:
    """CPU seconds of this process and of those that compiled for it and have ended."""
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system


if __name__ == "__main__":
    main()
