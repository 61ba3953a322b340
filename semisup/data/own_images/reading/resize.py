"""Pixels of any size → the size asked for, upright, and how much smaller a JPEG may be decoded for it."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Resize = Literal["crop", "pad"]
SPARE = 1.5
"""Of a JPEG decoded at a fraction, at least so many pixels along each side are there for one of ours."""
FRACTIONS = (1, 2, 4)
"""Eighths at which libjpeg-turbo is faster than at full size; the others have no SIMD code."""
BLOCK = 8
"""Pixels of a JPEG's blocks; a picture with a shorter side is decoded as it is."""
MIRRORED, TRANSPOSED = frozenset({2, 3, 6, 7}), frozenset({5, 6, 7, 8})
UPSIDE_DOWN = frozenset({3, 4, 7, 8})
"""Of EXIF's orientations: what makes the stored picture upright. It is transposed first."""


def eighths_for(width: int, height: int, wanted: tuple[int, int], resize: Resize) -> int:
    """1, 2, 4 or 8: at how many eighths of its size a JPEG may be decoded to be made `wanted` (height, width) then.

    With SPARE the result is as near to the whole picture's as a bilinear filter's is to a bicubic one's: within 1.2 of
    255, the mean over photographs.
    """
    if min(width, height) < BLOCK:
        return 8
    scale = _scale(width, height, wanted, resize)
    return next((eighths for eighths in FRACTIONS if scale * eighths / 8 >= SPARE), 8)


def fitted(pixels: NDArray[np.uint8], wanted: tuple[int, int], resize: Resize) -> NDArray[np.uint8]:
    """(H, W, C) → (C, *wanted), by an antialiased bicubic filter; `wanted` is (height, width).

    `crop`: the shorter side fits and the middle is kept; `pad`: all of it fits, on black.
    """
    height, width = pixels.shape[:2]
    if (height, width) == wanted:
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
    scale = _scale(width, height, wanted, resize)
    if resize == "crop":
        inner = tuple(
            min(max(round(side * scale), 1), whole) for side, whole in zip(wanted, (height, width), strict=True)
        )
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        return _resampled(pixels[top : top + inner[0], left : left + inner[1]], wanted)
    small = _resampled(pixels, (max(round(height / scale), 1), max(round(width / scale), 1)))
    canvas = np.zeros((pixels.shape[2], *wanted), dtype=np.uint8)
    top, left = (wanted[0] - small.shape[1]) // 2, (wanted[1] - small.shape[2]) // 2
    canvas[:, top : top + small.shape[1], left : left + small.shape[2]] = small
    return canvas


def turned(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(height, width) before or after a picture is turned by EXIF's orientation: the sides change places, or stay."""
    return size[::-1] if orientation in TRANSPOSED else size


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """(C, H, W) as it is stored → as it is to be seen, by EXIF's orientation (1 … 8)."""
    if orientation in TRANSPOSED:
        pixels = pixels.transpose(0, 2, 1)
    if orientation in MIRRORED:
        pixels = pixels[:, :, ::-1]
    if orientation in UPSIDE_DOWN:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _scale(width: int, height: int, wanted: tuple[int, int], resize: Resize) -> float:
    """Pixels of the picture to one of ours."""
    return (min if resize == "crop" else max)(height / wanted[0], width / wanted[1])


def _resampled(pixels: NDArray[np.uint8], wanted: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, C) → (C, *wanted)."""
    import torch  # whoever asks only which files are images has no use for it

    if pixels.shape[:2] == wanted:
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
    # Pillow's filter and its pixels but for rounding, in a quarter of its time. Torch takes an image for channels-last,
    # and saves itself a copy, only where it becomes a batch before its axes change places.
    image = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(image, size=wanted, mode="bicubic", antialias=True)
    found: NDArray[np.uint8] = small[0].contiguous().numpy()
    return found
