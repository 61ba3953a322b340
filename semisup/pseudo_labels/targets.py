"""Everything is a target: labels become soft targets (B, C), so that one loss serves every technique."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """One-hot targets, float32 (B, C), of int64 labels (B,).

    Raises:
        ValueError: a label outside [0, C); `UNLABELED` among them is the usual cause.
    """
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < num_classes):
        outside = int(labels.min() if labels.min() < 0 else labels.max())
        raise ValueError(f"label {outside} is outside [0, {num_classes}); unlabeled images have no target")
    return F.one_hot(labels, num_classes).to(torch.float32)


def smooth(targets: Tensor, epsilon: float, spread: Literal["all", "others"]) -> Tensor:
    """Smoothed targets, float32 (B, C), of targets (B, C) whose rows sum to 1.

    "all" spreads epsilon over every class: a one-hot's true class keeps 1 - epsilon + epsilon/C (torch's convention).
    "others" spreads it over the C - 1 wrong ones: a one-hot's true class keeps exactly 1 - epsilon.

    Raises:
        ValueError: epsilon outside [0, 1), or "others" with a single class.
    Source: Szegedy et al. 2016, section 7.
    """
    if not 0 <= epsilon < 1:
        raise ValueError(f"epsilon={epsilon} is outside [0, 1)")
    num_classes = targets.shape[1]
    if spread == "all":
        return targets * (1 - epsilon) + epsilon / num_classes
    if num_classes < 2:
        raise ValueError('spread="others" needs at least 2 classes')
    return targets * (1 - epsilon) + (1 - targets) * (epsilon / (num_classes - 1))


def disturb(labels: Tensor, num_classes: int, rate: float, generator: torch.Generator) -> Tensor:
    """Labels (B,) of which `rate` percent, each by chance, are drawn anew, uniformly over all C classes.

    So a label stays with probability 1 - (C - 1)/C · rate/100 and becomes each other one with (rate/100)/C. To be
    called for every batch: fixed wrong labels would be noise to learn by heart.

    Raises:
        ValueError: rate outside [0, 100].
    Source: Xie et al. 2016 (DisturbLabel), section 3.
    """
    if not 0 <= rate <= 100:
        raise ValueError(f"rate={rate} is outside [0, 100]; it is a percentage")
    device = generator.device
    redrawn = torch.rand(len(labels), generator=generator, device=device) < rate / 100
    others = torch.randint(num_classes, (len(labels),), generator=generator, device=device)
    return torch.where(redrawn.to(labels.device), others.to(labels.device), labels)


@dataclass(frozen=True)
class Mixing:
    """One draw of mixup: `lam` in [0, 1] and the partner (B,) of every image."""

    lam: float
    partner: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """lam · values + (1 - lam) · values[partner], float32, for images (B, C, H, W) or targets (B, C)."""
        return self.blend(values, values[self.partner])

    def blend(self, values: Tensor, partners: Tensor) -> Tensor:
        """lam · values + (1 - lam) · partners, float32, where the partners' values are at hand."""
        return torch.lerp(partners.float(), values.float(), self.lam)


def draw_mixing(batch_size: int, alpha: float, rng: np.random.Generator, device: torch.device | None = None) -> Mixing:
    """λ ~ Beta(alpha, alpha) and a random permutation; alpha = 0 is no mixing (λ = 1).

    Raises:
        ValueError: alpha is negative.
    Source: Zhang et al. 2018, algorithm 1.
    """
    if alpha < 0:
        raise ValueError(f"mixup alpha={alpha} is negative; use 0 to turn mixup off")
    lam = float(rng.beta(alpha, alpha)) if alpha > 0 else 1.0
    partner = torch.from_numpy(rng.permutation(batch_size))
    return Mixing(lam, partner if device is None else partner.to(device))


def soft_accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Share of the batch's target mass that lies on the predicted classes, a scalar in [0, 1].

    For one-hot targets it is the accuracy; under mixup the λ-weighted one over both labels. Images and classes that
    carry weights count by them.
    """
    return targets.gather(1, logits.argmax(dim=1, keepdim=True)).sum() / targets.sum()
