"""One loss for hard, smoothed, disturbed, mixed, weighted and pseudo-labeled targets."""

from typing import Literal

import torch
from torch import Tensor


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy -Σ_c q_c · log p_c of each row, (B,), for logits (B, C) and targets (B, C).

    It is linear in the targets. So on mixed targets it equals λ·CE(p, y_a) + (1 - λ)·CE(p, y_b), as mixup asks, and
    weights of classes (C,) or images (B, 1) are factors of the targets: rows need not sum to 1.
    """
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1)


def class_weights(counts: Tensor, scheme: Literal["none", "complement", "inverse_frequency"]) -> Tensor:
    """Weight of each class in the loss, float32 (C,), from the number of its images (C,), at least one each.

    "complement" is 1 - n_c/Σn, "inverse_frequency" 1/n_c. Both are scaled so that the mean over the images is 1: only
    the ratio between classes changes, not the size of a step. A single class has weight 1.
    """
    counts = counts.double()
    match scheme:
        case "none":
            return torch.ones(len(counts))
        case "complement":
            raw = 1 - counts / counts.sum() if len(counts) > 1 else torch.ones_like(counts)
        case "inverse_frequency":
            raw = 1 / counts
    return (raw * counts.sum() / (raw * counts).sum()).float()


def joint_loss(labeled_losses: Tensor, unlabeled_losses: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """(total, supervised, unsupervised) of one step, scalars: L = L_labeled + α · L_unlabeled.

    labeled_losses is (B,); unlabeled_losses (U,) holds every unlabeled image of the batch, 0 for the unselected.
    Both are divided by their batch sizes: a strict threshold then lowers the weight of the unlabeled term
    instead of letting a handful of selected images dominate it.

    Source: Lee 2013, equation 15.
    """
    supervised, unsupervised = labeled_losses.mean(), unlabeled_losses.mean()
    return supervised + alpha * unsupervised, supervised, unsupervised
