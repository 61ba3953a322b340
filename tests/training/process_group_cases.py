"""Trainings that a test runs alone and in several processes; as a script, one process of such a process group.

python process_group_cases.py RANK SIZE FOLDER
"""

import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from semisup.config import AugmentConfig, TrainConfig
from semisup.pseudo_labels import Policy
from semisup.pseudo_labels.modifiers import Aligned, Blended, Sharpened
from semisup.pseudo_labels.policies.adamatch import AdaMatch
from semisup.pseudo_labels.policies.fixmatch import FixMatch
from semisup.pseudo_labels.policies.flexmatch import FlexMatch
from semisup.pseudo_labels.policies.freematch import FreeMatch
from semisup.pseudo_labels.policies.online import OnlineArgmax
from semisup.pseudo_labels.policies.soft import SoftLabels
from semisup.pseudo_labels.policies.softmatch import SoftMatch
from semisup.pseudo_labels.policies.threshold import FixedLabels
from semisup.pseudo_labels.policies.ups import UncertaintyLabels
from semisup.training.checkpoints import Checkpoints
from semisup.training.loop import Examples, TrainingResult, UnlabeledTerm, train
from semisup.training.process_group import Processes, ProcessGroup, end_process

CLASSES, STEPS, EPOCHS, CUT_AFTER = 3, 50, 5, 2
UNIFORM = torch.full((CLASSES,), 1 / CLASSES)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Classes that differ by where it is a little brighter, with so much noise that confidences stay apart."""
    labels = torch.randint(CLASSES, (count,), generator=generator(seed))
    images = torch.randint(220, (count, 1, 8, 8), generator=generator(seed + 1), dtype=torch.uint8)
    for row, label in enumerate(labels.tolist()):
        images[row, :, 2 * label : 2 * label + 3] += 25
    return images, labels


LABELED = Examples(*pictures(31, 1))
VALIDATION = Examples(*pictures(23, 3))
POOL, TRUTH = pictures(70, 5)
NEGATIVE = torch.nn.functional.one_hot((TRUTH + 1) % CLASSES, CLASSES).bool()

POLICIES: dict[str, Policy] = {
    "threshold": FixedLabels(TRUTH),
    "ups": UncertaintyLabels(TRUTH, torch.arange(70) % 3 > 0, NEGATIVE),
    "online": OnlineArgmax(),
    "soft": SoftLabels(),
    "fixmatch": FixMatch(0.6),
    "flexmatch": FlexMatch(0.6),
    "freematch": FreeMatch(0.9, 0.05),
    "softmatch": SoftMatch(0.9),
    "adamatch": AdaMatch(0.6, 0.9),
    "aligned, sharpened": Aligned(Sharpened(FixMatch(0.5), 0.7), UNIFORM, 0.9),
    "blended": Blended(FixMatch(0.5), TRUTH, torch.full((70,), 0.8), 0.3),
}
PLAIN = UnlabeledTerm(POOL, OnlineArgmax(), 17, 1.0, 0, 2, mix=False, smooth=False)
VIEWS = AugmentConfig(rotation=10.0, shift=0.1, elastic=0.5, horizontal_flip=True)
STRONG = AugmentConfig(reflect=True, shift=0.1, randaugment=2, cutout=0.3)
OPTIMIZER = {"optimizer": {"name": "sgd", "lr": 0.005}}


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(7)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, CLASSES)
        )


class Scaled(nn.Module):
    """A network that takes 0..255."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images.float() / 255 - 0.5)


def cases() -> dict[str, tuple[dict, dict | None]]:
    """Name → (training options, options of the unlabeled term). Batches of 13 and 17 leave no even shares."""
    named: dict[str, tuple[dict, dict | None]] = {"supervised": ({}, None)}
    for name, policy in POLICIES.items():
        named[name] = ({}, {"policy": policy})
    everything = {
        "mixup": {"alpha": 0.5},
        "disturb_label": 20.0,
        "label_smoothing": {"epsilon": 0.1},
        "class_weights": "inverse_frequency",
        "ema_decay": 0.9,
        "augment": VIEWS.model_dump(),
    }
    strong = {"policy": FreeMatch(0.9, 0.05), "teacher": "ema", "view": "weak", "augment": STRONG}
    named["everything"] = (everything, strong | {"mix": True, "smooth": True})
    named["student sees the same, mixed"] = ({"mixup": {"alpha": 0.5}}, {"mix": True})
    named["pasted, balanced"] = ({"augment": {"paste": 0.5}, "sampling": "balanced"}, None)
    return named


class CutError(Exception):
    """Ends a training where a crash would."""


def fit(
    name: str, group: ProcessGroup, checkpoints: Checkpoints | None = None, cut_after: int = 99, **changes: Any
) -> tuple[TrainingResult, dict[str, Tensor]]:
    """(result, the weights at the end) of 50 steps; cut off in every process after an epoch, if asked for."""
    options, unlabeled = cases()[name]
    config = TrainConfig.model_validate(
        {"epochs": EPOCHS, "batch_size": 13, "early_stopping": {"patience": 99}} | OPTIMIZER | options | changes
    )
    term = None
    if unlabeled is not None:
        term = UnlabeledTerm(**vars(PLAIN) | unlabeled)
    model, epochs = Scaled(), []

    def on_epoch(record: dict[str, float]) -> None:
        epochs.append(record)
        if len(epochs) > cut_after:
            raise CutError

    result = train(
        model,
        config,
        LABELED,
        VALIDATION,
        num_classes=CLASSES,
        steps_per_epoch=STEPS // EPOCHS,
        seed=11,
        unlabeled=term,
        on_epoch=on_epoch,
        checkpoints=checkpoints,
        group=group,
    )
    return result, {key: value.clone() for key, value in model.state_dict().items()}


class Always(Checkpoints):
    """Checkpoints that are always due: their clock stands still."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, warnings.warn, clock=lambda: 0.0)


def main(rank: int, size: int, folder: Path) -> None:
    """All cases; one cut off; one that goes on where a training alone was cut off; two budgets of time; bfloat16."""
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    group = Processes.of_the_group(torch.device("cpu"))
    results = {}
    for name in cases():
        result, weights = fit(name, group)
        results[name] = {"weights": weights, "best": result.weights, "history": result.history}
    with suppress(CutError):
        fit("everything", group, Always(folder / "cut together") if rank == 0 else None, cut_after=3)
    result, weights = fit("everything", group, Always(folder / "cut alone") if rank == 0 else None)
    results["resumed"] = {"weights": weights, "best": result.weights, "history": result.history}
    for unit in ("s", "s wall"):
        kept = Always(folder / f"budget {unit}") if rank == 0 else None
        with suppress(CutError):
            fit("everything", group, kept, cut_after=CUT_AFTER, budget=f"2{unit}")
        result, weights = fit("everything", group, kept, budget=f"2{unit}")
        results[unit] = {"weights": weights, "best": result.weights, "history": result.history}
    result, weights = fit("supervised", group, precision="bfloat16")
    results["bfloat16"] = {"weights": weights, "best": result.weights, "history": result.history}
    torch.save(results, folder / f"{rank}.pt")
    distributed.destroy_process_group()
    end_process()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
