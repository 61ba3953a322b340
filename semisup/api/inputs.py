"""What a classifier gets to see: images or vectors as one tensor, with what is known of each row."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semisup.data.datasets import UNLABELED
from semisup.errors import UserError

CHANNELS = (1, 3)


@dataclass(frozen=True, eq=False)
class Given:
    """Rows to learn from.

    Attributes:
        rows: uint8 (N, C, H, W) or float64 (N, D).
        codes: int64 (N,), UNLABELED or in [0, num_classes).
        weights: float64 (N,), all above 0; they count in the loss of labeled rows.
        units: int64 (N,): rows of one unit are all learned from, or all held out.
        seed: decides every random choice.
    """

    rows: Tensor
    codes: Tensor
    num_classes: int
    weights: Tensor
    units: NDArray[np.int64]
    seed: int

    @cached_property
    def labeled(self) -> Tensor:
        """int64 (n,): which rows have a label."""
        return (self.codes != UNLABELED).nonzero().flatten()

    @cached_property
    def unlabeled(self) -> Tensor:
        """int64 (m,): which rows have none."""
        return (self.codes == UNLABELED).nonzero().flatten()


class Model(Protocol):
    """What was learned, in a form that can be saved."""

    def log_probabilities(self, rows: Tensor) -> Tensor:
        """(N, C) of rows as in `Given`, on the CPU."""

    def description(self) -> dict[str, Any]:
        """All about it that is no tensor, as JSON takes it."""

    def tensors(self) -> dict[str, Tensor]:
        """The rest, on the CPU."""


@dataclass(frozen=True, eq=False)
class Learned:
    """A model, and how it came about.

    Attributes:
        history: one record for each epoch, or for each way that was tried.
        termination: why learning ended.
        labels, confidence, accepted: (m,) each, of the rows without a label: what they were taken for, how surely, and
            whether that was learned from.
        iteration: int64 (m,): the round in which a label was accepted first, or -1.
        validation: how many labels were held out to choose the epoch.
    """

    model: Model
    history: list[dict[str, Any]]
    termination: str
    labels: Tensor
    confidence: Tensor
    accepted: Tensor
    iteration: Tensor
    validation: int


def read_images(images: Any, shape: tuple[int, int, int] | None = None) -> Tensor:
    """uint8 (N, C, H, W), contiguous, of images (N, C, H, W), (N, H, W) or (N, H, W, C) with one channel or three.

    Raises:
        UserError: they are of another type or shape, or not of the `shape` (C, H, W) that the model has learned.
    """
    array = np.asarray(images)
    if array.dtype != np.uint8:
        raise UserError(
            f"X holds images of dtype {array.dtype}; use uint8, 0 to 255 (from fractions: np.round(255 * X)"
            ".astype(np.uint8))"
        )
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim != 4:
        raise UserError(f"X has the shape {array.shape}; use images (N, H, W), (N, C, H, W), (N, H, W, C), or (N, D)")
    elif array.shape[1] in CHANNELS and array.shape[3] in CHANNELS:
        raise UserError(f"X has the shape {array.shape}, in which channels could come first or last; use (N, H, W)")
    elif array.shape[3] in CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    elif array.shape[1] not in CHANNELS:
        raise UserError(f"X has the shape {array.shape}, without an axis of 1 or 3 channels; use (N, C, H, W)")
    if not array.size:
        raise UserError(f"X has the shape {array.shape}: there is no image, or no pixel; give at least one")
    if shape is not None and array.shape[1:] != shape:
        raise UserError(
            f"X holds images (C, H, W) of {array.shape[1:]}, but the model learned from {shape}; resize them"
        )
    return torch.from_numpy(np.array(array, order="C"))  # a copy: torch refuses what is read-only


def units_of(rows: Tensor, groups: NDArray[Any] | None) -> NDArray[np.int64]:
    """int64 (N,): the same number for rows of one group, or, without groups, of rows that are exact copies.

    Numbers follow from the content alone: the order of rows moves none of them.
    """
    if groups is not None:
        return np.unique(groups, return_inverse=True)[1].astype(np.int64)
    contents = np.array([hashlib.sha256(row.numpy().data).hexdigest() for row in rows])
    return np.unique(contents, return_inverse=True)[1].astype(np.int64)


def arrays(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as they can be written: on the CPU, without gradients, contiguous."""
    return {name: value.detach().cpu().contiguous() for name, value in values.items()}
