"""RandAugment's operations on a batch of uint8 images, each image by its own amount, each pixel as PIL would make it.

All take uint8 (B, C, H, W) on any device, leave it alone, and give the same shape, type and device. Amounts are (B,),
on any device. What PIL computes in whole numbers or in double precision is computed so here too, which makes the
results bit-equal to PIL's, and a GPU's to a CPU's.

Source of the conventions: Pillow's ImageEnhance, ImageOps, and Geometry.c, as used by FixMatch's authors in
github.com/google-research/fixmatch (third_party/auto_augment/augmentations.py).
"""

import torch
from torch import Tensor

from semisup.data.augmentation.geometry import holes

GRAY = 127
"""What a hole is filled with, as in FixMatch's own code (libml/ctaugment.py)."""


def autocontrast(images: Tensor) -> Tensor:
    """Every channel stretched so that its darkest pixel is 0 and its brightest 255; a channel of one value stays."""
    low = images.amin(dim=(2, 3), keepdim=True).flatten(2).double()  # (B, C, 1)
    span = images.amax(dim=(2, 3), keepdim=True).flatten(2) - low
    values = torch.arange(256, device=images.device)
    # PIL's own order of roundings: what should be whole may end up just below and be cut. (255 / tensor would be taken
    # as 255 times the reciprocal, which rounds once more.)
    scale = torch.full_like(span, 255) / span.clamp(min=1)
    stretched = (values * scale + -low * scale).clamp(0, 255).long()
    return _look_up(images, torch.where(span > 0, stretched, values))


def equalize(images: Tensor) -> Tensor:
    """Every channel's histogram levelled; a channel with too few pixels or values for 255 steps stays as it is."""
    batch, channels, height, width = images.shape
    pixels = images.flatten(2).long()  # (B, C, H·W)
    counts = torch.zeros(batch, channels, 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(2, pixels, torch.ones((), dtype=torch.int64, device=images.device).expand_as(pixels))
    brightest = images.amax(dim=(2, 3), keepdim=True).flatten(2).long()
    step = (height * width - counts.gather(2, brightest)) // 255  # (B, C, 1)
    below = counts.cumsum(dim=2) - counts
    levelled = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    return _look_up(images, torch.where(step > 0, levelled, torch.arange(256, device=images.device)))


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Only the highest bits of every value kept: 8 of them change nothing, 1 leaves 0 and 128.

    Args:
        images: uint8 (B, C, H, W).
        bits: integers (B,) in 0..8.
    """
    return images & (256 - 2 ** (8 - _beside(bits, images).long())).to(torch.uint8)


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Values of a threshold or more inverted: 256 changes nothing, 0 gives the negative.

    Args:
        images: uint8 (B, C, H, W).
        thresholds: integers (B,) in 0..256.
    """
    inverted = images >= _beside(thresholds, images).to(torch.int16)
    return images ^ (inverted.to(torch.uint8) * 255)  # v ^ 255 is 255 - v; torch.where takes 50 times as long


def brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Blended with black: 1 changes nothing, 0 is black, more than 1 is brighter."""
    return _blend(torch.zeros(1, device=images.device), images, factors)


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Blended with the mean of its grays: 1 changes nothing, 0 is one even gray, more than 1 has more contrast."""
    pixels = images.shape[2] * images.shape[3]
    mean = (2 * _gray(images).sum(dim=(1, 2, 3), keepdim=True) + pixels) // (2 * pixels)  # rounded half up
    return _blend(mean, images, factors)


def color(images: Tensor, factors: Tensor) -> Tensor:
    """Blended with its own grays: 1 changes nothing, 0 is black and white, more than 1 is more colorful."""
    return _blend(_gray(images), images, factors)


def sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Blended with its smoothed self: 1 changes nothing, 0 is smooth, more than 1 is sharper; the outer frame stays."""
    smooth = images.float()
    rows = smooth[:, :, :-2] + smooth[:, :, 1:-1] + smooth[:, :, 2:]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    weighted = box + 4 * smooth[:, :, 1:-1, 1:-1]  # PIL's SMOOTH: 5 in the middle, 1 around, over 13
    # A thirteenth is never a half, so that rounding has 1/26 to spare, far more than float32 needs.
    smooth[:, :, 1:-1, 1:-1] = (weighted * (1 / 13) + 0.5).floor()
    return _blend(smooth, images, factors)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turned anticlockwise about the center; nearest neighbor, black from outside."""
    to_right, down = images.shape[3] / 2, images.shape[2] / 2
    angle = torch.deg2rad(-degrees.cpu().double())
    cos, sin = angle.cos(), angle.sin()
    back_x, back_y = to_right - cos * to_right - sin * down, down + sin * to_right - cos * down
    return affine_nearest(images, a=cos, b=sin, c=back_x, d=-sin, e=cos, f=back_y)


def shear_x(images: Tensor, tangents: Tensor) -> Tensor:
    """Row y shows what was y × tangent pixels further right; nearest neighbor, black from outside."""
    return affine_nearest(images, b=tangents)


def shear_y(images: Tensor, tangents: Tensor) -> Tensor:
    """Column x shows what was x × tangent pixels further down; nearest neighbor, black from outside."""
    return affine_nearest(images, d=tangents)


def translate_x(images: Tensor, pixels: Tensor) -> Tensor:
    """Shifted to the right by whole pixels (integers, negative: to the left), black from outside."""
    return affine_nearest(images, c=-pixels)


def translate_y(images: Tensor, pixels: Tensor) -> Tensor:
    """Shifted down by whole pixels (integers, negative: up), black from outside."""
    return affine_nearest(images, f=-pixels)


def cut_out(images: Tensor, centers: Tensor, side: int) -> Tensor:
    """The images, uint8 (B, C, H, W), with each one's hole turned gray, as :func:`holes` says."""
    hole = holes(images, centers.to(images.device), side).to(torch.uint8)  # (B, 1, H, W)
    return images * (1 - hole) + hole * GRAY


def affine_nearest(
    images: Tensor,
    *,
    a: Tensor | float = 1.0,
    b: Tensor | float = 0.0,
    c: Tensor | float = 0.0,
    d: Tensor | float = 0.0,
    e: Tensor | float = 1.0,
    f: Tensor | float = 0.0,
) -> Tensor:
    """Every output pixel (x, y) takes the input's pixel at (a·x + b·y + c, d·x + e·y + f), or 0 where there is none.

    Pixels are meant by their centers, coordinates count from the upper left corner, and sides are at most 16,384.

    Args:
        images: uint8 (B, C, H, W).
        a, b, c, d, e, f: numbers or (B,): PIL's `Image.transform(size, AFFINE, (a, b, c, d, e, f), NEAREST)`.
    """
    height, width = images.shape[2:]
    columns, rows = (torch.arange(side, dtype=torch.int32, device=images.device) for side in (width, height))

    def source(per_column: Tensor | float, per_row: Tensor | float, start: Tensor | float) -> Tensor:
        # In double precision on the CPU and then in whole numbers, so that every device reads the pixels that PIL does.
        step_x, step_y, first = (
            torch.as_tensor(number, dtype=torch.float64, device="cpu") for number in (per_column, per_row, start)
        )
        first = _in_65536ths(first + step_x * 0.5 + step_y * 0.5, images)
        across, down = _in_65536ths(step_x, images) * columns, first + _in_65536ths(step_y, images) * rows
        return (down.unsqueeze(2) + across.unsqueeze(1)) >> 16  # (B, H, W)

    x, y = source(a, b, c), source(d, e, f)
    nearest_x, nearest_y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    inside = (nearest_x == x) & (nearest_y == y)
    return gather_pixels(images, nearest_y * width + nearest_x) * inside.unsqueeze(1)


def gather_pixels(images: Tensor, index: Tensor) -> Tensor:
    """The images with each pixel taken, in all channels, from the place that the index says; uint8 (B, C, H, W).

    Args:
        images: uint8 (B, C, H, W).
        index: integers (B, H, W), row × W + column of the source.
    """
    batch, channels, height, width = images.shape
    index = index.long().view(batch, 1, height * width).expand(-1, channels, -1)
    return images.flatten(2).gather(2, index).view(images.shape)


def _in_65536ths(numbers: Tensor, images: Tensor) -> Tensor:
    """Pixels → whole 65536ths of a pixel, as PIL rounds them; int32 (B, 1) on the images' device."""
    whole = (numbers * 65536 + 0.5).floor().to(torch.int32)
    return whole.expand(len(images)).unsqueeze(1).to(images.device)


def _blend(degenerate: Tensor, images: Tensor, factors: Tensor) -> Tensor:
    """degenerate + factor × (images - degenerate), cut off to whole values in 0..255."""
    degenerate = degenerate.float()
    # Product and sum rounded one after the other, as PIL does: a fused multiply-add (lerp) gives other bits.
    return (degenerate + _beside(factors, images).float() * (images - degenerate)).clamp_(0, 255).to(torch.uint8)


def _gray(images: Tensor) -> Tensor:
    """What PIL's convert("L") gives: ITU-R 601-2 luma in 16 bits; int32 (B, 1, H, W).

    Raises:
        ValueError: neither one channel nor three.
    """
    match images.shape[1]:
        case 1:
            return images.int()
        case 3:
            red, green, blue = images.int().split(1, dim=1)
            luma: Tensor = (red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16
            return luma
        case channels:
            raise ValueError(f"images of {channels} channels have no grays; use 1 (gray) or 3 (red, green, blue)")


def _look_up(images: Tensor, tables: Tensor) -> Tensor:
    """Every value replaced by what stands in its channel's table, (B, C, 256) of whole values in 0..255."""
    return tables.to(torch.uint8).gather(2, images.flatten(2).long()).view(images.shape)


def _beside(amounts: Tensor, images: Tensor) -> Tensor:
    """Amounts (B,) → (B, 1, 1, 1) on the images' device."""
    return amounts.to(images.device).view(-1, 1, 1, 1)
