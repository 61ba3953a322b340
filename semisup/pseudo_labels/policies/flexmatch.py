"""FlexMatch: a lower threshold for classes that few images are labeled with so far."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from semisup.data.datasets import UNLABELED
from semisup.pseudo_labels import Policy, State
from semisup.pseudo_labels.method import Method


@dataclass(frozen=True)
class FlexMatch(Policy):
    """Target: one-hot ŷ = argmax p; weight w = [c ≥ τ · β(ŷ) / (2 - β(ŷ))], with the confidence c = max p.

    Every image remembers the last label that it got with c > τ. σ(k) of the N images remember class k, and
    β(k) = σ(k) / max(max_j σ(j), N - Σ_j σ(j)): while most images remember nothing, these decide (warm-up). At first
    β = 0, so that every image counts.

    The thresholds of a step come from what is remembered *before* its batch, as in algorithm 1 of the paper and in
    the authors' code (TorchSSL/TorchSSL, models/flexmatch/flexmatch.py, and microsoft/Semi-supervised-learning,
    semilearn/algorithms/flexmatch/utils.py). That code remembers from c ≥ τ on, the paper says c > τ.

    Source: Zhang et al. 2021 (arXiv 2110.08263), sections 3.1 (σ, β), 3.2 (warm-up) and 3.3 (the convex map
    β / (2 - β)).
    """

    threshold: float = 0.95
    """τ, in [0, 1]."""
    uses_predictions: ClassVar[bool] = True

    def init(self, num_unlabeled: int, num_classes: int) -> State:
        """`remembered`: a label for each image, int64 (N,), UNLABELED for all of them."""
        return {"remembered": torch.full((num_unlabeled,), UNLABELED)}

    def update(self, state: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor, Tensor]:
        """One-hot argmax (U, C) and weights 0 or 1 (U,). Of an image that is there twice, the last sure view counts."""
        num_classes = probabilities.shape[1]
        remembered = state["remembered"].to(probabilities.device)
        confidence, predicted = probabilities.max(dim=1)
        confidence = confidence.float()

        # Position 0 counts the images that remember nothing. Integers are added: the order does not matter.
        counts = torch.zeros(num_classes + 1, dtype=torch.int64, device=remembered.device)
        counts = counts.scatter_add(0, remembered - UNLABELED, torch.ones_like(remembered))
        learned = counts[1:] / counts.max().clamp(min=1)  # β, (C,)
        thresholds = self.threshold * (learned / (2 - learned))
        weights = (confidence >= thresholds[predicted]).float()

        # (position in the batch, label) as one number, of which each image keeps the largest.
        entries = torch.arange(len(indices), device=remembered.device) * num_classes + predicted
        entries = torch.where(confidence > self.threshold, entries, UNLABELED)
        latest = torch.full_like(remembered, UNLABELED).scatter_reduce(0, indices, entries, "amax")
        remembered = torch.where(latest == UNLABELED, remembered, latest % num_classes)

        targets = F.one_hot(predicted, num_classes).to(probabilities.dtype)
        return {"remembered": remembered}, targets, weights


METHOD = Method(
    learns_from="images",
    view="weak",
    leaves_images_out=True,
    heeds=frozenset({"threshold", "temperature"}),
    policy=lambda told: FlexMatch(told.config.threshold),
)
