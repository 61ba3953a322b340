"""AdaMatch: alignment with the labeled images' predictions, and a threshold relative to their confidence."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from semisup.pseudo_labels import Policy, State
from semisup.pseudo_labels.method import Method
from semisup.pseudo_labels.modifiers import align, corrected_mean


@dataclass(frozen=True)
class AdaMatch(Policy):
    """Target: the aligned p' = N(p · p̃_L / p̃); weight w = [max p' ≥ τ · c̄_L].

    c̄_L is the mean confidence of the labeled batch of the same step, as the same network predicts it. p̃_L and p̃ (C,)
    are the mean predictions of labeled and of unlabeled images, and N divides by the sum. The paper takes both means
    from the batch. With ten labeled images of a hundred classes most of p̃_L would be noise, so they are running means
    here, corrected as in `Aligned`; momentum 0 is the paper's. A batch enters them before it is aligned itself.

    Left out is the paper's random interpolation between logits of two forward passes, which acts on the labeled loss.
    It is about batch norm where labeled and unlabeled images come from two domains. The code of microsoft/Semi-
    supervised-learning, semilearn/algorithms/adamatch, leaves it out as well; its running means begin with the first
    batch.

    Source: Berthelot et al. 2022 (arXiv 2106.04732), section 3: distribution alignment, relative confidence threshold
    (τ = 0.9), random logit interpolation.
    """

    threshold: float = 0.9
    """τ, in [0, 1], as a share of the labeled images' mean confidence."""
    momentum: float = 0.99
    """m, in [0, 1)."""
    uses_predictions: ClassVar[bool] = True
    uses_labeled_predictions: ClassVar[bool] = True

    def init(self, num_unlabeled: int, num_classes: int) -> State:
        """float32: `labeled_confidence` (), 1; `labeled_prediction` and `mean_prediction` (C,), 1/C; batches, 0."""
        uniform = torch.full((num_classes,), 1 / num_classes)
        return {
            "labeled_confidence": torch.tensor(1.0),
            "labeled_prediction": uniform,
            "labeled_batches": torch.tensor(0.0),
            "mean_prediction": uniform.clone(),
            "batches": torch.tensor(0.0),
        }

    def look_at_labeled(self, state: State, probabilities: Tensor) -> State:
        """Their mean confidence, of this batch, and their mean prediction, of all batches so far."""
        if not len(probabilities):
            return state
        state = {name: value.to(probabilities.device) for name, value in state.items()}
        mean, batches = state["labeled_prediction"], state["labeled_batches"] + 1
        return state | {
            "labeled_confidence": probabilities.amax(dim=1).mean(),
            "labeled_prediction": corrected_mean(mean, probabilities, self.momentum, batches),
            "labeled_batches": batches,
        }

    def update(self, state: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor, Tensor]:
        """Aligned probabilities (U, C) and weights 0 or 1 (U,)."""
        state = {name: value.to(probabilities.device) for name, value in state.items()}
        if len(probabilities):
            batches = state["batches"] + 1
            mean = corrected_mean(state["mean_prediction"], probabilities, self.momentum, batches)
            state |= {"mean_prediction": mean, "batches": batches}
        targets = align(probabilities, state["labeled_prediction"], state["mean_prediction"])
        sure = targets.amax(dim=1) >= self.threshold * state["labeled_confidence"]
        return state, targets, sure.float()


METHOD = Method(
    learns_from="images",
    view="weak",
    leaves_images_out=True,
    remembers=True,
    aligns=True,
    heeds=frozenset({"threshold", "momentum", "temperature"}),
    policy=lambda told: AdaMatch(told.config.threshold, told.momentum),
)
