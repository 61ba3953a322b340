"""Images as the sources' data sets hand them out: through PIL and torchvision's transforms, one by one."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2


class Pictures(Dataset[tuple[Tensor, int]]):
    """uint8 images (N, C, H, W) with their labels (N,), each changed by `random` on its way, then float and normalized.

    `mean` and `std` are on the 0..1 scale, one per channel.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *random: Callable[[Any], Any],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self.images, self.labels = images, labels
        floats = v2.ToDtype(torch.float32, scale=True)
        self.transform = v2.Compose([v2.ToPILImage(), *random, v2.PILToTensor(), floats, v2.Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])
