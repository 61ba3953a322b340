"""Some images of a larger array, without a copy: what lies on disk is read where it is looked at."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

IMAGES_AT_A_TIME = 4096


class Images(Protocol):
    """What predictions and batches need of images (N, ...): a tensor is one, `Rows` are others."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, index: Tensor | slice, /) -> Tensor:
        """The images at int64 indices (B,), or in a slice."""

    @property
    def device(self) -> torch.device:
        """Where they are."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The images (N, ...) at int64 `indices` (n,) of `images`, gathered anew whenever they are looked at."""

    images: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Tensor | slice, /) -> Tensor:
        return self.images[self.indices[index]]

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.images.device


def on_device(images: Tensor, indices: Tensor, device: torch.device) -> Images:
    """The images at indices (n,): as they are on a CPU, copied to a GPU part by part, never through a whole copy."""
    if device.type == images.device.type:
        return Rows(images, indices)
    there = torch.empty((len(indices), *images.shape[1:]), dtype=images.dtype, device=device)
    for part in torch.arange(len(indices)).split(IMAGES_AT_A_TIME):
        there[part[0] : part[-1] + 1] = images[indices[part]].to(device)
    return there
