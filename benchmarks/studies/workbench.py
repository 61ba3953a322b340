"""What the studies are made of: data with roles, supervised training, a student."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from semisup.config import JointConfig, TrainConfig
from semisup.data.datasets import ImageSet
from semisup.data.roles.split import draw_roles, long_tail
from semisup.data.sources import load_pool
from semisup.networks.models import build_model
from semisup.pseudo_labels.policies.threshold import FixedLabels
from semisup.stages.split import channel_statistics
from semisup.system.randomness import derive_seed, numpy_generator
from semisup.training.loop import Examples, UnlabeledTerm, train


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
    term = UnlabeledTerm.of(config, config.facts, setup.pool.images[rows], FixedLabels(labels))
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
