"""Of a batch that several processes share, the images that are here."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Part:
    """Some images of a batch, where other processes have the others.

    Random numbers are drawn for the whole batch, in every process the same, so that an image gets its own ones wherever
    it is.
    """

    batch: int
    """Number of images in the whole batch."""
    rows: Tensor
    """int64 (b,): which of them are here."""


def drawn(
    draw: Callable[..., Tensor], shape: tuple[int, ...], generator: torch.Generator, part: Part | None = None
) -> Tensor:
    """`draw(shape)` on the generator's device, one row for each image; of a `part`, the rows of the whole batch's draw.

    `draw` is torch.rand or torch.randn; `shape` begins with the number of images that are here.
    """
    if part is None:
        return draw(shape, generator=generator, device=generator.device)
    whole = draw((part.batch, *shape[1:]), generator=generator, device=generator.device)
    return whole[part.rows.to(generator.device)]
