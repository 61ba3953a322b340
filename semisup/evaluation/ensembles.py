"""Several models for one answer: bootstrap samples, boosting weights, and how members' answers become one."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semisup.data.rows import Images, images_at_once

Combination: TypeAlias = Literal["mean", "vote"]

LEAST_ERROR = 1e-4
"""A smaller weighted error counts as this one: the weight of a member without an error would be infinite."""
LEAST_PROBABILITY = 1e-12
"""What a class gets that no member votes for: its logarithm has to be finite."""


def bootstrap(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices (n,) drawn from [0, n) with replacement; on average a share of 1 - 1/e of them are distinct.

    Raises:
        ValueError: n below 1.
    Source: Breiman 1996 (bagging).
    """
    if n < 1:
        raise ValueError(f"n={n}: a bootstrap sample needs at least one image to draw from")
    return rng.integers(n, size=n)


def samme_weight(error: float, num_classes: int) -> float:
    """What a member's vote counts: log((1 - error)/error) + log(C - 1), for its weighted error in [0, 1].

    A member that is no better than guessing, with an error of at least 1 - 1/C, gets 0. An error below `LEAST_ERROR`
    counts as `LEAST_ERROR`: members without an error then have equal votes, and none decides alone.

    Raises:
        ValueError: an error outside [0, 1], or fewer than two classes.
    Source: Zhu et al. 2009 (SAMME), algorithm 2, step 2(c).
    """
    if not 0 <= error <= 1:
        raise ValueError(f"error={error} is outside [0, 1]; it is a weighted share")
    if num_classes < 2:
        raise ValueError(f"num_classes={num_classes}: boosting needs at least 2")
    if error >= 1 - 1 / num_classes:
        return 0.0
    error = max(error, LEAST_ERROR)
    return math.log((1 - error) / error) + math.log(num_classes - 1)


def samme_update(
    weights: NDArray[np.float64], wrong: NDArray[np.floating] | NDArray[np.bool_], member_weight: float
) -> NDArray[np.float64]:
    """Sample weights (N,) for the next member: w · (1 + wrong · (exp(member_weight) - 1)), scaled to mean 1.

    `wrong` (N,) says of each image whether the member is wrong: that is SAMME's factor exp(member_weight · [wrong]).
    Or it says which share of an image's augmented views are: the views share its weight, SAMME's factor raises that of
    each wrong one, and the image's new weight is their sum. After a member of weight 0, all images begin anew at 1.

    Raises:
        ValueError: differing lengths, a negative weight, weights that are all 0, or a share outside [0, 1].
    Source: Zhu et al. 2009 (SAMME), algorithm 2, steps 2(d) and (e).
    """
    share = np.asarray(wrong, dtype=np.float64)
    _check_sample_weights(weights, share)
    if member_weight == 0:
        return np.ones_like(weights)
    raised = weights * (1 + share * math.expm1(member_weight))
    scaled: NDArray[np.float64] = raised / raised.mean()
    return scaled


def weighted_error(weights: NDArray[np.float64], wrong: NDArray[np.floating] | NDArray[np.bool_]) -> float:
    """Σ w · wrong / Σ w over the training images, in [0, 1]; arguments and errors as in :func:`samme_update`."""
    share = np.asarray(wrong, dtype=np.float64)
    _check_sample_weights(weights, share)
    return float(np.clip((weights * share).sum() / weights.sum(), 0, 1))


def combine(probabilities: Tensor, method: Combination, weights: Tensor | None = None) -> Tensor:
    """The members' probabilities (M, N, C) as one (N, C), whose rows sum to 1.

    "mean" is their mean; "vote" the share of members whose likeliest class it is (of equal ones the first). Both are
    weighted by `weights` (M,), where there are any: SAMME's answer is the class with the greatest weighted vote.

    Raises:
        ValueError: no members, or weights that are negative, all 0 or of another number.
    """
    if probabilities.dim() != 3 or not len(probabilities):
        raise ValueError(f"probabilities have shape {tuple(probabilities.shape)}; they are (members, images, classes)")
    if weights is None:
        weights = probabilities.new_ones(len(probabilities))
    if weights.shape != probabilities.shape[:1] or (weights < 0).any() or not weights.any():
        raise ValueError(f"weights={weights.tolist()}; each of {len(probabilities)} members needs one, none below 0")
    match method:
        case "mean":
            answers = probabilities
        case "vote":
            answers = nn.functional.one_hot(probabilities.argmax(dim=2), probabilities.shape[2])
    return torch.einsum("m,mnc->nc", (weights / weights.sum()).to(probabilities.dtype), answers.to(probabilities.dtype))


def disagreement(probabilities: Tensor, labels: Tensor) -> Tensor:
    """How far the members (M, N, C) are apart on a label (N,): the standard deviation of its probability, (N,).

    That of the members themselves, not an estimate for more of them: it lies in [0, 0.5], and is 0 for one member.
    """
    index = labels.view(1, -1, 1).expand(len(probabilities), -1, 1)
    return probabilities.gather(2, index).squeeze(2).std(dim=0, correction=0)


class Ensemble(nn.Module):
    """Members behind one face: uint8 images (B, C, H, W) to the logarithms of the combined probabilities.

    Their softmax is what :func:`combine` makes of the members' softmax, apart from classes of (almost) no probability,
    which get `LEAST_PROBABILITY`. Members of weight 0 have no say.

    Raises:
        ValueError: no members, or weights as in :func:`combine`.
    """

    weights: Tensor

    def __init__(self, members: Sequence[nn.Module], method: Combination, weights: Sequence[float]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.method: Combination = method
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32), persistent=False)
        combine(torch.zeros(len(members), 0, 2), method, self.weights)  # whether it can be done at all

    def member_probabilities(self, images: Tensor) -> Tensor:
        """Each member's softmax probabilities, (M, B, C)."""
        return torch.stack([member(images).softmax(dim=1) for member in self.members])

    def combined(self, probabilities: Tensor) -> Tensor:
        """The logarithms (B, C) of the members' probabilities (M, B, C), combined."""
        return combine(probabilities, self.method, self.weights).clamp_min(LEAST_PROBABILITY).log()

    def forward(self, images: Tensor) -> Tensor:
        """Logarithms of the combined probabilities, (B, C)."""
        return self.combined(self.member_probabilities(images))


@torch.inference_mode()
def predict_with_disagreement(
    ensemble: Ensemble,
    images: Images,
    batch_size: int | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Log probabilities (N, C), and the :func:`disagreement` of the members that vote on the likeliest class, (N,).

    float32 on the CPU, of uint8 images (N, ...), in eval mode, batch by batch into tables of known size.
    `on_batch(done, total)` is told how many images are done.
    """
    voting = ensemble.weights > 0
    tables: tuple[Tensor, Tensor] | None = None
    for part, probabilities in _batches(ensemble, images, batch_size, on_batch):
        logarithms = ensemble.combined(probabilities)
        if tables is None:
            tables = torch.empty(len(images), logarithms.shape[1]), torch.empty(len(images))
        tables[0][part] = logarithms
        tables[1][part] = disagreement(probabilities[voting], logarithms.argmax(dim=1))
    assert tables is not None, "no images to predict"
    return tables


@torch.inference_mode()
def predict_members(ensemble: Ensemble, images: Images, batch_size: int | None = None) -> Tensor:
    """Every member's softmax probabilities, float32 (M, N, C) on the CPU, as in :func:`predict_with_disagreement`."""
    table: Tensor | None = None
    for part, probabilities in _batches(ensemble, images, batch_size):
        if table is None:
            table = torch.empty(len(probabilities), len(images), probabilities.shape[2])
        table[:, part] = probabilities
    assert table is not None, "no images to predict"
    return table


def _batches(
    ensemble: Ensemble, images: Images, batch_size: int | None, on_batch: Callable[[int, int], None] | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """(which images, their members' probabilities (M, B, C)), batch by batch."""
    ensemble.eval()
    device = ensemble.weights.device
    size = batch_size or images_at_once(images, device)
    for start in range(0, len(images), size):
        part = slice(start, min(start + size, len(images)))
        yield part, ensemble.member_probabilities(images[part].to(device, non_blocking=True))
        if on_batch is not None:
            on_batch(part.stop, len(images))


def _check_sample_weights(weights: NDArray[np.float64], wrong: NDArray[np.float64]) -> None:
    if weights.shape != wrong.shape or weights.ndim != 1:
        raise ValueError(f"weights have shape {weights.shape}, but wrong has shape {wrong.shape}; both are (N,)")
    if not len(weights) or (weights < 0).any() or not weights.any():
        raise ValueError("weights are to be positive; there are none, or one is negative, or all are 0")
    if ((wrong < 0) | (wrong > 1)).any():
        raise ValueError("wrong holds a value outside [0, 1]; it is a share of views")
