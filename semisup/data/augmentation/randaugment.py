"""FixMatch's two views of an image: the weak one (flip and shift) and the strong one (RandAugment, then cutout).

Whole batches at once, uint8 in and out, every image with its own draws. A batch is sorted by drawn operation, and each
operation runs once on its slice.

Source: Sohn et al. 2020, "FixMatch", section 2.3 and table 12 (operations and ranges); Cubuk et al. 2020,
"RandAugment". Where the paper is silent we follow its authors' code or TorchSSL's, as said below.
"""

from typing import Literal, NamedTuple, assert_never, get_args

import torch
from torch import Tensor

from semisup.data.augmentation import pixel_operations as pixels
from semisup.data.parts import Part, drawn

Operation = Literal[
    "autocontrast",
    "brightness",
    "color",
    "contrast",
    "equalize",
    "identity",
    "posterize",
    "rotate",
    "sharpness",
    "shear_x",
    "shear_y",
    "solarize",
    "translate_x",
    "translate_y",
]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)


class Draws(NamedTuple):
    """What chance decided for B images and K operations each; on the CPU."""

    operations: Tensor
    """int64 (B, K), places in OPERATIONS."""
    levels: Tensor
    """float64 (B, K), from 0 (mildest) up to the magnitude."""
    signs: Tensor
    """float64 (B, K), 1 or -1, for what has a direction."""
    centers: Tensor
    """float64 (B, 2), each hole's center as fractions of width and height, in [0, 1)."""


def weak(
    images: Tensor, *, shift: float, horizontal_flip: bool, generator: torch.Generator, part: Part | None = None
) -> Tensor:
    """Every image mirrored left and right or not, and shifted by whole pixels, reflected at the edges; uint8.

    Args:
        images: uint8 (B, C, H, W), on any device.
        shift: fraction of each side, in [0, 1): shifts are uniform over the whole numbers of pixels up to it, in each
            direction. FixMatch: 0.125.
        horizontal_flip: mirror with probability 1/2; never otherwise.
        generator: where every random number comes from: one draw of (B, 3), whatever is asked for.
        part: which images of a larger batch these are.
    """
    height, width = images.shape[2:]
    uniform = drawn(torch.rand, (len(images), 3), generator, part).to(images.device)
    columns = _shifted_and_reflected(width, int(shift * width), uniform[:, 0:1])  # (B, W)
    rows = _shifted_and_reflected(height, int(shift * height), uniform[:, 1:2])  # (B, H)
    if horizontal_flip:
        columns = torch.where(uniform[:, 2:3] < 0.5, width - 1 - columns, columns)
    return pixels.gather_pixels(images, rows.unsqueeze(2) * width + columns.unsqueeze(1))


def randaugment(
    images: Tensor,
    *,
    operations: int,
    magnitude: float,
    generator: torch.Generator,
    cutout: float,
    part: Part | None = None,
) -> Tensor:
    """Every image changed by operations drawn for it, one after the other, and then holed by a gray square; uint8.

    An operation may be drawn twice, and each drawn one is applied (as in TorchSSL; FixMatch's authors skip each with
    probability 1/2). FixMatch's strong view is this done to a weak view of the image.

    Args:
        images: uint8 (B, C, H, W) of 1 or 3 channels, on any device.
        operations: how many of the 14 for each image. FixMatch: 2.
        magnitude: in [0, 1], the upper end of the levels, which are drawn uniformly for each image and operation: 1
            spans the paper's ranges.
        generator: where every random number comes from, see `draw`.
        cutout: side of the hole, as a fraction of the image's shorter side; the hole's center is uniform over the
            image's pixels, so part of the hole may lie outside. FixMatch: 0.5. 0 makes none.
        part: which images of a larger batch these are.
    """
    draws = draw(len(images), operations, magnitude, generator, part)
    for round_ in range(operations):
        images = _apply_each(images, draws.operations[:, round_], draws.levels[:, round_], draws.signs[:, round_])
    height, width = images.shape[2:]
    side = round(cutout * min(height, width))
    if side:
        images = pixels.cut_out(images, (draws.centers * torch.tensor([width, height])).long(), side)
    return images


def draw(batch: int, operations: int, magnitude: float, generator: torch.Generator, part: Part | None = None) -> Draws:
    """Everything that chance decides in `randaugment`: one draw of (batch, 3 × operations + 2) uniform numbers."""
    uniform = drawn(torch.rand, (batch, 3 * operations + 2), generator, part).cpu().double()
    which, level, sign, centers = uniform.split([operations, operations, operations, 2], dim=1)
    return Draws(
        operations=(which * len(OPERATIONS)).long(),
        levels=level * magnitude,
        signs=torch.where(sign < 0.5, -1.0, 1.0).double(),
        centers=centers,
    )


def apply_operation(  # noqa: PLR0911, PLR0912 -- fourteen operations, one line each
    operation: Operation, images: Tensor, levels: Tensor, signs: Tensor
) -> Tensor:
    """One operation on all images, at levels from 0 (mildest) to 1 (the far end of FixMatch's range); uint8.

    The ranges are those of FixMatch's table 12. Level 0 changes nothing but in the four blends, whose mildest factor
    is 0.95 in the table; autocontrast, equalize and identity have no level. Bits and shifts are cut to whole numbers,
    so that levels above 0 leave 4 to 7 bits (TorchSSL).

    Args:
        operation: one of OPERATIONS.
        images: uint8 (B, C, H, W).
        levels, signs: float64 (B,).
    """
    height, width = images.shape[2:]
    factors = 0.95 - 0.9 * levels
    match operation:
        case "autocontrast":
            return pixels.autocontrast(images)
        case "brightness":
            return pixels.brightness(images, factors)
        case "color":
            return pixels.color(images, factors)
        case "contrast":
            return pixels.contrast(images, factors)
        case "equalize":
            return pixels.equalize(images)
        case "identity":
            return images
        case "posterize":
            return pixels.posterize(images, (8 - 4 * levels).long())
        case "rotate":
            return pixels.rotate(images, 30 * signs * levels)
        case "sharpness":
            return pixels.sharpness(images, factors)
        case "shear_x":
            return pixels.shear_x(images, 0.3 * signs * levels)
        case "shear_y":
            return pixels.shear_y(images, 0.3 * signs * levels)
        case "solarize":
            return pixels.solarize(images, 256 - (256 * levels).long())
        case "translate_x":
            return pixels.translate_x(images, (0.3 * signs * levels * width).long())
        case "translate_y":
            return pixels.translate_y(images, (0.3 * signs * levels * height).long())
        case _:
            assert_never(operation)


def _apply_each(images: Tensor, operations: Tensor, levels: Tensor, signs: Tensor) -> Tensor:
    """Each image changed by its own operation; every operation runs at most once."""
    order = operations.argsort(stable=True)
    counts = torch.bincount(operations, minlength=len(OPERATIONS)).tolist()
    slices = (t.split(counts) for t in (images.index_select(0, order.to(images.device)), levels[order], signs[order]))
    changed = [
        apply_operation(operation, *mine) if len(mine[0]) else mine[0]
        for operation, mine in zip(OPERATIONS, zip(*slices, strict=True), strict=True)
    ]
    return torch.cat(changed).index_select(0, order.argsort().to(images.device))


def _shifted_and_reflected(side: int, furthest: int, uniform: Tensor) -> Tensor:
    """Where each of a side's pixels comes from after a shift drawn from -furthest..furthest; int64 (B, side).

    The edge's own pixel is not repeated, as in numpy's "reflect": left of 0, 1, 2, … come 1, 2, ….
    """
    source = torch.arange(side, device=uniform.device) - ((2 * furthest + 1) * uniform).long() + furthest
    return side - 1 - (side - 1 - source.abs()).abs()
