"""The targets of labeled images: smoothed, disturbed anew for every batch, weighted by class and image."""

from typing import Any

import torch
from torch import Tensor

from semisup.config import TrainConfig
from semisup.pseudo_labels.targets import disturb, one_hot, smooth
from semisup.system.randomness import torch_generator
from semisup.training.losses import class_weights


class LabeledTargets:
    """Targets float32 (B, C) of the images at some indices, with the weights of their classes and images as factors.

    `labels` is int64 (N,); `weights` float32 (N,), one for each image, or None. Smoothing comes after DisturbLabel, and
    a class weight goes with the class that a target names, as torch's CrossEntropyLoss does it.

    Raises:
        ValueError: a label outside [0, C), or another number of weights than labels.
    """

    def __init__(
        self, labels: Tensor, num_classes: int, config: TrainConfig, seed: int, weights: Tensor | None = None
    ) -> None:
        if weights is not None and weights.shape != labels.shape:
            raise ValueError(f"{len(weights)} weights for {len(labels)} images; one each is needed")
        targets = one_hot(labels, num_classes)
        self.labels, self.num_classes, self.config, self.weights = labels, num_classes, config, weights
        counts = torch.bincount(labels, minlength=num_classes).clamp(min=1)  # a class without images meets no weight
        self.of_classes = class_weights(counts, config.class_weights).to(labels.device)
        self.generator = torch_generator(seed, "disturb label", labels.device)
        self.undisturbed = self._targets(targets, slice(None))

    def __call__(self, indices: Tensor) -> Tensor:
        """The targets of one batch."""
        if not self.config.disturb_label:
            return self.undisturbed.index_select(0, indices)
        labels = disturb(self.labels[indices], self.num_classes, self.config.disturb_label, self.generator)
        return self._targets(one_hot(labels, self.num_classes), indices)

    def _targets(self, targets: Tensor, indices: Tensor | slice) -> Tensor:
        smoothing = self.config.label_smoothing
        if smoothing.epsilon:
            targets = smooth(targets, smoothing.epsilon, smoothing.spread)
        if self.config.class_weights != "none":
            targets = targets * self.of_classes
        return targets if self.weights is None else targets * self.weights[indices, None]

    def state(self) -> dict[str, Any]:
        """What decides every batch to come, the labels themselves apart."""
        return {"generator": self.generator.get_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.generator.set_state(state["generator"])
