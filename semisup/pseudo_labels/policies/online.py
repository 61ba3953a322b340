"""The student's own argmax as the label, anew at every step (Lee 2013; method 1 of the sources)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from semisup.pseudo_labels import Policy, State
from semisup.pseudo_labels.method import Method


@dataclass(frozen=True)
class OnlineArgmax(Policy):
    """Target: one-hot argmax of the current prediction; weight 1 for every image.

    Source: Lee 2013, equation 14.
    """

    uses_predictions: ClassVar[bool] = True

    def init(self, num_unlabeled: int, num_classes: int) -> State:
        """Nothing is remembered between steps."""
        return {}

    def update(self, state: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor, Tensor]:
        """One-hot argmax (U, C) and weights 1 (U,)."""
        targets = F.one_hot(probabilities.argmax(dim=1), probabilities.shape[1]).to(probabilities.dtype)
        return state, targets, torch.ones(len(targets), device=targets.device)


METHOD = Method(learns_from="images", view="same", policy=lambda told: OnlineArgmax())
"""The likeliest class is the same at any temperature."""
