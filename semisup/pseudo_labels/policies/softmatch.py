"""SoftMatch: every image counts, the less the further its confidence lies below the average."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from semisup.pseudo_labels import Policy, State
from semisup.pseudo_labels.method import Method
from semisup.pseudo_labels.modifiers import align

LEAST_VARIANCE = 1e-12
"""Where all confidences are equal, the rounding of their mean must not decide."""


@dataclass(frozen=True)
class SoftMatch(Policy):
    """Target: one-hot ŷ = argmax p; weight w = exp(-min(c' - μ, 0)² / (2v / n²)), which is 1 from c' = μ on.

    μ and v are running means, x ← m·x + (1 - m)·(of the batch), of the mean and the unbiased variance of the confidence
    c = max p, from μ = 1/C and v = 1 on; of a single image there is no variance, and v stays. With uniform alignment c'
    is the largest of N(p · (1/C) / p̃), where p̃ (C,) is the running mean of p from 1/C on and N divides by the sum; else
    c' = c. It changes weights only: ŷ, μ and v are those of p itself. A batch enters the running means before its
    own weights are taken.

    So it is in the authors' first code (TorchSSL/TorchSSL, models/softmatch/softmatch.py), which aligns with the
    running mean of the *labeled* images' predictions instead of 1/C. Their later code (microsoft/Semi-supervised-
    learning, semilearn/algorithms/softmatch) takes μ and v from the aligned p and starts p̃ with the first batch.

    Source: Chen et al. 2023 (arXiv 2301.10921), sections 3.1 (weights) and 3.2 (uniform alignment).
    """

    momentum: float = 0.999
    """m, in [0, 1)."""
    deviations: float = 2.0
    """n: how many times narrower than the confidences' own spread the bell is."""
    uniform_alignment: bool = True
    uses_predictions: ClassVar[bool] = True

    def init(self, num_unlabeled: int, num_classes: int) -> State:
        """`mean` (), `variance` () and `mean_prediction` (C,), float32."""
        return {
            "mean": torch.tensor(1 / num_classes),
            "variance": torch.tensor(1.0),
            "mean_prediction": torch.full((num_classes,), 1 / num_classes),
        }

    def update(self, state: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor, Tensor]:
        """One-hot argmax (U, C) and weights in [0, 1] (U,)."""
        confidence, predicted = probabilities.max(dim=1)
        targets = F.one_hot(predicted, probabilities.shape[1]).to(probabilities.dtype)
        state = {name: value.to(probabilities.device) for name, value in state.items()}
        if len(probabilities) >= 1:
            state["mean"] = state["mean"].lerp(confidence.mean(), 1 - self.momentum)
            state["mean_prediction"] = state["mean_prediction"].lerp(probabilities.mean(dim=0), 1 - self.momentum)
        if len(probabilities) >= 2:
            state["variance"] = state["variance"].lerp(confidence.var(correction=1), 1 - self.momentum)

        if self.uniform_alignment:
            uniform = torch.full_like(state["mean_prediction"], 1 / probabilities.shape[1])
            confidence = align(probabilities, uniform, state["mean_prediction"]).amax(dim=1)
        shortfall = (confidence - state["mean"]).clamp(max=0)
        scale = 2 * state["variance"].clamp(min=LEAST_VARIANCE) / self.deviations**2
        return state, targets, torch.exp(-shortfall.square() / scale)


METHOD = Method(
    learns_from="images",
    view="weak",
    remembers=True,
    heeds=frozenset({"momentum", "deviations", "temperature"}),
    policy=lambda told: SoftMatch(told.momentum, told.config.deviations),
)
