"""Images of other numbers of channels than gray and colors have: TIFF as satellites and microscopes leave it; arrays.

Tifffile reads them, an extra. Channels are a file's samples, or the pages that its own notes call channels.
"""

import io
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import SAMPLESPERPIXEL, ImageFileDirectory_v2

INSTALLED = find_spec("tifffile") is not None
INSTALL = "pip install 'semisup[tiff]'"
MOST = 16
TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
NPY = b"\x93NUMPY"
ALPHA = frozenset({1, 2})
"""What TIFF says of a sample more than colors have, where it is transparency."""
AXES = frozenset("YXSC")
"""Tifffile's names of rows, columns, samples and channels; others are of pages in time, in depth or of no name."""
USUAL = frozenset({1, 3})
"""Numbers of channels that pictures have without it being said: gray, and colors."""
INK_AND_ALPHA = 5
"""The most that pictures have."""
ORIENTATION = "Orientation"
KINDS = "buif"
"""Kinds of values that pixels may be."""


class Values(NamedTuple):
    """An image as its file holds it."""

    pixels: NDArray[Any]
    """(H, W, C): uint8, uint16, int64 or float32."""
    orientation: int
    """As in EXIF."""


def channels_of(content: bytes) -> int | None:
    """How many channels a file has, where they are no picture's: not gray, colors or ink, with transparency or without.

    None, too, of other formats, of what cannot be read, and of pages in time or depth, which are pictures: the first
    counts.
    """
    try:
        if content.startswith(NPY):
            shape = np.load(io.BytesIO(content), allow_pickle=False).shape
            return int(shape[2]) if len(shape) == 3 and shape[2] not in USUAL else None
        if not content.startswith(TIFF):
            return None
        return _samples(content) if not INSTALLED else _counted(content)
    except Exception:  # whoever decodes it says what is wrong
        return None


def as_picture(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(C, H, W) as people can see it: gray (H, W), or (H, W, 3), of more channels the first three as colors."""
    return pixels[0] if len(pixels) < 3 else pixels[:3].transpose(1, 2, 0)


def size_of(content: bytes) -> tuple[int, int]:
    """(width, height) of an image of many channels that can be read."""
    height, width = values_of(content, None).pixels.shape[:2]
    return width, height


def values_of(content: bytes, channels: int | None, most_pixels: int = 10**8) -> Values:
    """The pixels of a TIFF or .npy file with so many channels, or with whatever number it has.

    Raises:
        ValueError: it is another format, has another number of channels or another kind of values, has pages that are
            no channels, or is too large.
        Exception: it is damaged, as tifffile says.
    """
    if content.startswith(NPY):
        array, orientation = np.load(io.BytesIO(content), allow_pickle=False), 1
        _check(array.shape[1], array.shape[0], array.shape[2], channels, most_pixels)
        return Values(array, orientation)
    if not content.startswith(TIFF):
        raise ValueError(f"it is no TIFF, and no other file has data.channels={channels} channels")
    from tifffile import TiffFile

    with TiffFile(io.BytesIO(content)) as tiff:
        series = tiff.series[0]
        rows, columns, count = _axes(series)
        _check(columns, rows, count, channels, most_pixels)
        array = series.asarray()
        at = [series.axes.index("Y"), series.axes.index("X")]
        pixels = np.moveaxis(array, at, (0, 1)).reshape(rows, columns, count)
        tag = tiff.pages.first.tags.get(ORIENTATION)
        return Values(_plain(pixels), int(tag.value) if tag is not None else 1)


def _check(columns: int, rows: int, count: int, channels: int | None, most_pixels: int) -> None:
    if channels is not None and count != channels:
        raise ValueError(f"it has {count} channel{'s' if count != 1 else ''}, and data.channels is {channels}")
    if rows * columns > most_pixels:
        raise ValueError(f"it has {columns:,} × {rows:,} pixels, and at most {most_pixels:,} are decoded")


def _axes(series: Any) -> tuple[int, int, int]:
    """(rows, columns, channels): samples, and pages that its notes call channels."""
    sides = dict(zip(series.axes, series.shape, strict=True))
    if not sides.keys() >= {"Y", "X"}:
        raise ValueError(f"its axes are {series.axes}, without rows and columns")
    if not sides.keys() <= AXES:
        raise ValueError(f"its {len(series)} pages are no channels, unless notes of ImageJ or OME call them so")
    return sides["Y"], sides["X"], int(np.prod(series.shape)) // (sides["Y"] * sides["X"])


def _plain(pixels: NDArray[Any]) -> NDArray[Any]:
    """Of a type that those of other deep files have."""
    if pixels.dtype.kind not in KINDS:
        raise ValueError(f"its values are {pixels.dtype}; write whole numbers or floats")
    if pixels.dtype == np.bool_:
        return (pixels * np.uint8(255)).astype(np.uint8)
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    return pixels.astype(np.float32 if pixels.dtype.kind == "f" or pixels.dtype.itemsize > 4 else np.int64)


def _counted(content: bytes) -> int | None:
    from tifffile import TiffFile

    with TiffFile(io.BytesIO(content)) as tiff:
        series, page = tiff.series[0], tiff.pages.first
        count, samples = _axes(series)[2], page.samplesperpixel
        return None if count == samples and _is_picture(page) else count


def _is_picture(page: Any) -> bool:
    """Is one page gray, colored or of ink, with transparency or without?"""
    colors = {"RGB": 3, "PALETTE": 1, "MINISBLACK": 1, "MINISWHITE": 1, "SEPARATED": 4, "YCBCR": 3, "CIELAB": 3}
    more = page.samplesperpixel - colors.get(page.photometric.name, 0)
    return more == 0 or (more == 1 and set(page.extrasamples) <= ALPHA and bool(page.extrasamples))


def _samples(content: bytes) -> int | None:
    """Without tifffile: what the first directory says, where no picture has so many."""
    directory = ImageFileDirectory_v2(content[:8])
    file = io.BytesIO(content)
    file.seek(directory.next)
    directory.load(file)
    count = int(directory.get(SAMPLESPERPIXEL, 1))
    return count if count > INK_AND_ALPHA else None
