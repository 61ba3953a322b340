"""Light augmentation of a whole batch at once, with parameters drawn per image (one draw per batch is not the same)."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from semisup.data.augmentation.geometry import affine_sample, holes, inside_boxes
from semisup.data.parts import Part, drawn

PARAMETERS_PER_IMAGE = 8  # rotation, shift x, shift y, scale, shear, flip, hole x, hole y
KNOTS = 6
"""The elastic deformation is known at 6 × 6 points, and smooth between them."""


def augment(
    images: Tensor,
    *,
    rotation: float,
    shift: float,
    scale: float,
    shear: float,
    horizontal_flip: bool,
    cutout: float,
    elastic: float = 0.0,
    paste: float = 0.0,
    generator: torch.Generator,
    part: Part | None = None,
) -> Tensor:
    """Every image turned, shifted, zoomed, sheared, bent, flipped and holed by its own amounts; float32 (B, C, H, W).

    Values stay on the 0..255 scale.

    Each amount is the half-width of a uniform distribution around "no change"; zeros stand for what leaves the image.

    Args:
        images: uint8 (B, C, H, W), on any device.
        rotation: degrees.
        shift: fraction of the width (horizontally) and of the height (vertically).
        scale: zoom by exp(u) with |u| <= scale, so that growing and shrinking are equally likely.
        shear: horizontal shear as a tangent: a pixel moves sideways by this much per pixel of height.
        horizontal_flip: mirror left and right with probability 1/2; never otherwise.
        cutout: side of a square hole, as a fraction of the shorter side of the image. The hole's center is uniform
            over the image's pixels, so part of the hole may lie outside.
        elastic: standard deviation, in pixels, of the displacements at 6 × 6 knots (Simard et al. 2003, section 2).
        paste: largest side, as a fraction of the shorter one, of the box that half of the images get from another image
            of the batch, where the brighter pixel wins.
        generator: where every random number comes from: one draw of (B, 8) whatever the amounts, and then what elastic
            and paste need, so that changing one amount leaves the others' draws as they were (but for those of paste,
            which come after elastic's where that is not 0). Nothing is drawn when there is nothing to do.
        part: which images of a larger batch these are; not with paste, which needs all of them.
    """
    moves = any((rotation, shift, scale, shear, horizontal_flip, elastic))
    if not moves and not cutout and not paste:
        return images.float()
    batch, _, height, width = images.shape
    uniform = drawn(torch.rand, (batch, PARAMETERS_PER_IMAGE), generator, part).to(images.device)
    signed = 2 * uniform - 1
    augmented = images.float()
    if moves:
        matrices = affine_matrices(
            angle=torch.deg2rad(rotation * signed[:, 0]),
            shift_x=shift * width * signed[:, 1],
            shift_y=shift * height * signed[:, 2],
            zoom=torch.exp(scale * signed[:, 3]),
            shear=shear * signed[:, 4],
            flip=(uniform[:, 5] < 0.5) & horizontal_flip,
        )
        bend = None
        if elastic:
            knots = drawn(torch.randn, (batch, 2, KNOTS, KNOTS), generator, part)
            bend = displacements(elastic * knots.to(images.device), height, width)
        augmented = affine_sample(augmented, matrices, bend)
    if paste:
        assert part is None, "the partners of a part are elsewhere"
        boxes = torch.rand(batch, 5, generator=generator, device=generator.device).to(images.device)
        partner = torch.randperm(batch, generator=generator, device=generator.device).to(images.device)
        sides = (boxes[:, 0:2] * paste * min(height, width)).round().long() * (boxes[:, 4:5] < 0.5)
        corners = (boxes[:, 2:4] * torch.tensor([width, height], device=images.device)).long() - sides // 2
        augmented = paste_boxes(augmented, augmented[partner], corners, sides)
    if cutout:
        side = round(cutout * min(height, width))
        centers = torch.stack([uniform[:, 6] * width, uniform[:, 7] * height], dim=1).long()
        augmented = cut_holes(augmented, centers, side)
    return augmented


def affine_matrices(
    *, angle: Tensor, shift_x: Tensor, shift_y: Tensor, zoom: Tensor, shear: Tensor, flip: Tensor
) -> Tensor:
    """Where every output pixel looks in the input: float32 (B, 2, 3), for `affine_sample`.

    The picture is flipped, zoomed, sheared, turned and then shifted. What is returned is the inverse of that, since
    sampling asks the way back: unflip · unzoom · unshear · unturn · unshift.

    Args:
        angle: radians (B,), clockwise as seen on the screen, where y points down.
        shift_x, shift_y: pixels (B,), to the right and downwards.
        zoom: factors (B,), above 1 the picture grows.
        shear: tangents (B,).
        flip: bool (B,), mirror left and right.
    """
    cos, sin = angle.cos(), angle.sin()
    mirror = torch.where(flip, -1.0, 1.0)
    a, b = mirror * (cos + shear * sin) / zoom, mirror * (sin - shear * cos) / zoom
    c, d = -sin / zoom, cos / zoom
    rows = [a, b, -(a * shift_x + b * shift_y), c, d, -(c * shift_x + d * shift_y)]
    return torch.stack(rows, dim=1).view(-1, 2, 3)


def displacements(knots: Tensor, height: int, width: int) -> Tensor:
    """A smooth field (B, 2, H, W) through the values (B, 2, k, k) at evenly spaced knots, the corners among them.

    Cubic convolution along both axes, which is linear in the knots.
    """
    return (
        _interpolation(height, knots.shape[2], knots.device)
        @ knots
        @ _interpolation(width, knots.shape[3], knots.device).transpose(0, 1)
    )


@cache
def _interpolation(size: int, knots: int, device: torch.device) -> Tensor:
    """(size, knots): what each knot adds at each place."""
    impulses = torch.eye(knots, device=device).view(1, knots, knots, 1)
    return F.interpolate(impulses, (size, 1), mode="bicubic", align_corners=True)[0, :, :, 0].transpose(0, 1)


def cut_holes(images: Tensor, centers: Tensor, side: int) -> Tensor:
    """The images, float32 (B, C, H, W), with each one's hole set to 0, as :func:`holes` says."""
    # A float product takes a third of masked_fill's time on a CPU; pixels are finite, so 0 times one is 0.
    return images * (1 - holes(images, centers, side))


def paste_boxes(images: Tensor, others: Tensor, corners: Tensor, sides: Tensor) -> Tensor:
    """The images with the brighter pixel of `images` and `others` inside one box each; float32 (B, C, H, W).

    Args:
        images, others: float32 (B, C, H, W), nowhere negative.
        corners: int64 (B, 2), the (column, row) of each box's first pixel, perhaps outside.
        sides: int64 (B, 2), its width and height in pixels; 0 leaves the image as it is.
    """
    return torch.maximum(images, others * inside_boxes(corners, sides, *images.shape[-2:]))
