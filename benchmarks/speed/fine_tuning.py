"""Fine-tuning a network of photographs: all layers, 128 pixels, batches of 48, one thread; steps a second then and now.

    python -m benchmarks.speed.fine_tuning [--quick]

"Before" is a training in float32 with the network as it comes; now is what configs with pretrained weights get by
themselves: channels together in memory, and bfloat16 where the processor has it. The processor's own time of the second
of two epochs; sides in turns.
"""

import time

import torch

from benchmarks.output import Figure, in_turns, publish_measured
from semisup.config import EarlyStoppingConfig, OptimizerConfig, Precision, TrainConfig
from semisup.networks.models import build_model
from semisup.training.loop import Examples, train

SIDE, BATCH, STEPS = 128, 48, 2
GOALS = {"efficientnet_lite0": "≥ 2", "torchvision:resnet18": "≥ 2"}


def main() -> None:
    """Print and save the figures."""
    publish_measured("fine_tuning", measure)


def measure(*, quick: bool) -> list[Figure]:
    """Each network before and now."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    figures = []
    for name in list(GOALS)[: 1 if quick else None]:
        sides = {
            "before": lambda name=name: _seconds(name, "float32", torch.contiguous_format),
            "now": lambda name=name: _seconds(name, "auto", torch.channels_last),
        }
        times = in_turns(sides, 2 if quick else 5)
        what = f"fine-tuning steps/s / before, {name}"
        figures.append(Figure.ratio(what, times["before"], times["now"], GOALS[name]))
    torch.set_num_threads(threads)
    return figures


def _seconds(name: str, precision: Precision, layout: torch.memory_format) -> float:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH * STEPS, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (len(images),), generator=generator)
    ends: list[float] = []
    train(
        build_model(name, (3, SIDE, SIDE), 10, mean=[0.5] * 3, std=[0.25] * 3, seed=0).to(memory_format=layout),
        TrainConfig(
            epochs=2,
            batch_size=BATCH,
            optimizer=OptimizerConfig(lr=1e-4),
            precision=precision,
            early_stopping=EarlyStoppingConfig(keep="last"),
        ),
        Examples(images, labels),
        None,
        num_classes=10,
        steps_per_epoch=STEPS,
        seed=0,
        on_epoch=lambda record: ends.append(time.process_time()),
    )
    return ends[1] - ends[0]


if __name__ == "__main__":
    main()
