"""Image files as bytes → pixels of one size, or the reason why not. Nothing here imports torch."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from semisup.data.own_images.reading.deep import Range, eight_bits, extent_of, open_deep, raw_mode

try:
    import simplejpeg
except ImportError:  # not there, or not for this machine: Pillow alone gives the same pixels, later
    simplejpeg = None

HeifImageFile: type[ImageFile] | None
try:
    HeifImageFile = import_module("pillow_heif.as_plugin").HeifImageFile
except ImportError:  # an extra: pip install 'semisup[heif]'
    HeifImageFile = None

DECODERS = "Pillow" if simplejpeg is None else "Pillow and libjpeg-turbo"
JPEG_EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
HEIF_EXTENSIONS = frozenset({".heic", ".heif", ".hif"})
EXTENSIONS = (
    JPEG_EXTENSIONS
    | frozenset({".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".jp2", ".j2k"})
    | (frozenset() if HeifImageFile is None else HEIF_EXTENSIONS)
)
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
    b"\x00\x00\x00\x0cjP  ": Jpeg2KImageFile,
    b"\xff\x4f\xff\x51": Jpeg2KImageFile,
}
BRANDS: dict[bytes, type[ImageFile] | None] = {b"avif": AvifImageFile, b"avis": AvifImageFile} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), HeifImageFile
)
"""Of files that begin with a box `ftyp`: by what is in them, the reader, or None where it is not installed."""
FEW_BITS = {"L;2": 85, "L;4": 17}
"""By what Pillow multiplies the gray of 2 and 4 bits, but not the value that is said to be transparent."""
WITH_ALPHA = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
EXIF_TEXTS = ("Raw profile type exif", "Raw profile type APP1")
"""Where ImageMagick has put the EXIF data of a PNG, since before the format had a place for it."""


class BrokenImageError(ValueError):
    """The file cannot be used; the message is the reason, for people."""


@dataclass(frozen=True)
class Target:
    """What every file is turned into."""

    height: int
    width: int
    resize: Literal["crop", "pad"]
    """`crop`: the shorter side fits and the middle is kept; `pad`: all of it fits, on black."""
    channels: Literal["rgb", "gray"]
    range: Range | None = None
    """What becomes black and white in files of more than 8 bits; None: 0 and 65535, of floats 0 and 1."""

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
    """Pillow's word for the kind of pixels, such as "RGB", "CMYK", "I;16"; and "LA;16", "RGB;16", "RGBA;16"."""
    animated: bool
    """Are there more frames, or pages, than the first, which was taken?"""
    extent: Range | None = None
    """(darkest, brightest) value of a file of more than 8 bits, as in :func:`extent_of`."""

    @property
    def flat(self) -> bool:
        """Are all of its pixels alike?"""
        first = self.pixels[:, :1, :1]
        return bool((self.pixels[:, 0] == first[:, 0]).all() and (self.pixels == first).all())


def decode(content: bytes, target: Target) -> Decoded:
    """A file's first picture, upright, as uint8 of the target's size.

    Transparency lies on white. More than 8 bits become 8 by the target's range. A JPEG is decoded at a half, a quarter
    or an eighth where that is still at least twice the size asked for.

    Raises:
        BrokenImageError: no image of a known format, damaged, truncated, or of more than MOST_PIXELS.
    """
    if not content:
        raise BrokenImageError("empty: it has no bytes")
    if (plain := _plain_jpeg(content, target)) is not None:
        return plain
    opener = reader(content)
    if opener is None:
        raise BrokenImageError(f"no image: it begins with {content[:8]!r}, as none of the formats that are read does")
    try:
        with opener(io.BytesIO(content)) as image:
            return _decoded(image, lambda: opener(io.BytesIO(content)), target)
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
    if content[4:8] == b"ftyp":
        return BRANDS.get(content[8:12])
    return next((opener for magic, opener in OPENERS.items() if content.startswith(magic)), None)


def size_of(content: bytes) -> tuple[int, int]:
    """(width, height) of an image that can be decoded, by its header."""
    opener = reader(content)
    assert opener is not None, "it was decoded before"
    with opener(io.BytesIO(content)) as image:
        width, height = image.size
    return width, height


def _decoded(image: ImageFile, again: Callable[[], ImageFile], target: Target) -> Decoded:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise BrokenImageError(f"too large: {width:,} × {height:,} pixels, and at most {MOST_PIXELS:,} are decoded")
    mode, animated = image.mode, bool(getattr(image, "is_animated", False))
    if isinstance(image, JpegImageFile):
        side = 2 * max(target.height, target.width)
        image.draft(None, (side, side))
    extent, wanted = None, "RGB" if target.channels == "rgb" else "L"
    if (deep := open_deep(image, again)) is not None:
        mode, extent, picture = deep.mode, extent_of(deep), eight_bits(deep, target.range)
    else:
        picture = _on_white(image)
    picture = picture if picture.mode == wanted else picture.convert(wanted)
    if (turn := TURNS.get(_orientation(image))) is not None:
        picture = picture.transpose(turn)
    return Decoded(_channels_first(np.asarray(_resized(picture, target))), width, height, mode, animated, extent)


def _plain_jpeg(content: bytes, target: Target) -> Decoded | None:
    """A JPEG by libjpeg-turbo itself: a small one is done in a sixth of Pillow's time, to the same pixels.

    None for what needs more: reduced decoding, turning by EXIF, other colors, data that the library refuses, another
    format. A file of which Pillow refuses the notes alone, and the library the data not, is an image here.
    """
    if simplejpeg is None or not content.startswith(JPEG_START):
        return None
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(content)
        if min(height, width) >= 4 * max(target.height, target.width) or height * width > MOST_PIXELS:
            return None
        if colors not in {"YCbCr", "Gray"} or EXIF_NOTE in content:
            return None
        mode = "L" if colors == "Gray" else "RGB"
        pixels = simplejpeg.decode_jpeg(content, "GRAY" if mode == "L" else "RGB")
        wanted = "RGB" if target.channels == "rgb" else "L"
        if mode != wanted or (height, width) != (target.height, target.width):
            picture = Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels).convert(wanted)
            pixels = np.asarray(_resized(picture, target))
        return Decoded(_channels_first(pixels), width, height, mode, animated=False)
    except Exception:  # as in `decode`: Pillow has the last word, and the reason
        return None


def _channels_first(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W), or (H, W, C) → (C, H, W), contiguous."""
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def _orientation(image: ImageFile) -> int:
    """How a loaded image is yet to be turned: Pillow has turned a TIFF already, and EXIF may lie behind the pixels."""
    content = image.info.get("exif") or _exif_in_text(image)
    if content is None or isinstance(image, TiffImageFile):
        return 1
    exif = Image.Exif()
    try:
        exif.load(content)
        return int(exif.get(ORIENTATION, 1))
    except Exception:  # notes that cannot be read do not make the picture unreadable
        return 1


def _exif_in_text(image: ImageFile) -> bytes | None:
    """Three words, the last in hexadecimal digits: what it is, how long, and the EXIF data."""
    for key in EXIF_TEXTS:
        words = str(image.info.get(key, "")).split()
        if len(words) > 2:
            try:
                return bytes.fromhex("".join(words[2:]))
            except ValueError:
                continue
    return None


def _on_white(image: ImageFile) -> Image.Image:
    """Loaded, and without transparency."""
    few_bits = FEW_BITS.get(raw_mode(image.tile[0].args), 1) if image.tile else 1
    image.load()
    if few_bits > 1 and "transparency" in image.info:
        image.info["transparency"] *= few_bits
    if image.mode not in WITH_ALPHA and "transparency" not in image.info:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


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
