"""Maps and boxes on a batch of images, one of its own for each."""

import torch
import torch.nn.functional as F
from torch import Tensor

from semisup.data.rows import Images

DESKEWED_AT_A_TIME = 1024
"""Images. Their coordinates and products in float32 are dozens of times as large as they are."""


def affine_sample(images: Tensor, matrices: Tensor, bend: Tensor | None = None) -> Tensor:
    """Images resampled bilinearly through one affine map each, zeros from outside; float32 (B, C, H, W).

    Args:
        images: float32 (B, C, H, W).
        matrices: float32 (B, 2, 3). Output pixel (x, y, 1) takes its value from the input at `matrix @ (x, y, 1)`,
            both in pixels from the image's center, x to the right and y down. Pixels, not fractions of a side: in an
            image that is not square, a rotation in fractions would also shear.
        bend: float32 (B, 2, H, W), added to where each output pixel looks, in pixels to the right and down.
    """
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device, dtype=torch.float32) - (width - 1) / 2
    y = torch.arange(height, device=images.device, dtype=torch.float32) - (height - 1) / 2
    # grid_sample without align_corners measures in half sides: pixels from the center times 2 / side.
    to_half_sides = torch.tensor([2 / width, 2 / height], device=images.device).view(2, 1)
    matrices = matrices * to_half_sides
    bend = None if bend is None else bend * to_half_sides.view(2, 1, 1)
    # An outer sum of one part per column and one per row is 12 times as fast as affine_grid on a CPU, and unlike a
    # matrix product it cannot fall to TF32 on a GPU, whose ten bits misplace pixels.
    per_column = matrices[:, :, 0:1] * x + matrices[:, :, 2:3]  # (B, 2, W)
    per_row = matrices[:, :, 1:2] * y  # (B, 2, H)
    grid = per_column.unsqueeze(2) + per_row.unsqueeze(3)  # (B, 2, H, W)
    if bend is not None:
        grid = grid + bend
    return F.grid_sample(images, grid.permute(0, 2, 3, 1), mode="bilinear", padding_mode="zeros", align_corners=False)


def deskew(images: Tensor) -> Tensor:
    """Images sheared upright and centered by their intensity moments; float32 (B, C, H, W), on the scale of `images`.

    With means and central moments μ of a brightness (channels summed), row y is moved by the μ11/μ02 that a slanted
    stroke of that slope needs, at most by 1 pixel per row, and the center of mass to the image's center. An image that
    is dark all over, or whose brightness is all in one row, is not sheared. For bright strokes on a black ground.

    Source: LeCun et al. 1998, section III.A (moments, deslanting).
    """
    height, width = images.shape[-2:]
    images = images.float()
    mass = images.sum(dim=1)  # (B, H, W)
    x = torch.arange(width, device=images.device, dtype=torch.float32) - (width - 1) / 2
    y = torch.arange(height, device=images.device, dtype=torch.float32) - (height - 1) / 2
    rows, columns = mass.sum(dim=2), mass.sum(dim=1)  # (B, H), (B, W)
    total = rows.sum(dim=1).clamp(min=1e-6)
    mean_x, mean_y = columns @ x / total, rows @ y / total
    variance = (rows @ y.square()) / total - mean_y.square()
    covariance = torch.einsum("bhw,h,w->b", mass, y, x) / total - mean_x * mean_y
    slope = torch.where(variance > 1e-3, covariance / variance.clamp(min=1e-3), 0).clamp(-1, 1)
    one, zero = torch.ones_like(slope), torch.zeros_like(slope)
    matrices = torch.stack([one, slope, mean_x, zero, one, mean_y], dim=1).view(-1, 2, 3)
    return affine_sample(images, matrices)


def upright(images: Tensor) -> Tensor:
    """`deskew` in uint8, so that what was stored once equals what is made on the way."""
    return deskew(images).round().to(torch.uint8)


def all_upright(images: Images) -> Tensor:
    """:func:`upright` of many images (N, C, H, W), part by part into the table that they end in."""
    table = torch.empty((len(images), *images[:1].shape[1:]), dtype=torch.uint8, device=images.device)
    for start in range(0, len(images), DESKEWED_AT_A_TIME):
        part = slice(start, start + DESKEWED_AT_A_TIME)
        table[part] = upright(images[part])
    return table


def inside_boxes(corners: Tensor, sides: Tensor, height: int, width: int) -> Tensor:
    """1 inside each box and 0 elsewhere, float32 (B, 1, H, W).

    `corners` and `sides` are int64 (B, 2): the (column, row) of a box's first pixel, perhaps outside, and its width and
    height in pixels.
    """
    columns = torch.arange(width, device=corners.device) - corners[:, 0:1]  # (B, W), 0 where the box begins
    rows = torch.arange(height, device=corners.device) - corners[:, 1:2]  # (B, H)
    in_columns = (columns >= 0) & (columns < sides[:, 0:1])
    in_rows = (rows >= 0) & (rows < sides[:, 1:2])
    return (in_rows.float().unsqueeze(2) * in_columns.float().unsqueeze(1)).unsqueeze(1)


def holes(images: Tensor, centers: Tensor, side: int) -> Tensor:
    """1 inside each image's square hole of side × side pixels, as far as it lies inside, float32 (B, 1, H, W).

    `images` (B, C, H, W) are asked for their height and width alone. `centers` is int64 (B, 2), the (column, row) of
    each hole's center; a hole of even side has one pixel more to the left and above.

    Source: DeVries and Taylor 2017, "Improved Regularization of Convolutional Neural Networks with Cutout".
    """
    return inside_boxes(centers - side // 2, torch.full_like(centers, side), *images.shape[-2:])
