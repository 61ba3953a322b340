"""Pools that hold classes of which nobody has labelled an image: classes are left out of labels and calibration."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.few_labels import photographs
from benchmarks.studies.workbench import DIGITS, MNIST, Setup, fit, pool_of
from semisup.data.datasets import UNLABELED, ImageSet
from semisup.data.roles.split import draw_roles
from semisup.data.rows import Rows
from semisup.frozen.embedding import embed, fit_embedding
from semisup.frozen.learning import Points, supervised_probe
from semisup.networks.classifier import Classifier
from semisup.system.randomness import numpy_generator
from semisup.training.predict import predict_features, predict_log_probabilities

BENCHES = {
    "digits": replace(DIGITS, labeled=10, validation=10, calibration=300, held=0),
    "mnist": replace(MNIST, labeled=50, validation=20, calibration=500, held=0, train={**MNIST.train, "epochs": 30}),
}
"""What is trained on which images."""
LEFT_OUT = 2
"""Classes without a label."""
POOL, SIDE = 3_000, 224
PROBE_STRENGTH = 10.0
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Seen:
    """What a network makes of some images: features (N, D), log-probabilities (N, C), and the truth (N,)."""

    features: Array
    logarithms: Array
    truth: Array
    """UNLABELED: of none of the classes."""
    origin: Array
    """The class (N,) in the data set, left out or not."""

    def __getitem__(self, rows: Any) -> "Seen":
        return Seen(self.features[rows], self.logarithms[rows], self.truth[rows], self.origin[rows])


@dataclass(frozen=True, eq=False)
class World:
    """One split. The pool holds the images of the classes left out as well, all of them."""

    labeled: Seen
    calibration: Seen
    pool: Seen

    def with_unknown(self, share: float, rng: np.random.Generator) -> "World":
        """A pool in which this share of the images is of the classes left out; 0: none."""
        unknown = np.flatnonzero(self.pool.truth == UNLABELED)
        known = np.flatnonzero(self.pool.truth != UNLABELED)
        most = len(unknown) / share if share else np.inf
        total = int(min(POOL, most, len(known) / (1 - share)))
        wanted = round(share * total)
        rows = np.concatenate([rng.permutation(unknown)[:wanted], rng.permutation(known)[: total - wanted]])
        return replace(self, pool=self.pool[np.sort(rows)])


def trained_world(name: str, seed: int, root: Path | None) -> World:
    """A network that is trained on a few labels of all classes but LEFT_OUT."""
    bench, rng = BENCHES[name], numpy_generator(seed, "world")
    images = pool_of(name, root)
    left_out = rng.choice(images.num_classes, LEFT_OUT, replace=False)
    origin = dict(zip(images.ids, images.labels.tolist(), strict=True))
    images = _without(images, left_out, rng)
    origins = np.array([origin[name] for name in images.ids])
    roles = draw_roles(
        images.labels.numpy(),
        images.class_names,
        labeled_per_class=[bench.labeled] * images.num_classes,
        validation_per_class=bench.validation,
        calibration_images=bench.calibration,
        rng=rng,
    )
    indices = {role: torch.from_numpy(np.flatnonzero(roles == role)) for role in np.unique(roles)}
    setup = Setup(bench, seed, images, indices)
    model = fit(setup).model
    assert isinstance(model, Classifier), "a bench has one network"

    def seen(role: str) -> Seen:
        shown = Rows(images.images, indices[role])
        features, logarithms = predict_features(model, shown), predict_log_probabilities(model, shown)
        truth = images.labels[indices[role]].numpy()
        return Seen(features.numpy(), logarithms.numpy(), truth, origins[indices[role].numpy()])

    return World(seen("labeled"), seen("calibration"), seen("unlabeled"))


def _without(images: ImageSet, left_out: Array, rng: np.random.Generator) -> ImageSet:
    """At most POOL images more than are needed, and the labels of these classes not known."""
    kept = [name for label, name in enumerate(images.class_names) if label not in left_out]
    place = np.full(images.num_classes, UNLABELED)
    place[np.setdiff1d(np.arange(images.num_classes), left_out)] = np.arange(len(kept))
    rows = np.sort(rng.permutation(len(images))[: 4 * POOL])
    return ImageSet(
        images.images[rows],
        torch.from_numpy(place[images.labels[rows].numpy()]),
        tuple(images.ids[row] for row in rows),
        tuple(kept),
    )


def frozen_world(features: torch.Tensor, labels: Array, per_class: int, calibration: int, seed: int) -> World:
    """A logistic regression upon features (N, D) of a frozen network, on labels of all classes but LEFT_OUT."""
    rng = numpy_generator(seed, "world")
    classes = int(labels.max()) + 1
    left_out = rng.choice(classes, LEFT_OUT, replace=False)
    place = np.full(classes, UNLABELED)
    place[np.setdiff1d(np.arange(classes), left_out)] = np.arange(classes - LEFT_OUT)
    truth = place[labels]
    roles = draw_roles(
        truth,
        [str(label) for label in range(classes - LEFT_OUT)],
        labeled_per_class=[per_class] * (classes - LEFT_OUT),
        validation_per_class=0,
        calibration_images=calibration,
        rng=rng,
    )
    rows = {role: np.flatnonzero(roles == role) for role in ("labeled", "calibration", "unlabeled")}
    embedding = fit_embedding(features[np.concatenate([rows["labeled"], rows["unlabeled"]])])
    shown = {role: embed(embedding, features[found]) for role, found in rows.items()}
    points = Points(shown["labeled"], torch.from_numpy(truth[rows["labeled"]]), shown["unlabeled"], classes - LEFT_OUT)
    probe = supervised_probe(points, PROBE_STRENGTH)
    seen = {
        role: Seen(features[found].numpy(), probe(shown[role]).log_softmax(dim=1).numpy(), truth[found], labels[found])
        for role, found in rows.items()
    }
    return World(seen["labeled"], seen["calibration"], seen["unlabeled"])


def photographs_seen(folders: Sequence[Path]) -> dict[str, tuple[torch.Tensor, Array]]:
    """Name of a folder of photographs → features (N, D) of the embedded network, labels (N,)."""
    found = {}
    for folder in folders:
        features, labels, _ = photographs.look(folder, photographs.config_of("efficientnet_lite0", SIDE))
        found[folder.name] = (features, labels)
    return found
