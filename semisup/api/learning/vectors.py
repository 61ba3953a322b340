"""Learning from feature vectors without steps: labels held out in turn choose between three ways and their views."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from semisup.api.inputs import Given, Learned, Model, arrays
from semisup.api.policies import LabelGraph
from semisup.frozen.graph import Graph, extend, neighbor_graph
from semisup.frozen.learning import (
    STRENGTHS,
    TINY,
    Partitions,
    Points,
    deal_partitions,
    graph_temperature,
    hold_out_graph,
    hold_out_student,
    hold_out_supervised,
    log_loss,
    spread_labels,
    student_probe,
    supervised_probe,
)
from semisup.frozen.probe import Probe
from semisup.pseudo_labels.policies.confidence import confidence_weights
from semisup.system.randomness import numpy_generator
from semisup.system.threads import one_thread

FOLDS, REPETITIONS = 5, 3
FEWEST = 10
"""Labels from which on holding some out says anything."""
USUAL_STRENGTH, STUDENT_STRENGTH = 1.0, 30.0
"""C of a probe that nothing could choose, and of one that learns from a graph's labels, which held-out ones cannot
choose: the pseudo-labels know them."""
AS_GOOD_AS_CONSTANT = 1e-10
"""Of a column's mean: a smaller deviation is rounding."""


@dataclass(frozen=True, eq=False)
class View:
    """Vectors x (N, D) as z = (x − shift) · scale, whose squared lengths are 1 on average; float64.

    Attributes:
        shift, scale: float64 (D,).
        lifted: do distances between vectors decide which are neighbors, or, without it, their directions?
    """

    shift: Tensor
    scale: Tensor
    lifted: bool

    def __call__(self, vectors: Tensor) -> Tensor:
        """z."""
        return (vectors.double() - self.shift) * self.scale

    def points(self, vectors: Tensor) -> Tensor:
        """Of length 1: z / |z|, (N, D), or lifted (2z, |z|² − 1) / (|z|² + 1), (N, D + 1).

        The latter is the inverse of the stereographic projection: cosines of the points are then 1 − 2|a − b|² /
        ((1 + |a|²)(1 + |b|²)), so that near vectors have near points, whatever their lengths.
        """
        seen = self(vectors)
        if not self.lifted:
            return F.normalize(seen)
        squared = seen.square().sum(dim=1, keepdim=True)
        return torch.cat([2 * seen, squared - 1], dim=1) / (squared + 1)


def standardized(vectors: Tensor, weights: Tensor) -> View:
    """Every column of vectors (N, D) with weights (N,) gets the mean 0 and the same deviation; constant ones get 0."""
    shares = (weights / weights.sum())[:, None]
    mean = (shares * vectors).sum(dim=0)
    deviation = (shares * (vectors - mean).square()).sum(dim=0).sqrt()
    varies = deviation > AS_GOOD_AS_CONSTANT * mean.abs()
    scale = torch.where(varies, 1 / torch.where(varies, deviation, 1), 0) / max(int(varies.sum()), 1) ** 0.5
    return View(mean, scale, lifted=True)


def _views(vectors: Tensor, weights: Tensor) -> dict[str, View]:
    """Three ideas of what makes two vectors alike."""
    columns = standardized(vectors, weights)

    def alike(shift: Tensor, *, lifted: bool) -> View:
        """One scale for all columns: their own deviations mean something, as those of pixels do."""
        lengths = (vectors - shift).square().sum(dim=1)
        mean = float((weights * lengths).sum() / weights.sum())
        return View(shift, torch.full_like(shift, mean**-0.5 if mean > 0 else 0.0), lifted)

    return {
        "standardized": columns,
        "distances": alike(columns.shift, lifted=True),
        "directions": alike(torch.zeros_like(columns.shift), lifted=False),
    }


@dataclass(frozen=True, eq=False)
class ProbeModel:
    """A logistic regression on z or, upon the graph's labels, on points."""

    view: View
    probe: Probe
    on_points: bool

    def log_probabilities(self, rows: Tensor) -> Tensor:
        """float64 (N, C) of vectors (N, D)."""
        seen = self.view.points(rows) if self.on_points else self.view(rows)
        return self.probe(seen).log_softmax(dim=1)

    def description(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"kind": "probe", "lifted": self.view.lifted, "on_points": self.on_points}

    def tensors(self) -> dict[str, Tensor]:
        """The numbers."""
        numbers = {"weight": self.probe.weight, "bias": self.probe.bias}
        return arrays({"shift": self.view.shift, "scale": self.view.scale} | numbers)


@dataclass(frozen=True, eq=False)
class GraphModel:
    """The graph itself: a new vector is what its nearest neighbors among those of the training are.

    Attributes:
        known: float32 (N, d), points.
        scores: float32 (N, C), what the graph says of them, as shares.
        temperature: of its probabilities, fitted on labels that were held out.
    """

    view: View
    known: Tensor
    scores: Tensor
    temperature: float

    def log_probabilities(self, rows: Tensor) -> Tensor:
        """float64 (N, C) of vectors (N, D)."""
        found = extend(self.known.double(), self.scores.double(), self.view.points(rows))
        lost = found.sum(dim=1, keepdim=True) == 0  # like no other: all classes alike
        return (torch.where(lost, 1, found).clamp(min=TINY).log() / self.temperature).log_softmax(dim=1)

    def description(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"kind": "graph", "lifted": self.view.lifted, "temperature": self.temperature}

    def tensors(self) -> dict[str, Tensor]:
        """The numbers."""
        numbers = {"known": self.known, "scores": self.scores}
        return arrays({"shift": self.view.shift, "scale": self.view.scale} | numbers)


def restore(description: dict[str, Any], tensors: dict[str, Tensor]) -> Model:
    """The model that `description` and `tensors` were asked of."""
    view = View(tensors["shift"], tensors["scale"], description["lifted"])
    if description["kind"] == "probe":
        return ProbeModel(view, Probe(tensors["weight"], tensors["bias"]), description["on_points"])
    return GraphModel(view, tensors["known"], tensors["scores"], description["temperature"])


class _Way(NamedTuple):
    """What was tried, and what held-out labels say of it."""

    name: str
    view: str
    accuracy: float
    loss: float
    strength: float = 0.0
    temperature: float = 1.0

    def record(self) -> dict[str, Any]:
        """As JSON takes it: None where no label was held out."""
        held_out = {"held_out_accuracy": self.accuracy, "held_out_log_loss": self.loss}
        return {"way": self.name, "view": self.view, **(dict.fromkeys(held_out) if isnan(self.accuracy) else held_out)}


def solve(given: Given, policy: LabelGraph) -> Learned:
    """The best of the ways upon vectors, as :class:`LabelGraph` says."""
    task = _Task.of(given)
    with one_thread():
        ways = list(_tried(task, given.seed))
        # Of equally many right labels the surer way: a handful of labels makes many ties.
        best = max(ways, key=lambda way: (way.accuracy, -way.loss))
        model, said = _fitted(task, best)
    confidence, labels = said.max(dim=1)
    learned_from = best.name != "baseline"
    accepted = (confidence >= policy.threshold) & learned_from
    return Learned(
        model=model,
        history=[way.record() | {"kept": way is best} for way in ways],
        termination=_termination(task, accepted),
        labels=labels,
        confidence=confidence,
        accepted=accepted,
        iteration=torch.where(accepted, 1, -1),
        validation=0,
    )


@dataclass(frozen=True, eq=False)
class _Task:
    """The rows, in parts."""

    given: Given
    views: dict[str, View]
    labels: Tensor
    weights: Tensor

    @classmethod
    def of(cls, given: Given) -> "_Task":
        labels, weights = given.codes[given.labeled], given.weights[given.labeled]
        return cls(given, _views(given.rows, given.weights), labels, weights)

    def plain(self) -> Points:
        """For the regression on labels alone."""
        return self._points(self.views["standardized"])

    def on_sphere(self, name: str) -> Points:
        """For a graph, and what learns from it."""
        return self._points(self.views[name].points)

    def _points(self, see: Any) -> Points:
        rows, given = self.given.rows, self.given
        return Points(
            see(rows[given.labeled]), self.labels, see(rows[given.unlabeled]), given.num_classes, self.weights
        )


def _tried(task: _Task, seed: int) -> Iterator[_Way]:
    given, rng = task.given, numpy_generator(seed, "folds")
    units = given.units[given.labeled.numpy()]
    if len(np.unique(units)) < FEWEST or given.num_classes == 1:
        yield from _untried(task)
        return
    repetitions = REPETITIONS if len(given.unlabeled) else 1
    partitions = list(deal_partitions(task.labels.numpy(), FOLDS, repetitions, rng, units))
    strength, table = hold_out_supervised(task.plain(), partitions, STRENGTHS)
    yield _way("baseline", "standardized", table, task, strength=strength)
    if not len(given.unlabeled):
        return
    graphs = [_graph_way(name, task, partitions) for name in task.views]
    yield from graphs
    view, temperature = max((way.accuracy, -way.loss, way.view, way.temperature) for way in graphs)[2:]
    points = task.on_sphere(view)
    student = hold_out_student(points, _graph(points), partitions, temperature, STUDENT_STRENGTH)
    yield _way("student", view, student, task, strength=STUDENT_STRENGTH, temperature=temperature)


def _untried(task: _Task) -> Iterator[_Way]:
    """With next to no labels nothing can be held out: the graph, where there is something for it to say."""
    nothing: dict[str, Any] = {"accuracy": float("nan"), "loss": float("nan")}
    if len(task.given.unlabeled) and task.given.num_classes > 1:
        yield _Way("graph", "standardized", **nothing)
    else:
        yield _Way("baseline", "standardized", **nothing, strength=USUAL_STRENGTH)


def _graph_way(name: str, task: _Task, partitions: Partitions) -> _Way:
    points = task.on_sphere(name)
    table = hold_out_graph(points, _graph(points), partitions)
    temperature = graph_temperature(table, task.labels)
    return _way("graph", name, (table / temperature).log_softmax(dim=2), task, temperature=temperature)


def _way(name: str, view: str, table: Tensor, task: _Task, **chosen: float) -> _Way:
    right = (table.argmax(dim=2) == task.labels).double().mean(dim=0)
    accuracy = float((right * task.weights).sum() / task.weights.sum())
    return _Way(name, view, accuracy, log_loss(table, task.labels, task.weights), **chosen)


def _graph(points: Points) -> Graph:
    return neighbor_graph(torch.cat([points.labeled, points.unlabeled]).float())


def _fitted(task: _Task, way: _Way) -> tuple[Model, Tensor]:
    """The model on all labels, and what is said of the rows without one: probabilities (m, C)."""
    given = task.given
    if given.num_classes == 1:
        still = Probe(torch.zeros(1, given.rows.shape[1]).double(), torch.zeros(1).double())
        return ProbeModel(task.views["standardized"], still, on_points=False), torch.ones(len(given.unlabeled), 1)
    if way.name == "baseline":
        plain = task.plain()
        model = ProbeModel(task.views[way.view], supervised_probe(plain, way.strength), on_points=False)
        return model, model.log_probabilities(given.rows[given.unlabeled]).exp()
    points, view = task.on_sphere(way.view), task.views[way.view]
    said = torch.from_numpy(spread_labels(_graph(points), points))
    tempered = (said.clamp(min=TINY).log() / way.temperature).softmax(dim=1)[len(task.labels) :]
    if way.name == "graph":
        known = torch.cat([points.labeled, points.unlabeled]).float()
        return GraphModel(view, known, said, way.temperature), tempered
    confidence, labels = tempered.max(dim=1)
    weights = confidence_weights(confidence, given.num_classes)
    return ProbeModel(view, student_probe(points, labels, weights, way.strength), on_points=True), tempered


def _termination(task: _Task, accepted: Tensor) -> str:
    if not len(task.given.unlabeled):
        return "no_unlabeled"
    return "all_labeled" if bool(accepted.all()) else "solved"
