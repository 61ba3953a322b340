"""Labels given once by a frozen teacher (method 2 of the sources): those that a table of pseudo-labels holds."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from semisup.pseudo_labels import Policy, State
from semisup.pseudo_labels.method import Method, Told
from semisup.pseudo_labels.targets import one_hot


@dataclass(frozen=True)
class FixedLabels(Policy):
    """Target of image i: one-hot `labels[i]`, int64 (N,); weight `weights[i]`, float32 (N,), or 1 without any."""

    labels: Tensor
    weights: Tensor | None = None
    uses_predictions: ClassVar[bool] = False

    def init(self, num_unlabeled: int, num_classes: int) -> State:
        """The targets of all images, looked up at every step.

        Raises:
            ValueError: as many labels as images are needed, each in [0, C).
        """
        if len(self.labels) != num_unlabeled:
            raise ValueError(f"{len(self.labels)} pseudo-labels for {num_unlabeled} images; one each is needed")
        weights = torch.ones(num_unlabeled, device=self.labels.device) if self.weights is None else self.weights
        return {"targets": one_hot(self.labels, num_classes), "weights": weights}

    def update(self, state: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor, Tensor]:
        """The fixed targets; the probabilities are not looked at."""
        return state, state["targets"][indices], state["weights"][indices]


def _policy(told: Told) -> FixedLabels:
    assert told.labels is not None, "a method that learns from the table is told it"
    return FixedLabels(told.labels)


METHOD = Method(
    learns_from="accepted",
    view="weak",
    policy=_policy,
    weigh=lambda confidence, _: torch.ones_like(confidence),
)
"""The accepted labels, all with the same weight."""
