"""UPS: labels that are confident and certain, and classes that an image certainly does not have."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from semisup.pseudo_labels import Policy, State
from semisup.pseudo_labels.method import Method, Told
from semisup.pseudo_labels.targets import one_hot


@dataclass(frozen=True)
class UncertaintyLabels(Policy):
    """Target of image i: one-hot `labels[i]`; weight [accepted[i]]; `negative` classes are unlearned by `extra_loss`.

    Source: Rizve et al. 2021 (arXiv 2101.06329), section 3.
    """

    labels: Tensor
    """int64 (N,)."""
    accepted: Tensor
    """bool (N,)."""
    negative: Tensor
    """bool (N, C); of accepted images none, if they come from `select`."""
    uses_predictions: ClassVar[bool] = False

    def init(self, num_unlabeled: int, num_classes: int) -> State:
        """`targets` (N, C), `accepted` (N,) and `negative` (N, C), looked up at every step.

        Raises:
            ValueError: all three are needed for each image, labels in [0, C), one negative flag per class, and no image
                may be without a class that is left.
        """
        lengths = (len(self.labels), len(self.accepted), len(self.negative))
        if lengths != (num_unlabeled,) * 3:
            raise ValueError(f"{lengths} labels, accepted and negative for {num_unlabeled} images; one each is needed")
        if self.negative.shape != (num_unlabeled, num_classes):
            raise ValueError(
                f"negative has the shape {tuple(self.negative.shape)}; {num_classes} classes were expected"
            )
        if bool(self.negative.all(dim=1).any()):
            raise ValueError("an image has no class left: all are negative")
        targets = one_hot(self.labels, num_classes)
        return {"targets": targets, "accepted": self.accepted.bool(), "negative": self.negative.bool()}

    def update(self, state: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor, Tensor]:
        """The fixed targets and weights 0 or 1; the probabilities are not looked at."""
        state = {name: value.to(indices.device) for name, value in state.items()}
        return state, state["targets"][indices], state["accepted"][indices].float()

    def extra_loss(self, state: State, logits: Tensor, weights: Tensor, indices: Tensor) -> Tensor | None:
        """-mean log(1 - f_k), a scalar: over the negative classes of each image, then over the images that have any.

        f is the softmax of the logits. 0 if no image has a negative class. The order of the means is that of the
        authors' code (nayeemrizve/ups, utils/train_util.py); the paper gives the term of one image.
        """
        negative = state["negative"][indices]
        counts = negative.sum(dim=1)
        sums = torch.where(negative, -log_complement(logits), 0).sum(dim=1)
        return (sums / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)


def log_complement(logits: Tensor) -> Tensor:
    """log(1 - softmax(logits)), (U, C), in nats: finite and with finite gradients for any finite logits."""
    top = torch.zeros_like(logits, dtype=torch.bool).scatter(1, logits.argmax(dim=1, keepdim=True), True)
    # Only the largest probability can round to 1: its complement is the sum of the others, taken as logarithms. Those
    # others are at most 1/2. (The least finite number instead of -inf: with a single class nothing else is left.)
    others = logits.masked_fill(top, torch.finfo(logits.dtype).min)
    of_the_top = others.logsumexp(dim=1, keepdim=True) - logits.logsumexp(dim=1, keepdim=True)
    of_the_others = torch.log1p(-logits.softmax(dim=1).masked_fill(top, 0))
    return torch.where(top, of_the_top, of_the_others)


def _policy(told: Told) -> UncertaintyLabels:
    assert told.labels is not None, "a method that learns from the table is told it"
    assert told.accepted is not None
    assert told.negative is not None
    return UncertaintyLabels(told.labels, told.accepted, told.negative)


METHOD = Method(learns_from="accepted", view="weak", learns_negatives=True, judges_single_images=True, policy=_policy)
