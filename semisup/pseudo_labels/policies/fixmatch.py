"""FixMatch: the argmax as the label, of the images that the teacher is sure of."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from semisup.pseudo_labels import Policy, State
from semisup.pseudo_labels.method import Method


@dataclass(frozen=True)
class FixMatch(Policy):
    """Target: one-hot ŷ = argmax p; weight w = [c ≥ threshold], with the confidence c = max p.

    Source: Sohn et al. 2020 (arXiv 2001.07685), equation 4.
    """

    threshold: float = 0.95
    """Least confidence, in [0, 1]; compared in float32, so that a confidence of float32(threshold) reaches it."""
    uses_predictions: ClassVar[bool] = True

    def init(self, num_unlabeled: int, num_classes: int) -> State:
        """Nothing is remembered between steps."""
        return {}

    def update(self, state: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor, Tensor]:
        """One-hot argmax (U, C) and weights 0 or 1 (U,)."""
        confidence, predicted = probabilities.max(dim=1)
        targets = F.one_hot(predicted, probabilities.shape[1]).to(probabilities.dtype)
        return state, targets, (confidence.float() >= self.threshold).float()


METHOD = Method(
    learns_from="images",
    view="weak",
    leaves_images_out=True,
    heeds=frozenset({"threshold", "temperature"}),
    policy=lambda told: FixMatch(told.config.threshold),
)
