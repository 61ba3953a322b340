"""Two ways to learn from frozen features, and what each is worth: every label judges a model that has not seen it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semisup.calibration.measures import fit_temperature
from semisup.frozen.graph import Graph, neighbor_graph, propagate, shares
from semisup.frozen.probe import Probe, fit_probe
from semisup.pseudo_labels.policies.confidence import confidence_weights
from semisup.system.threads import one_thread

STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
"""What C of the supervised probe is chosen from."""
TINY = 1e-12
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Points:
    """Embedded images: the labeled ones first, then the others.

    Attributes:
        labeled: float32 (n, d).
        labels: int64 (n,).
        unlabeled: float32 (m, d).
        num_classes: C.
        weights: float (n,), of the labeled ones; None: all alike.
    """

    labeled: Tensor
    labels: Tensor
    unlabeled: Tensor
    num_classes: int
    weights: Tensor | None = None

    def weights_among(self, among: Tensor | None) -> Tensor:
        """float (n,): the weights of the labeled images; of those that are not `among` them, bool (n,), 0."""
        weights = torch.ones(len(self.labels)) if self.weights is None else self.weights
        return weights if among is None else weights * among

    def graph(self) -> Graph:
        """Of all images, labeled ones first."""
        return neighbor_graph(torch.cat([self.labeled, self.unlabeled]))


def supervised_probe(points: Points, strength: float, among: Tensor | None = None) -> Probe:
    """The probe of the labeled images, or of those `among` them, bool (n,)."""
    return fit_probe(points.labeled, _one_hot(points.labels, points.num_classes), points.weights_among(among), strength)


def spread_labels(
    graph: Graph, points: Points, temperature: float = 1.0, among: Tensor | None = None
) -> NDArray[np.float32]:
    """What the graph says of all images, probabilities float32 (n + m, C), if the labels `among` them are known.

    `temperature` as in :func:`tempered`.
    """
    seeds = np.zeros((len(graph), points.num_classes), dtype=np.float32)
    known = torch.ones(len(points.labels), dtype=torch.bool) if among is None else among
    rows = known.nonzero().flatten().numpy()
    seeds[rows, points.labels[known].numpy()] = 1
    return tempered(shares(propagate(graph, seeds)), temperature)


def tempered(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """p^(1/T), scaled to sum 1, of each row of (N, C)."""
    if temperature == 1:
        return probabilities
    logs = torch.from_numpy(probabilities).clamp(min=TINY).log() / temperature
    return logs.softmax(dim=1).numpy()


def student_probe(
    points: Points,
    pseudo_labels: Tensor,
    weights: Tensor,
    strength: float,
    among: Tensor | None = None,
) -> Probe:
    """The probe of labeled images and of unlabeled ones with their pseudo-labels (m,) and weights (m,)."""
    known = points.weights_among(among)
    return fit_probe(
        torch.cat([points.labeled, points.unlabeled]),
        _one_hot(torch.cat([points.labels, pseudo_labels]), points.num_classes),
        torch.cat([known, weights.to(known.dtype)]),
        strength,
    )


def deal_folds(
    labels: NDArray[np.int64], folds: int, rng: np.random.Generator, units: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """The fold of each image (n,), from 0: one class after the other is dealt out, and goes on where the last ended.

    So no fold holds all images, however few there are of each class. Images of one unit, numbers (n,), share a fold; a
    unit is of the class of its first image.
    """
    if units is not None:
        _, first, members = np.unique(units, return_index=True, return_inverse=True)
        shared: NDArray[np.int64] = deal_folds(labels[first], folds, rng)[members]
        return shared
    dealt = np.empty(len(labels), dtype=np.int64)
    order = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    dealt[order] = (np.arange(len(labels)) + rng.integers(folds)) % folds
    return dealt


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What was said of each labeled image by models that had not seen its label, in every repetition of the folds.

    Attributes:
        baseline: log-probabilities float32 (repetitions, n, C) of the supervised probe.
        student: those of the probe that learns from the graph's labels, too.
        graph: those of the graph itself, before any temperature.
        strength: C of the baseline, of those asked about the one with the least log-loss here.
        temperature: of the graph. One number, fitted on all of these images.
        seconds: of CPU time; name of a way → what it took.
    """

    baseline: Tensor
    student: Tensor
    graph: Tensor
    strength: float
    temperature: float
    seconds: Mapping[str, float] = field(default_factory=dict)

    def ways(self) -> dict[str, Tensor]:
        """Name → log-probabilities."""
        return {"baseline": self.baseline, "student": self.student, "graph": self.graph}


def log_loss(table: Tensor, truth: Tensor, weights: Tensor | None = None) -> float:
    """Mean over images and repetitions, in nats, of log-probabilities (repetitions, n, C) and the truth (n,).

    Images count by their weights (n,), where there are any.
    """
    losses = -table.gather(2, truth.expand(len(table), -1)[..., None])[..., 0]
    return float(losses.mean() if weights is None else (losses * weights).sum() / (len(table) * weights.sum()))


def share_right(table: Tensor, truth: Tensor) -> NDArray[np.float64]:
    """(n,): the share of the repetitions in which each image was right."""
    right: NDArray[np.float64] = (table.argmax(dim=2) == truth).double().mean(dim=0).numpy()
    return right


def hold_out(
    points: Points,
    graph: Graph,
    rng: np.random.Generator,
    *,
    student_strength: float,
    strengths: Sequence[float] = STRENGTHS,
    folds: int = 5,
    repetitions: int = 1,
    units: NDArray[np.int64] | None = None,
) -> HeldOut:
    """Both ways to learn, without the labels of one fold after the other; `units` (n,) as in :func:`deal_folds`.

    An image whose label is held out is one of the unlabeled ones in the graph, and no row of the student.
    """
    partitions = list(deal_partitions(points.labels.numpy(), folds, repetitions, rng, units))
    times = [time.process_time()]
    strength, supervised = hold_out_supervised(points, partitions, strengths)
    times.append(time.process_time())
    spread = hold_out_graph(points, graph, partitions)
    temperature = graph_temperature(spread, points.labels)
    times.append(time.process_time())
    student = hold_out_student(points, graph, partitions, temperature, student_strength)
    times.append(time.process_time())
    seconds = dict(zip(("baseline", "graph", "student"), np.diff(times).tolist(), strict=True))
    return HeldOut(supervised, student, spread, strength, temperature, seconds)


Partitions: TypeAlias = Sequence[tuple[int, Tensor]]
"""(repetition, from 0; images that are held out together, bool (n,)): each image once in every repetition."""


def deal_partitions(
    labels: NDArray[np.int64],
    folds: int,
    repetitions: int,
    rng: np.random.Generator,
    units: NDArray[np.int64] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Partitions; labels and units as in :func:`deal_folds`."""
    for number in range(repetitions):
        dealt = deal_folds(labels, folds, rng, units)
        for fold in np.unique(dealt):
            yield number, torch.from_numpy(dealt == fold)


def hold_out_supervised(points: Points, partitions: Partitions, strengths: Sequence[float]) -> tuple[float, Tensor]:
    """Of the strengths the one with the least log-loss, and what its probes say: as in :class:`HeldOut`."""
    with one_thread():
        tables = {strength: _table(points, partitions) for strength in strengths}
        for number, held in partitions:
            for strength, table in tables.items():
                table[number, held] = _logs(supervised_probe(points, strength, ~held), points.labeled[held])
    strength = min(tables, key=lambda value: log_loss(tables[value], points.labels, points.weights))
    return strength, tables[strength]


def hold_out_graph(points: Points, graph: Graph, partitions: Partitions) -> Tensor:
    """What the graph says, before any temperature: as in :class:`HeldOut`."""
    spread = _table(points, partitions)
    with one_thread():
        for number, held in partitions:
            said = spread_labels(graph, points, among=~held)[: len(points.labels)]
            spread[number, held] = torch.from_numpy(said)[held].clamp(min=TINY).log().to(spread.dtype)
    return spread


def hold_out_student(
    points: Points, graph: Graph, partitions: Partitions, temperature: float, strength: float
) -> Tensor:
    """What the probe says that learns from the graph's labels, too: as in :class:`HeldOut`."""
    student = _table(points, partitions)
    with one_thread():
        for number, held in partitions:
            of_unlabeled = spread_labels(graph, points, temperature, among=~held)[len(points.labels) :]
            confidence, labels = torch.from_numpy(of_unlabeled).max(dim=1)
            weights = confidence_weights(confidence, points.num_classes)
            probe = student_probe(points, labels, weights, strength, ~held)
            student[number, held] = _logs(probe, points.labeled[held])
    return student


def _table(points: Points, partitions: Partitions) -> Tensor:
    repetitions = 1 + max(number for number, _ in partitions)
    return torch.zeros(repetitions, len(points.labels), points.num_classes, dtype=points.labeled.dtype)


def graph_temperature(log_probabilities: Tensor, labels: Tensor) -> float:
    """T that makes held-out log-probabilities (repetitions, n, C) likeliest; 1 where all are right: any less would."""
    table = log_probabilities.flatten(0, 1)
    truth = labels.repeat(len(log_probabilities))
    if (table.argmax(dim=1) == truth).all():
        return 1.0
    return fit_temperature(table.numpy(), truth.numpy())


def _logs(probe: Probe, points: Tensor) -> Tensor:
    return probe(points).log_softmax(dim=1)


def _one_hot(labels: Tensor, num_classes: int) -> Tensor:
    return torch.nn.functional.one_hot(labels, num_classes)
