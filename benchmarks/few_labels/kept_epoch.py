"""Which epoch of a training to keep: what criteria on few validation images are worth on test images.

    python -m benchmarks.few_labels.kept_epoch [FOLDER ...] [--splits 5] [--steps 900]

Besides the embedded digits, each FOLDER holds `<class>/<file>`. A small network is trained from random weights, once
for each split; after every epoch it is asked about validation and test images. Each criterion then names an epoch by
the validation images, with and without patience, and the test images say what that epoch was worth.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

from benchmarks.output import publish
from semisup.calibration.measures import fit_temperature
from semisup.config import PipelineConfig
from semisup.data.own_images.reading.decode import Target, decode
from semisup.stages.support.models.configured import network
from semisup.training.loop import Examples, train

EPOCHS, LABELS, TEST = 30, 10, 50
VALIDATION = (3, 10)
"""Images a class."""
PATIENCE = 10
SIDE, SMALL = 64, 32
Logs = NDArray[np.float64]
Criterion = Callable[[Logs, NDArray[np.int64]], float]


def main() -> None:
    """Every data set and number of validation images; a table, and its JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--steps", type=int, default=900, help="of 32 images, in 30 epochs")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for name, images, labels in (digits(), *map(photographs, asked.folders)):
        cases = [observe(images, labels, seed, asked.steps) for seed in range(asked.splits)]
        for count in VALIDATION:
            rows.append(
                {"images": name, "validation a class": count} | measure([case.with_few(count) for case in cases])
            )
            print(rows[-1], flush=True)
    publish(
        "kept_epoch",
        rows,
        f"test accuracy in %, mean (worst) of {asked.splits} splits, {LABELS} labels a class, {asked.steps} steps in "
        f"{EPOCHS} epochs; in brackets the median epoch that is kept. Patience: {PATIENCE} epochs",
    )


def digits() -> tuple[str, Tensor, NDArray[np.int64]]:
    """uint8 (1797, 1, 8, 8), and their classes."""
    found = load_digits()
    return "digits", torch.from_numpy((found.images * 15.9375).astype(np.uint8))[:, None], found.target.astype(np.int64)


def photographs(folder: Path) -> tuple[str, Tensor, NDArray[np.int64]]:
    """uint8 (N, 3, 64, 64) or, where the files are that small, (N, 3, 32, 32), and their classes."""
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    files = [(file, label) for label, name in enumerate(classes) for file in sorted((folder / name).iterdir())]
    with Image.open(files[0][0]) as first:
        side = SIDE if min(first.size) >= SIDE else SMALL
    target = Target(side, side, "crop", "rgb")
    pixels = np.stack([decode(file.read_bytes(), target).pixels for file, _ in files])
    return folder.name, torch.from_numpy(pixels), np.array([label for _, label in files])


@dataclass(frozen=True, eq=False)
class Case:
    """What a network thought after each of E epochs.

    Attributes:
        validation: log-probabilities (E, n, C).
        truth: (n,).
        accuracy: (E,), of the test images.
    """

    validation: Logs
    truth: NDArray[np.int64]
    accuracy: NDArray[np.float64]

    def with_few(self, count: int) -> "Case":
        """The same with `count` validation images of each class."""
        few = np.concatenate([np.flatnonzero(self.truth == label)[:count] for label in np.unique(self.truth)])
        return Case(self.validation[:, few], self.truth[few], self.accuracy)


def observe(images: Tensor, labels: NDArray[np.int64], seed: int, steps: int) -> Case:
    """Train on LABELS images a class; the most of VALIDATION of each are for validation, TEST for the test."""
    rng, classes, count = np.random.default_rng(seed), int(labels.max()) + 1, max(VALIDATION)
    drawn = [rng.permutation(np.flatnonzero(labels == label))[: LABELS + count + TEST] for label in range(classes)]
    labeled, validation, test = (part.ravel() for part in np.split(np.stack(drawn), [LABELS, LABELS + count], axis=1))
    config = PipelineConfig.model_validate(
        {
            "model": {"name": "small_cnn", "width": 2.0, "dropout": 0.2},
            "baseline": {
                "epochs": EPOCHS,
                "budget": f"{steps} steps",
                "ema_decay": 0.98,
                "early_stopping": {"keep": "last"},
                "augment": {"shift": 0.1, "scale": 0.1},
            },
        }
    )
    shape = images.shape[1:]
    seen = images[labeled].float() / 255
    mean, std = seen.mean(dim=(0, 2, 3)).tolist(), seen.std(dim=(0, 2, 3)).tolist()
    model = network(config, (shape[0], shape[1], shape[2]), classes, mean, std, seed=seed)
    watched = np.concatenate([validation, test])
    said: list[Tensor] = []

    def note(network: nn.Module, _: Any, logits: Tensor) -> None:
        if not network.training:
            said.append(logits.detach().double().log_softmax(dim=1))

    model.register_forward_hook(note)  # its running average is a copy, hook and all
    truth = torch.from_numpy(labels)
    result = train(
        model,
        config.baseline,
        Examples(images[labeled], truth[labeled]),
        Examples(images[watched], truth[watched]),
        num_classes=classes,
        steps_per_epoch=1,
        seed=seed,
    )
    table = torch.cat(said).reshape(len(result.history), len(watched), classes).numpy()
    right = table[:, len(validation) :].argmax(axis=2) == labels[test]
    return Case(table[:, : len(validation)], labels[validation], right.mean(axis=1))


def loss(table: Logs, truth: NDArray[np.int64]) -> float:
    """Minus the mean cross-entropy in nats."""
    return float(table[np.arange(len(truth)), truth].mean())


def calibrated_loss(table: Logs, truth: NDArray[np.int64]) -> float:
    """The same once the temperature is the best one."""
    scaled = torch.from_numpy(table / fit_temperature(table, truth)).log_softmax(dim=1).numpy()
    return loss(scaled, truth)


def accuracy(table: Logs, truth: NDArray[np.int64]) -> float:
    """Share that is right; of equals the one with the least loss is better."""
    return float((table.argmax(axis=1) == truth).mean()) + 1e-6 * loss(table, truth)


def accuracy_calibrated(table: Logs, truth: NDArray[np.int64]) -> float:
    """Share that is right; of equals the one with the least loss after the best temperature is better."""
    return float((table.argmax(axis=1) == truth).mean()) + 1e-6 * calibrated_loss(table, truth)


CRITERIA: Mapping[str, Criterion] = {
    "loss": loss,
    "accuracy": accuracy,
    "loss after temperature": calibrated_loss,
    "accuracy, then loss after temperature": accuracy_calibrated,
}


def kept(values: NDArray[np.float64], patience: int) -> int:
    """The epoch, from 0, that is kept of figures (E,), where higher is better."""
    best = 0
    for epoch, value in enumerate(values):
        if value > values[best]:
            best = epoch
        if epoch - best >= patience:
            break
    return best


def measure(cases: list[Case]) -> dict[str, str]:
    """A row of the table."""
    row: dict[str, str] = {}
    for name, criterion in CRITERIA.items():
        figures = [np.array([criterion(table, case.truth) for table in case.validation]) for case in cases]
        for patience, words in ((PATIENCE, ""), (EPOCHS, ", no patience")):
            epochs = [kept(values, patience) for values in figures]
            row[name + words] = _shown(
                [100 * case.accuracy[epoch] for case, epoch in zip(cases, epochs, strict=True)], epochs
            )
    row["last epoch"] = _shown([100 * case.accuracy[-1] for case in cases], [EPOCHS - 1] * len(cases))
    row["best by test images"] = _shown(
        [100 * case.accuracy.max() for case in cases], [int(case.accuracy.argmax()) for case in cases]
    )
    return row


def _shown(accuracies: list[float], epochs: list[int]) -> str:
    return f"{np.mean(accuracies):.1f} ({min(accuracies):.1f}) [{1 + int(np.median(epochs))}]"


if __name__ == "__main__":
    main()
