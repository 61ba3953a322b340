"""The prediction itself as the target, of every image."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from semisup.pseudo_labels import Policy, State
from semisup.pseudo_labels.method import Method


@dataclass(frozen=True)
class SoftLabels(Policy):
    """Target: the probabilities as they are, q = p; weight 1 for every image.

    On its own, with the student as its own teacher on the same view, it teaches nothing: the target is the prediction,
    and the gradient 0. It is of use behind a modifier (`Sharpened`, `Aligned`, `Blended`), with an average of the
    weights as the teacher, or with another view.

    Source: Arazo et al. 2020 (arXiv 1908.02983), section 3.1, without its mixup and its regularizers.
    """

    uses_predictions: ClassVar[bool] = True

    def init(self, num_unlabeled: int, num_classes: int) -> State:
        """Nothing is remembered between steps."""
        return {}

    def update(self, state: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor, Tensor]:
        """The probabilities (U, C) and weights 1 (U,)."""
        return state, probabilities, torch.ones(len(probabilities), device=probabilities.device)


METHOD = Method(
    learns_from="images",
    heeds=frozenset({"temperature"}),
    view="same",
    is_its_own_target=True,
    policy=lambda told: SoftLabels(),
)
