"""What the studies are made of: data with roles, supervised training, pseudo-labels, a student, figures."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score, recall_score
from torch import Tensor, nn

from semisup.calibration import fit_temperature, temper
from semisup.config import JointConfig, TrainConfig
from semisup.data.datasets import ImageSet
from semisup.data.roles.split import draw_roles, long_tail
from semisup.data.sources import load_pool
from semisup.networks.models import build_model
from semisup.pseudo_labels.policies.threshold import FixedLabels
from semisup.stages.split import channel_statistics
from semisup.system.randomness import derive_seed, numpy_generator
from semisup.training.loop import Examples, UnlabeledTerm, train
from semisup.training.predict import predict_log_probabilities

Figures = dict[str, float]
Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Bench:
    """What the arms of a study share: data, sizes, net and training settings."""

    data: str = "mnist"
    labeled: int = 100
    """Per class, of the first class where there is a tail."""
    validation: int = 100
    calibration: int = 0
    imbalance: float = 1.0
    held: int = 10_000
    """Images set apart to measure with; the rest of the pool is unlabeled."""
    model: Mapping[str, Any] = field(default_factory=lambda: {"name": "small_cnn", "width": 2.0})
    train: Mapping[str, Any] = field(default_factory=dict)


MNIST = Bench(train={"epochs": 60, "batch_size": 64, "early_stopping": {"monitor": "loss", "patience": 60}})
DIGITS = Bench(
    "digits",
    labeled=10,
    validation=10,
    held=600,
    train={"epochs": 60, "batch_size": 32, "early_stopping": {"monitor": "loss", "patience": 60}},
)


@dataclass(frozen=True)
class Setup:
    """The images of one seed, each with one role."""

    bench: Bench
    seed: int
    pool: ImageSet
    indices: Mapping[str, Tensor]
    """labeled, validation, calibration, unlabeled, held → rows of the pool."""

    def examples(self, role: str) -> Examples:
        """Images and true labels of a role."""
        rows = self.indices[role]
        return Examples(self.pool.images[rows], self.pool.labels[rows])

    def model(self, purpose: str, **options: Any) -> nn.Module:
        """A fresh net of the bench's kind; `options` replace its own."""
        images = self.pool.images[torch.cat([self.indices["labeled"], self.indices["unlabeled"]])]
        mean, std = channel_statistics(images, torch.arange(len(images)))
        settings = {**self.bench.model, **options}
        seed = derive_seed(self.seed, f"{purpose} weights")
        shape, classes = self.pool.image_shape, self.pool.num_classes
        return build_model(settings.pop("name"), shape, classes, mean=mean, std=std, seed=seed, **settings)


@dataclass(frozen=True)
class Trained:
    """A model with its best epoch's weights, and what it cost."""

    model: nn.Module
    cpu_seconds: float


@cache
def pool_of(name: str, root: Path | None) -> ImageSet:
    return load_pool(name, root)


def set_up(bench: Bench, seed: int, root: Path | None) -> Setup:
    """Draw the roles of a seed."""
    pool, rng = pool_of(bench.data, root), numpy_generator(seed, "study split")
    roles = draw_roles(
        pool.labels.numpy(),
        pool.class_names,
        labeled_per_class=long_tail(bench.labeled, bench.imbalance, pool.num_classes),
        validation_per_class=bench.validation,
        calibration_images=bench.calibration,
        rng=rng,
    )
    left = np.flatnonzero(roles == "unlabeled")
    roles[rng.choice(left, bench.held, replace=False)] = "held"
    names = ("labeled", "validation", "calibration", "unlabeled", "held")
    return Setup(bench, seed, pool, {name: torch.from_numpy(np.flatnonzero(roles == name)) for name in names})


def fit(
    setup: Setup,
    changes: Mapping[str, Any] | None = None,
    *,
    net: Mapping[str, Any] | None = None,
    examples: Examples | None = None,
    purpose: str = "study",
) -> Trained:
    """Supervised training on the labeled images (or on `examples`); `changes` are keys of the training config."""
    config = TrainConfig.model_validate({**setup.bench.train, **(changes or {})})
    labeled = examples or setup.examples("labeled")
    model, started = setup.model(purpose, **(net or {})), time.process_time()
    result = train(
        model,
        config,
        labeled,
        setup.examples("validation"),
        num_classes=setup.pool.num_classes,
        steps_per_epoch=math.ceil(len(labeled.labels) / config.batch_size),
        seed=derive_seed(setup.seed, purpose),
    )
    model.load_state_dict(result.weights)
    return Trained(model.eval(), time.process_time() - started)


_TEACHERS: dict[str, Trained] = {}


def teacher(setup: Setup, changes: Mapping[str, Any] | None = None) -> Trained:
    """:func:`fit`, once for all arms of a seed that begin with the same teacher; the CPU seconds are those of once."""
    key = f"{setup.bench} {setup.seed} {changes or {}}"
    if key not in _TEACHERS:
        _TEACHERS[key] = fit(setup, changes)
    return _TEACHERS[key]


def fit_student(
    setup: Setup, rows: Tensor, labels: Tensor, changes: Mapping[str, Any] | None = None, *, steps: int = 100
) -> Trained:
    """A fresh student on the labeled images and on pseudo-labels (n,) of the pool's `rows` (n,).

    An epoch has `steps` steps however many labels were accepted: all arms get the same time.
    """
    config = JointConfig.model_validate({**setup.bench.train, "epochs": 10, "batch_size": 32, **(changes or {})})
    model, started = setup.model("student"), time.process_time()
    term = UnlabeledTerm(
        setup.pool.images[rows],
        FixedLabels(labels),
        batch_size=config.unlabeled_batch_size,
        alpha_final=config.alpha_final,
        ramp_start=config.ramp_start,
        ramp_end=config.ramp_end,
        mix=config.mixup_pseudo_labels,
        smooth=config.smooth_pseudo_labels,
    )
    result = train(
        model,
        config,
        setup.examples("labeled"),
        setup.examples("validation"),
        num_classes=setup.pool.num_classes,
        steps_per_epoch=steps,
        seed=derive_seed(setup.seed, "student"),
        unlabeled=term if len(rows) else None,
    )
    model.load_state_dict(result.weights)
    return Trained(model.eval(), time.process_time() - started)


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
