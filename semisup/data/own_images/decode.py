"""Image files as bytes → pixels of one size, or the reason why not. Nothing here imports torch."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

try:
    import simplejpeg
except ImportError:  # not there, or not for this machine: Pillow alone gives the same pixels, later
    simplejpeg = None

DECODERS = "Pillow" if simplejpeg is None else "Pillow and libjpeg-turbo"
JPEG_EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
EXTENSIONS = JPEG_EXTENSIONS | frozenset({".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
MOST_PIXELS = 100_000_000
"""Of a file's own size; a header that announces more is taken for a decompression bomb. Twice a large camera's."""
ORIENTATION = 274  # EXIF and TIFF
JPEG_START = b"\xff\xd8"
EXIF_NOTE = b"Exif\x00"  # wherever it is in the file
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
OPENERS: dict[bytes, Callable[[io.BytesIO], ImageFile]] = {
    JPEG_START: JpegImageFile,
    b"\x89PNG": PngImageFile,
    b"BM": BmpImageFile,
    b"II*\x00": TiffImageFile,
    b"MM\x00*": TiffImageFile,
    b"II+\x00": TiffImageFile,
    b"MM\x00+": TiffImageFile,
    b"GIF8": GifImageFile,
}
WITH_ALPHA = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
GREY_16 = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})


class BrokenImageError(ValueError):
    """The file cannot be used; the message is the reason, for people."""


@dataclass(frozen=True)
class Target:
    """What every file is turned into."""

    height: int
    width: int
    resize: Literal["crop", "pad"]
    """`crop`: the shorter side fits and the middle is kept; `pad`: all of it fits, on black."""
    channels: Literal["rgb", "grey"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (3 if self.channels == "rgb" else 1), self.height, self.width


class Decoded(NamedTuple):
    """One image, and what its file was like."""

    pixels: NDArray[np.uint8]
    """(C, H, W)."""
    width: int
    height: int
    mode: str
    """Pillow's word for the kind of pixels, such as "RGB", "CMYK", "I;16"."""
    animated: bool
    """Are there more frames, or pages, than the first, which was taken?"""


def decode(content: bytes, target: Target) -> Decoded:
    """A file's first picture, upright, as uint8 of the target's size.

    Transparency lies on white. 16 bits become their upper 8; floats are taken for 0..1. A JPEG is decoded at a half, a
    quarter or an eighth where that is still at least twice the size asked for.

    Raises:
        BrokenImageError: no image of a known format, damaged, truncated, or of more than MOST_PIXELS.
    """
    if not content:
        raise BrokenImageError("empty: it has no bytes")
    if (plain := _plain_jpeg(content, target)) is not None:
        return plain
    opener = reader(content)
    if opener is None:
        raise BrokenImageError(
            f"no image: it begins with {content[:8]!r}, as no JPEG, PNG, WebP, BMP, TIFF or GIF does"
        )
    try:
        with opener(io.BytesIO(content)) as image:
            return _decoded(image, target)
    except BrokenImageError:
        raise
    except Exception as error:  # what a decoder raises at hostile bytes is no finite list; none of it may end a run
        words = " ".join(str(error).split()) or type(error).__name__
        raise BrokenImageError(f"damaged: {words}") from error


def reader(content: bytes) -> Callable[[io.BytesIO], ImageFile] | None:
    """Pillow's reader for what the first bytes say.

    Image.open makes a small JPEG take half as long again, tries formats that run other programs, and warns of large
    images where we refuse them.
    """
    if content[:4] == b"RIFF":
        return WebPImageFile if content[8:12] == b"WEBP" else None
    return next((opener for magic, opener in OPENERS.items() if content.startswith(magic)), None)


def _decoded(image: ImageFile, target: Target) -> Decoded:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise BrokenImageError(f"too large: {width:,} × {height:,} pixels, and at most {MOST_PIXELS:,} are decoded")
    mode, animated = image.mode, bool(getattr(image, "is_animated", False))
    turn = TURNS.get(_orientation(image))
    if isinstance(image, JpegImageFile):
        side = 2 * max(target.height, target.width)
        image.draft(None, (side, side))
    image.load()
    picture = _eight_bits(image, "RGB" if target.channels == "rgb" else "L")
    if turn is not None:
        picture = picture.transpose(turn)
    return Decoded(_channels_first(np.asarray(_resized(picture, target))), width, height, mode, animated)


def _plain_jpeg(content: bytes, target: Target) -> Decoded | None:
    """A JPEG by libjpeg-turbo itself: a small one is done in a sixth of Pillow's time, to the same pixels.

    None for what needs more: reduced decoding, turning by EXIF, other colours, data that the library refuses, another
    format. A file of which Pillow refuses the notes alone, and the library the data not, is an image here.
    """
    if simplejpeg is None or not content.startswith(JPEG_START):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if min(height, width) >= 4 * max(target.height, target.width) or height * width > MOST_PIXELS:
            return None
        if colours not in {"YCbCr", "Gray"} or EXIF_NOTE in content:
            return None
        mode = "L" if colours == "Gray" else "RGB"
        pixels = simplejpeg.decode_jpeg(content, "GRAY" if mode == "L" else "RGB")
        wanted = "RGB" if target.channels == "rgb" else "L"
        if mode != wanted or (height, width) != (target.height, target.width):
            picture = _eight_bits(Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels), wanted)
            pixels = np.asarray(_resized(picture, target))
        return Decoded(_channels_first(pixels), width, height, mode, animated=False)
    except Exception:  # as in `decode`: Pillow has the last word, and the reason
        return None


def _channels_first(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W), or (H, W, C) → (C, H, W), contiguous."""
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def _orientation(image: ImageFile) -> int:
    if "exif" not in image.info and not isinstance(image, TiffImageFile):
        return 1
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError):
        return 1  # notes that cannot be read do not make the picture unreadable


def _eight_bits(image: Image.Image, mode: str) -> Image.Image:
    """As "RGB" or "L"."""
    if image.mode in GREY_16:
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    elif image.mode == "I":
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    elif image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        image = Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))
    if image.mode in WITH_ALPHA or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _resized(image: Image.Image, target: Target) -> Image.Image:
    width, height = image.size
    wanted = (target.width, target.height)
    if (width, height) == wanted:
        return image
    if target.resize == "crop":
        scale = min(width / target.width, height / target.height)  # of source pixels to one of ours
        inner = (target.width * scale, target.height * scale)
        left, top = (width - inner[0]) / 2, (height - inner[1]) / 2
        box = (max(left, 0.0), max(top, 0.0), min(left + inner[0], width), min(top + inner[1], height))
        return image.resize(wanted, Image.Resampling.BICUBIC, box=box)
    scale = max(width / target.width, height / target.height)
    fitted = (max(round(width / scale), 1), max(round(height / scale), 1))
    canvas = Image.new(image.mode, wanted)
    small = image.resize(fitted, Image.Resampling.BICUBIC)
    canvas.paste(small, ((target.width - fitted[0]) // 2, (target.height - fitted[1]) // 2))
    return canvas
