"""One loss for hard, smoothed, mixed and pseudo-labelled targets."""

from torch import Tensor


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy -Σ_c q_c · log p_c of each row, (B,), for logits (B, C) and targets (B, C).

    It is linear in the targets, so on mixed targets it equals λ·CE(p, y_a) + (1 - λ)·CE(p, y_b), as mixup asks.
    """
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1)


def joint_loss(labeled_losses: Tensor, unlabeled_losses: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """(total, supervised, unsupervised) of one step, scalars: L = L_labelled + α · L_unlabelled.

    labeled_losses is (B,); unlabeled_losses (U,) holds every unlabelled image of the batch, 0 for the unselected.
    Both are divided by their batch sizes: a strict threshold then lowers the weight of the unlabelled term
    instead of letting a handful of selected images dominate it.

    Source: Lee 2013, equation 15.
    """
    supervised, unsupervised = labeled_losses.mean(), unlabeled_losses.mean()
    return supervised + alpha * unsupervised, supervised, unsupervised
