"""FreeMatch: thresholds that follow the model's own confidence, and a term for fair class shares."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from semisup.pseudo_labels import Policy, State
from semisup.pseudo_labels.method import Method


@dataclass(frozen=True)
class FreeMatch(Policy):
    """Target: one-hot ŷ = argmax p; weight w = [c ≥ τ · p̃(ŷ) / max_k p̃(k)], with the confidence c = max p.

    Running means, x ← m·x + (1 - m)·(mean over the batch), all from 1/C on: τ of c, p̃ (C,) of p, h̃ (C,) of the
    one-hot ŷ. A batch enters them before its own weights are taken, as in the authors' code (TorchSSL/TorchSSL,
    models/freematch/freematch.py; microsoft/Semi-supervised-learning has started from 1/C as well since April 2023, and
    from 1 before).

    Source: Wang et al. 2023 (arXiv 2205.07246), sections 4.1 (thresholds) and 4.2 (fairness).
    """

    momentum: float = 0.999
    """m, in [0, 1)."""
    fairness_weight: float = 0.01
    """Of the fairness term; 0 leaves it out."""
    uses_predictions: ClassVar[bool] = True

    def init(self, num_unlabeled: int, num_classes: int) -> State:
        """`threshold` (), `mean_prediction` (C,) and `histogram` (C,), float32, each 1/C."""
        uniform = torch.full((num_classes,), 1 / num_classes)
        return {"threshold": torch.tensor(1 / num_classes), "mean_prediction": uniform, "histogram": uniform.clone()}

    def update(self, state: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor, Tensor]:
        """One-hot argmax (U, C) and weights 0 or 1 (U,)."""
        confidence, predicted = probabilities.max(dim=1)
        targets = F.one_hot(predicted, probabilities.shape[1]).to(probabilities.dtype)
        state = {name: value.to(probabilities.device) for name, value in state.items()}
        if len(probabilities):
            state = {
                "threshold": state["threshold"].lerp(confidence.mean(), 1 - self.momentum),
                "mean_prediction": state["mean_prediction"].lerp(probabilities.mean(dim=0), 1 - self.momentum),
                "histogram": state["histogram"].lerp(targets.mean(dim=0), 1 - self.momentum),
            }
        relative = state["mean_prediction"] / state["mean_prediction"].max()
        return state, targets, (confidence >= state["threshold"] * relative[predicted]).float()

    def extra_loss(self, state: State, logits: Tensor, weights: Tensor, indices: Tensor) -> Tensor | None:
        """fairness_weight · Σ_k N(p̃/h̃)_k · log N(p̄/h̄)_k, a scalar; None where the weight is 0.

        p̄ (C,) is the mean of the student's predictions of the selected images (weight > 0) and h̄ (C,) the share of
        each class among their argmaxes, which has no gradient; N divides by the sum. A class that is no image's argmax
        counts 0, as does a batch without selected images. (The authors' code adds 1e-12 within the logarithm instead:
        another constant, the same gradient.)
        """
        if self.fairness_weight == 0:
            return None
        selected = (weights > 0).to(logits.dtype)[:, None]
        count = selected.sum().clamp(min=1)
        argmax = F.one_hot(logits.argmax(dim=1), logits.shape[1])
        expected = _balanced(state["mean_prediction"], state["histogram"])
        found = _balanced((selected * logits.softmax(dim=1)).sum(dim=0) / count, (selected * argmax).sum(dim=0) / count)
        return self.fairness_weight * (expected * torch.where(found > 0, found, 1).log()).sum()


def _balanced(mean_prediction: Tensor, histogram: Tensor) -> Tensor:
    """N(mean_prediction / histogram), (C,): 0 where the histogram is 0, all 0 if nothing is in it."""
    empty = histogram == 0
    # The inner `where` keeps the gradient finite: that of a division by 0 is NaN, even where it is not used.
    ratio = torch.where(empty, 0, mean_prediction / torch.where(empty, 1, histogram))
    return ratio / ratio.sum().clamp(min=1e-12)


METHOD = Method(
    learns_from="images",
    view="weak",
    leaves_images_out=True,
    remembers=True,
    heeds=frozenset({"momentum", "fairness_weight", "temperature"}),
    judges_single_images=True,
    policy=lambda told: FreeMatch(told.momentum, told.config.fairness_weight),
)
