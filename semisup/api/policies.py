"""Ways to learn from rows without a label that are no policy of a step: what a teacher, or a graph, says of them.

The policies of a step (`FixMatch`, `FreeMatch` …) are those of :mod:`semisup.pseudo_labels.policies`.
"""

import sys
from dataclasses import dataclass, fields, is_dataclass
from numbers import Integral, Real
from typing import Literal, TypeAlias, get_args

from torch import Tensor

from semisup.config import PolicyConfig
from semisup.config.files import validate_kind
from semisup.config.methods import MethodFacts
from semisup.errors import UserError
from semisup.pseudo_labels import Policy
from semisup.pseudo_labels.modifiers import Modifier
from semisup.pseudo_labels.policies.confidence import confidence_weights
from semisup.pseudo_labels.policies.threshold import FixedLabels

Weights: TypeAlias = Literal["equal", "confidence"]
WEIGHTS = get_args(Weights)
OURS = "semisup.pseudo_labels."


@dataclass(frozen=True)
class SelfTraining:
    """A teacher that learned from the labels alone labels the other rows; a fresh student learns from both.

    In later rounds the student is the teacher of another one.

    Examples:
        >>> import semisup as ss
        >>> ss.SelfTraining(threshold=0.9, rounds=2)
        SelfTraining(threshold=0.9, rounds=2, weights='equal')

    Raises:
        UserError: a threshold outside [0, 1], no round, or other weights.
    Source: Lee 2013, section 3; with a frozen teacher as in Xie et al. 2020 (arXiv 1911.04252), algorithm 1.
    """

    threshold: float = 0.9
    """Least confidence of a label that is accepted, in [0, 1]."""
    rounds: int = 1
    weights: Weights = "equal"
    """`equal`: accepted labels count 1, the others 0. `confidence`: every label counts (c − 1/C) / (1 − 1/C), with the
    confidence c, for C classes; the threshold then only says which of them are called accepted."""

    def __post_init__(self) -> None:
        check_fraction("threshold", self.threshold)
        if isinstance(self.rounds, bool) or not isinstance(self.rounds, Integral) or self.rounds < 1:
            raise UserError(f"rounds={self.rounds!r}, but a student is trained at least once; use 1, 2, …")
        if self.weights not in WEIGHTS:
            raise UserError(f"weights={self.weights!r}; use 'equal' or 'confidence'")

    def policy(self, labels: Tensor, confidence: Tensor, num_classes: int) -> FixedLabels:
        """What the student learns from: labels (N,) of the rows, and the confidence (N,) of the teacher in them."""
        if self.weights == "confidence":
            return FixedLabels(labels, confidence_weights(confidence, num_classes))
        return FixedLabels(labels, self.accepts(confidence).float())

    def accepts(self, confidence: Tensor) -> Tensor:
        """bool (N,)."""
        return confidence.float() >= self.threshold


@dataclass(frozen=True)
class LabelGraph:
    """For feature vectors: labels spread over the graph of nearest neighbors, and whatever does best is kept.

    Every label is held out in turn. So judged, the best of three is kept: a logistic regression on the labels, the
    graph itself (on whichever view of the vectors suits it), and a logistic regression that learns from the graph's
    labels as well. All three are solved exactly: there are no steps, and a `budget` has nothing to count.

    Raises:
        UserError: a threshold outside [0, 1].
    Source: Zhou et al. 2004 (Learning with local and global consistency), and :mod:`semisup.frozen`.
    """

    threshold: float = 0.8
    """Least confidence of a label that is called accepted, in [0, 1]; the graph itself needs none."""

    def __post_init__(self) -> None:
        check_fraction("threshold", self.threshold)


AnyPolicy: TypeAlias = Policy | SelfTraining | LabelGraph


def check_fraction(name: str, value: float, most: float = 1) -> None:
    """Make sure that a number is a fraction.

    Raises:
        UserError: it is not in [0, most].
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= most:
        raise UserError(f"{name}={value!r} is outside [0, {most:g}]; use a number such as {0.9 if most == 1 else 0.2}")


def check_policy(policy: object) -> None:
    """Make sure that something is a policy, and that its numbers are such as a config may hold.

    Raises:
        UserError: it is not.
    """
    if isinstance(policy, type):
        raise UserError(f"policy={policy.__name__} is a class; write {policy.__name__}()")
    if isinstance(policy, Modifier):
        check_policy(policy.policy)
    ours = isinstance(policy, SelfTraining | LabelGraph)
    if not ours and not all(hasattr(policy, name) for name in ("init", "update", "uses_predictions")):
        raise UserError(f"policy={policy!r} is no policy; use for example semisup.FixMatch(0.95), or None")
    if type(policy).__module__.startswith(OURS) and is_dataclass(policy):
        for name in {field.name for field in fields(policy)} & PolicyConfig.model_fields.keys():
            value = getattr(policy, name)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise UserError(f"{type(policy).__name__}: {name}={value!r} is no number; use one")
            validate_kind(PolicyConfig, {name: float(value)}, type(policy).__name__)


def facts_of(policy: Policy) -> MethodFacts:
    """What is known of the method that a policy belongs to; of one of your own, what holds for most."""
    while isinstance(policy, Modifier):
        policy = policy.policy
    found = getattr(sys.modules[type(policy).__module__], "METHOD", None)
    return found if isinstance(found, MethodFacts) else MethodFacts(learns_from="images", view="weak")
