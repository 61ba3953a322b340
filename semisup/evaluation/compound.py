"""Compound images: two test images of different classes in one, for models that learned from single ones.

Whether a model still sees both is asked of its two likeliest classes. In the study of defect patterns that asked it
first, mixup raised this figure by 16 to 29 points, while accuracy on single patterns lost one.
"""

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semisup.errors import UserError
from semisup.wording import counted

Labels: TypeAlias = NDArray[np.integer[Any]]


def superpose(first: Tensor, second: Tensor) -> Tensor:
    """The pixelwise maximum of uint8 images (N, C, H, W), of the same shape.

    Right for bright strokes on a dark ground, where it shows both and hides nothing but crossings. Of dark strokes on
    a bright ground it would keep the ground, and of two color photographs it keeps the brighter pixel of each
    channel: a double exposure in which bright regions, such as a sky, cover the other image.

    Raises:
        ValueError: other than uint8, or differing shapes.
    """
    if first.dtype != torch.uint8 or second.dtype != torch.uint8:
        raise ValueError(f"images of {first.dtype} and {second.dtype}; superpose takes uint8")
    if first.shape != second.shape:
        raise ValueError(f"images of shape {tuple(first.shape)} and {tuple(second.shape)}; superpose takes equal ones")
    return torch.maximum(first, second)


def draw_pairs(labels: Labels, rng: np.random.Generator) -> NDArray[np.int64]:
    """Pairs of images, int64 (N, 2), as positions in `labels` (N,).

    Every image is the first of one pair; its partner is drawn uniformly from all images of other classes, so an image
    may be a partner several times or never.

    Raises:
        UserError: all images are of one class.
    """
    by_class = np.argsort(labels, kind="stable")
    _, of_class, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise UserError(
            f"evaluate.compound=true, but all {counted(len(labels), 'test image is', 'test images are')} of one class, "
            "and a compound image needs two; use false"
        )
    size, start = sizes[of_class], (np.cumsum(sizes) - sizes)[of_class]
    # A place among the images of other classes, in class order; those of the own class are stepped over.
    place = rng.integers(0, len(labels) - size)
    partner = by_class[np.where(place < start, place, place + size)]
    return np.stack([np.arange(len(labels)), partner], axis=1)


def two_likeliest(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """The two likeliest classes, int64 (N, 2), the likelier first; of equal ones the class of the lower number.

    Raises:
        ValueError: `probabilities` is not (N, C) with C ≥ 2.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(f"probabilities of shape {probabilities.shape}; two classes need (N, C) with C ≥ 2")
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :2]


def top2_right(probabilities: NDArray[np.floating[Any]], labels: Labels) -> NDArray[np.bool_]:
    """Are the two likeliest classes of (N, C), as a set, the two true ones of (N, 2)? bool (N,).

    Guessing two classes at random is right once in C · (C − 1) / 2.

    Raises:
        ValueError: as in :func:`two_likeliest`.
    """
    found = np.sort(two_likeliest(probabilities), axis=1)
    return np.asarray((found == np.sort(labels, axis=1)).all(axis=1))


def top2_overlap(probabilities: NDArray[np.floating[Any]], labels: Labels) -> NDArray[np.bool_]:
    """Is at least one of the two likeliest classes of (N, C) among the two true ones of (N, 2)? bool (N,).

    Raises:
        ValueError: as in :func:`two_likeliest`.
    """
    found = two_likeliest(probabilities)
    return np.asarray((found[:, :, None] == labels[:, None, :]).any(axis=(1, 2)))
