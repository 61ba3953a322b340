"""What the studies measure of a trained model: figures on the images set apart, pseudo-labels, what is accepted."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, recall_score
from torch import nn

from benchmarks.studies.workbench import Setup, Trained
from semisup.calibration.measures import fit_temperature, temper
from semisup.system.randomness import numpy_generator
from semisup.training.predict import predict_log_probabilities

Figures = dict[str, float]
Array: TypeAlias = NDArray[Any]


def log_probabilities(setup: Setup, model: nn.Module, role: str) -> Array:
    """Of the images of a role, float32 (n, C)."""
    return predict_log_probabilities(model, setup.pool.images[setup.indices[role]]).numpy()


def truth(setup: Setup, role: str) -> Array:
    """True labels of the images of a role."""
    return setup.pool.labels[setup.indices[role]].numpy()


def accuracy(setup: Setup, trained: Trained, prefix: str = "") -> Figures:
    """Accuracy and macro-F1 in % on the images set apart, and CPU seconds."""
    predicted, labels = log_probabilities(setup, trained.model, "held").argmax(axis=1), truth(setup, "held")
    return {
        f"{prefix}accuracy": 100 * float((predicted == labels).mean()),
        f"{prefix}macro F1": 100 * float(f1_score(labels, predicted, average="macro")),
        f"{prefix}CPU s": trained.cpu_seconds,
    }


def rare_recall(setup: Setup, trained: Trained, classes: int = 3) -> float:
    """Mean recall in % over the last `classes` classes, the rarest of a tail."""
    predicted = log_probabilities(setup, trained.model, "held").argmax(axis=1)
    recalls = recall_score(truth(setup, "held"), predicted, average=None, zero_division=0)
    return 100 * float(np.mean(recalls[-classes:]))


def pseudo_labels(setup: Setup, model: nn.Module, temperature: float = 1.0) -> tuple[Array, Array, Array]:
    """(labels, confidence, right) of the unlabeled images, each (N,)."""
    probabilities = temper(log_probabilities(setup, model, "unlabeled"), temperature)
    labels = probabilities.argmax(axis=1)
    return labels, probabilities.max(axis=1), labels == truth(setup, "unlabeled")


def selected(accepted: Array, right: Array) -> Figures:
    """Coverage and precision of a selection, in %; no precision where nothing was accepted."""
    figures = {"coverage": 100 * float(accepted.mean())}
    return figures | ({"precision": 100 * float(right[accepted].mean())} if accepted.any() else {})


def calibrated(setup: Setup, model: nn.Module, share: float = 0.25) -> tuple[float, Array, Array]:
    """(temperature, confidence, right) with T from the first part of the calibration images, the others measured."""
    table, labels = log_probabilities(setup, model, "calibration"), truth(setup, "calibration")
    order = numpy_generator(setup.seed, "study calibration").permutation(len(labels))
    part = round(share * len(labels))
    fitting, measuring = order[:part], order[part:]
    wrong = table[fitting].argmax(axis=1) != labels[fitting]
    temperature = fit_temperature(table[fitting], labels[fitting]) if wrong.any() else 1.0  # as stage `calibrate` does
    probabilities = temper(table[measuring], temperature)
    return temperature, probabilities.max(axis=1), probabilities.argmax(axis=1) == labels[measuring]
