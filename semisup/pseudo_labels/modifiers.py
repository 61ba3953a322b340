"""Modifiers: they change the probabilities on their way to another policy, and nest."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from semisup.pseudo_labels import Policy, State
from semisup.pseudo_labels.targets import one_hot

INNER = "inner."
"""Stands before the names of the wrapped policy's state, once for every modifier around it."""
ALIGNMENT_EPSILON = 1e-6


def align(probabilities: Tensor, class_shares: Tensor, mean_prediction: Tensor) -> Tensor:
    """Distribution alignment: N(p · π / p̃) for probabilities p (U, C), shares π (C,) and mean prediction p̃ (C,).

    N divides each row by its sum. 1e-6 is added to π and p̃ against division by 0, as in the authors' code.

    Source: Berthelot et al. 2020 (ReMixMatch, arXiv 1911.09785), section 3.1; google-research/remixmatch,
    remixmatch_no_cta.py, `guess_label`.
    """
    aligned = probabilities * ((class_shares + ALIGNMENT_EPSILON) / (mean_prediction + ALIGNMENT_EPSILON))
    return aligned / aligned.sum(dim=1, keepdim=True)


def corrected_mean(mean: Tensor, probabilities: Tensor, momentum: float, batches: Tensor) -> Tensor:
    """The running mean (C,) after a further batch (U, C), the so many-th: m·mean + (1 - m)·(mean of the batch) from 0
    on, divided by 1 - m^batches, so that the first batch counts fully.

    Source: Kingma & Ba 2015 (arXiv 1412.6980), section 3.
    """
    return mean.lerp(probabilities.mean(dim=0), (1 - momentum) / (1 - momentum**batches))


@dataclass(frozen=True)
class Modifier(Policy):
    """A policy that sees changed probabilities; it decides about everything else, its extra loss among it."""

    policy: Policy

    @property
    def uses_predictions(self) -> bool:
        """As the wrapped policy."""
        return self.policy.uses_predictions

    @property
    def uses_labeled_predictions(self) -> bool:
        """As the wrapped policy."""
        return self.policy.uses_labeled_predictions

    def init(self, num_unlabeled: int, num_classes: int) -> State:
        """The modifier's own state, and the wrapped policy's under names that begin with "inner."."""
        inner = self.policy.init(num_unlabeled, num_classes)
        return self.own_state(num_unlabeled, num_classes) | {INNER + name: value for name, value in inner.items()}

    def look_at_labeled(self, state: State, probabilities: Tensor) -> State:
        """What the wrapped policy makes of the labeled images, whose probabilities are changed by what suits them."""
        inner = self.policy.look_at_labeled(_inner(state), self.modify_labeled(probabilities))
        return state | {INNER + name: value for name, value in inner.items()}

    def update(self, state: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor, Tensor]:
        """What the wrapped policy makes of the changed probabilities."""
        own = {name: value for name, value in state.items() if not name.startswith(INNER)}
        own, probabilities = self.modify(own, probabilities, indices)
        inner, targets, weights = self.policy.update(_inner(state), probabilities, indices)
        return own | {INNER + name: value for name, value in inner.items()}, targets, weights

    def extra_loss(self, state: State, logits: Tensor, weights: Tensor, indices: Tensor) -> Tensor | None:
        """The wrapped policy's; the logits are not changed."""
        return self.policy.extra_loss(_inner(state), logits, weights, indices)

    def own_state(self, num_unlabeled: int, num_classes: int) -> State:
        """What the modifier itself remembers before the first step."""
        return {}

    def modify_labeled(self, probabilities: Tensor) -> Tensor:
        """Of labeled images (B, C): as they are, unless the change has nothing to do with what is unlabeled."""
        return probabilities

    @abstractmethod
    def modify(self, own: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor]:
        """(own state, changed probabilities (U, C)), whose rows sum to 1."""


def _inner(state: State) -> State:
    return {name.removeprefix(INNER): value for name, value in state.items() if name.startswith(INNER)}


@dataclass(frozen=True)
class Aligned(Modifier):
    """Distribution alignment: p ← N(p · π / p̃), where π are the `class_shares` and p̃ is the running mean of p.

    p̃ ← m·p̃ + (1 - m)·(mean p of the batch) from 0 on, divided by 1 - m^t after t batches, as Adam corrects its means:
    the first batch counts fully, and after t batches p̃ is a weighted mean of these t alone. A batch enters it before it
    is aligned itself. (ReMixMatch's code has the mean over the last 128 batches, uniform at first; TorchSSL's and
    microsoft/Semi-supervised-learning's start it with the first batch, which then weighs m^(t - 1).)

    Source: as `align`; the correction: Kingma & Ba 2015 (arXiv 1412.6980), section 3.
    """

    class_shares: Tensor
    """π, the labeled images' or else known class shares, (C,), sum 1."""
    momentum: float = 0.99
    """m, in [0, 1)."""

    def own_state(self, num_unlabeled: int, num_classes: int) -> State:
        """`class_shares` and `mean_prediction`, float32 (C,), and `batches`, float32 ().

        Raises:
            ValueError: as many shares as classes are needed, none negative, of sum 1.
        """
        shares = self.class_shares.float()
        if shares.shape != (num_classes,):
            raise ValueError(f"class_shares has the shape {tuple(shares.shape)}; one for each of {num_classes} classes")
        if not (bool((shares >= 0).all()) and abs(float(shares.sum()) - 1) < 1e-3):
            raise ValueError(f"class_shares={shares.tolist()} are no shares: none may be negative, their sum must be 1")
        uniform = torch.full_like(shares, 1 / num_classes)
        return {"class_shares": shares, "mean_prediction": uniform, "batches": torch.zeros((), device=shares.device)}

    def modify(self, own: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor]:
        """The aligned probabilities."""
        own = {name: value.to(probabilities.device) for name, value in own.items()}
        if len(probabilities):
            own["batches"] = own["batches"] + 1
            mean = corrected_mean(own["mean_prediction"], probabilities, self.momentum, own["batches"])
            own["mean_prediction"] = mean
        return own, align(probabilities, own["class_shares"], own["mean_prediction"])


@dataclass(frozen=True)
class Sharpened(Modifier):
    """p ← N(p^(1/T)), where N divides by the sum: T < 1 sharpens, T = 1 leaves p as it is, T > 1 softens.

    Source: Berthelot et al. 2019 (MixMatch, arXiv 1905.02249), equation 7.
    """

    temperature: float
    """T, above 0."""

    def own_state(self, num_unlabeled: int, num_classes: int) -> State:
        """Nothing.

        Raises:
            ValueError: temperature not above 0.
        """
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature} is not above 0; use 1 to leave the probabilities alone")
        return {}

    def modify_labeled(self, probabilities: Tensor) -> Tensor:
        """Sharpened as well: their confidence is compared with that of unlabeled images."""
        # By logarithms: with a small T every power of a row could be 0, and so its sum.
        return (probabilities.log() / self.temperature).softmax(dim=1)

    def modify(self, own: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor]:
        """The sharpened probabilities."""
        return own, self.modify_labeled(probabilities)


@dataclass(frozen=True)
class Blended(Modifier):
    """p ← share · prior + (1 - share) · p, where the prior is what an earlier teacher said of each image.

    The prior of image i puts confidence[i] on labels[i] and (1 - confidence[i]) / (C - 1) on every other class.
    """

    labels: Tensor
    """int64 (N,)."""
    confidence: Tensor
    """float32 (N,), in [0, 1]."""
    share: float
    """Of the prior, in [0, 1]."""

    def own_state(self, num_unlabeled: int, num_classes: int) -> State:
        """`labels` and `confidence`, looked up at every step.

        Raises:
            ValueError: a label and a confidence are needed for each image, labels in [0, C), confidences and the
                share in [0, 1].
        """
        if not len(self.labels) == len(self.confidence) == num_unlabeled:
            raise ValueError(
                f"{len(self.labels)} labels and {len(self.confidence)} confidences for {num_unlabeled} images; "
                "one each is needed"
            )
        if not 0 <= self.share <= 1:
            raise ValueError(f"share={self.share} is outside [0, 1]")
        if not bool(((self.confidence >= 0) & (self.confidence <= 1)).all()):
            raise ValueError("a confidence is outside [0, 1]")
        one_hot(self.labels, num_classes)  # refuses labels outside the classes
        return {"labels": self.labels, "confidence": self.confidence.float()}

    def modify(self, own: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor]:
        """The blended probabilities."""
        own = {name: value.to(probabilities.device) for name, value in own.items()}
        num_classes = probabilities.shape[1]
        labels, confidence = own["labels"][indices, None], own["confidence"][indices, None]  # (U, 1) each
        if num_classes == 1:
            confidence = torch.ones_like(confidence)  # there is no other class for the rest
        rest = (1 - confidence) / max(num_classes - 1, 1)
        prior = rest.expand_as(probabilities).scatter(1, labels, confidence)
        return own, self.share * prior + (1 - self.share) * probabilities
