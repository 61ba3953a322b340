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

from semisup.data.own_images.reading import many, medical
from semisup.data.own_images.reading.deep import Deep, Range, eight_bits, extent_of, open_deep, raw_mode, shades_of
from semisup.data.own_images.reading.resize import Resize, eighths_for, fitted, turned, upright
from semisup.errors import in_one_line
from semisup.wording import counted

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
    | (medical.EXTENSIONS if medical.INSTALLED else frozenset())
)
NEEDED = dict.fromkeys(HEIF_EXTENSIONS, "HEIC files, which are read after pip install 'semisup[heif]'") | dict.fromkeys(
    medical.EXTENSIONS, medical.NEEDED
)
"""Extension of files that an extra reads → what to do where it is not installed."""
MOST_PIXELS = 100_000_000
"""Of a file's own size; a header that announces more is taken for a decompression bomb. Twice a large camera's."""
ORIENTATION = 274  # EXIF and TIFF
JPEG_START = b"\xff\xd8"
EXIF_NOTE = b"Exif\x00"
START_OF_SCAN = 0xDA
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
    resize: Resize
    """`crop`: the shorter side fits and the middle is kept; `pad`: all of it fits, on black."""
    channels: Literal["rgb", "gray"] | int
    """A number: so many, of files that have just these."""
    range: Range | None = None
    """What becomes black and white in files of more than 8 bits; None: 0 and 65535, of floats 0 and 1."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.height, self.width

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return channel_count(self.channels), self.height, self.width


def channel_count(channels: Literal["rgb", "gray"] | int) -> int:
    """As a number."""
    return channels if isinstance(channels, int) else {"rgb": 3, "gray": 1}[channels]


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
    or an eighth where that is enough, as :func:`eighths_for` says; that finds whatever is damaged all the same, for the
    coded data is read to its end.

    Raises:
        BrokenImageError: no image of a known format, damaged, truncated, or of more than MOST_PIXELS.
    """
    if not content:
        raise BrokenImageError("empty: it has no bytes")
    if isinstance(target.channels, int):
        return _of_many_channels(content, target, target.channels)
    if (plain := _plain_jpeg(content, target)) is not None:
        return plain
    if medical.is_dicom(content):
        return _of_dicom(content, target)
    opener = reader(content)
    if opener is None:
        raise BrokenImageError(
            _many(content) or f"no image: it begins with {content[:8]!r}, as none of the formats that are read does"
        )
    try:
        with opener(io.BytesIO(content)) as image:
            return _decoded(image, lambda: opener(io.BytesIO(content)), target)
    except BrokenImageError:
        raise
    except Exception as error:  # what a decoder raises at hostile bytes is no finite list; none of it may end a run
        raise BrokenImageError(_many(content) or f"damaged: {in_one_line(error)}") from error


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
    if medical.is_dicom(content):
        found = medical.header_of(content)
        return found.width, found.height
    if many.channels_of(content) is not None:
        return many.size_of(content)
    opener = reader(content)
    assert opener is not None, "it was decoded before"
    with opener(io.BytesIO(content)) as image:
        width, height = image.size
    return width, height


def _decoded(image: ImageFile, again: Callable[[], ImageFile], target: Target) -> Decoded:
    width, height = image.size
    _check_size(width, height)
    mode, animated = image.mode, bool(getattr(image, "is_animated", False))
    if isinstance(image, JpegImageFile):  # the header has said all of its EXIF
        eighths = eighths_for(width, height, turned(target.size, _orientation(image)), target.resize)
        image.draft(None, (width * eighths // 8, height * eighths // 8))
    extent = None
    if (deep := open_deep(image, again)) is not None:
        mode, extent, picture = deep.mode, extent_of(deep), eight_bits(deep, target.range)
    else:
        picture = _on_white(image)
    return Decoded(_as_asked(picture, target, _orientation(image)), width, height, mode, animated, extent)


def _of_dicom(content: bytes, target: Target) -> Decoded:
    """Of several frames the first, as of other files."""
    if not medical.INSTALLED:
        raise BrokenImageError(f"no image that can be read here: it is among the {medical.NEEDED}")
    try:
        header = medical.header_of(content)
        _check_size(header.width, header.height)
        image, extent = medical.picture_of(header, target.range)
    except BrokenImageError:
        raise
    except Exception as error:  # as in `decode`
        raise BrokenImageError(f"damaged: {in_one_line(error)}") from error
    pixels = _as_asked(image, target, orientation=1)
    return Decoded(pixels, header.width, header.height, header.mode, header.frames > 1, extent)


def _of_many_channels(content: bytes, target: Target, channels: int) -> Decoded:
    try:
        values, orientation = many.values_of(content, channels, MOST_PIXELS)
    except Exception as error:  # as in `decode`
        raise BrokenImageError(f"of other channels, or damaged: {in_one_line(error)}") from error
    height, width = values.shape[:2]
    extent, pixels, mode = None, values, f"{counted(channels, 'channel')}"
    if values.dtype != np.uint8:
        solid = np.full((height, width), 255, dtype=np.uint8)
        extent, pixels = extent_of(Deep(mode, values, solid)), shades_of(values, target.range)
        mode = "F" if values.dtype.kind == "f" else mode
    return Decoded(_placed(pixels, target, orientation), width, height, mode, animated=False, extent=extent)


def _many(content: bytes) -> str:
    """The reason why a file of many channels is no picture; "" of other files."""
    count = many.channels_of(content)
    install = "" if many.INSTALLED else f", after {many.INSTALL}"
    return "" if count is None else f"of {counted(count, 'channel')}: set data.channels: {count}{install}"


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise BrokenImageError(f"too large: {width:,} × {height:,} pixels, and at most {MOST_PIXELS:,} are decoded")


def _plain_jpeg(content: bytes, target: Target) -> Decoded | None:
    """A JPEG by libjpeg-turbo itself, without Pillow's detours, to the same pixels.

    None for what needs more: other colors, data that the library refuses, another format. A file of which Pillow
    refuses the notes alone, and the library the data not, is an image here, unless the notes may say how it is turned.
    """
    if simplejpeg is None or not content.startswith(JPEG_START):
        return None
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(content)
        if height * width > MOST_PIXELS or colors not in {"YCbCr", "Gray"}:
            return None
        orientation = 1
        if content.find(EXIF_NOTE, 0, _end_of_notes(content)) >= 0:
            with JpegImageFile(io.BytesIO(content)) as image:
                orientation = _orientation(image)
        eighths = eighths_for(width, height, turned(target.size, orientation), target.resize)
        least = {} if eighths == 8 else {"min_height": -(-height * eighths // 8), "min_width": -(-width * eighths // 8)}
        mode = "L" if colors == "Gray" else "RGB"
        pixels = simplejpeg.decode_jpeg(content, "GRAY" if mode == "L" else "RGB", **least)
        if mode == "RGB" and target.channels == "gray":
            pixels = np.array(Image.fromarray(pixels).convert("L"))[..., None]
        return Decoded(_placed(pixels, target, orientation), width, height, mode, animated=False)
    except Exception:  # as in `decode`: Pillow has the last word, and the reason
        return None


def _end_of_notes(content: bytes) -> int:
    """Where the coded picture of a JPEG begins; its end, where that cannot be told."""
    at = len(JPEG_START)
    while at + 4 <= len(content) and content[at] == 0xFF:
        if content[at + 1] == START_OF_SCAN:
            return at
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return len(content)


def _as_asked(picture: Image.Image, target: Target, orientation: int) -> NDArray[np.uint8]:
    """A whole picture, as it is stored, without transparency → what the target asks for."""
    if picture.mode != "L":
        wanted = "RGB" if target.channels == "rgb" else "L"
        picture = picture if picture.mode == wanted else picture.convert(wanted)
    pixels = np.array(picture)
    return _placed(pixels[..., None] if pixels.ndim == 2 else pixels, target, orientation)


def _placed(pixels: NDArray[np.uint8], target: Target, orientation: int) -> NDArray[np.uint8]:
    """(H, W, channels), as it is stored → (C, H, W) of the target's shape, upright. Gray is made three colors last."""
    small = upright(fitted(pixels, turned(target.size, orientation), target.resize), orientation)
    return small if len(small) == target.shape[0] else np.repeat(small, target.shape[0], axis=0)


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
