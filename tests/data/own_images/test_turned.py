"""A picture that its file says is turned comes upright, once, whatever the format and wherever the file says it."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from semisup.data.own_images.reading.decode import Target, decode
from tests.data.corpus import encoded, photo

UPRIGHT = photo(6, 40, 56)
SAME = Target(40, 56, "crop", "rgb")
STORED = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels.transpose(1, 0, 2)[::-1],
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels.transpose(1, 0, 2)[:, ::-1],
}
"""Orientation → what a file holds of an upright picture (H, W, C). By TIFF 6.0, section 8, the 0th row and column are
2: top, right. 3: bottom, right. 4: bottom, left. 5: left, top. 6: right, top. 7: right, bottom. 8: left, bottom."""


def exif(orientation: int) -> Image.Exif:
    notes = Image.Exif()
    notes[274] = orientation
    return notes


def with_chunk(png: bytes, kind: bytes, content: bytes, *, behind_the_pixels: bool = False) -> bytes:
    """A PNG with one more chunk, before its pixels or behind them."""
    at = png.index(b"IEND" if behind_the_pixels else b"IDAT") - 4
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return png[:at] + chunk + png[at:]


def as_imagemagick(content: bytes, kind: str) -> bytes:
    """EXIF data as a text chunk of a PNG: a name, a length, hexadecimal digits in lines of 72."""
    digits = content.hex()
    lines = "\n".join(digits[start : start + 72] for start in range(0, len(digits), 72))
    text = f"\n{kind}\n{len(content):8}\n{lines}\n".encode()
    return f"Raw profile type {kind}".encode() + b"\0\0" + zlib.compress(text)


def tiff(stored: np.ndarray, orientation: int, **options: object) -> bytes:
    return encoded(stored, "TIFF", tiffinfo={274: orientation}, **options)


def written(way: str, stored: np.ndarray, orientation: int) -> bytes:
    notes = exif(orientation).tobytes()
    match way.split():
        case ["PNG"] | ["JPEG"]:
            return encoded(stored, way, exif=notes, **({"quality": 95, "subsampling": 0} if way == "JPEG" else {}))
        case ["WEBP"]:
            return encoded(stored, way, exif=notes, lossless=True)
        case ["PNG", "late"]:
            return with_chunk(encoded(stored, "PNG"), b"eXIf", notes[6:], behind_the_pixels=True)
        case ["PNG", kind, *late]:
            return with_chunk(
                encoded(stored, "PNG"), b"zTXt", as_imagemagick(notes, kind), behind_the_pixels=bool(late)
            )
        case ["TIFF", *compression]:
            return tiff(stored, orientation, **({"compression": compression[0]} if compression else {}))
    raise AssertionError(way)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    "way",
    [
        *("PNG", "PNG late", "PNG exif", "PNG APP1", "PNG exif late", "JPEG", "WEBP"),
        *("TIFF", "TIFF tiff_lzw", "TIFF tiff_adobe_deflate"),
    ],
)
def test_a_picture_is_turned_upright_exactly_once_in_every_format(way, orientation):
    stored = np.ascontiguousarray(STORED[orientation](UPRIGHT))
    pixels = decode(written(way, stored, orientation), SAME).pixels.transpose(1, 2, 0)
    if way == "JPEG":
        assert np.abs(pixels.astype(int) - UPRIGHT).mean() < 2
    else:
        assert np.array_equal(pixels, UPRIGHT)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_a_deep_tiff_is_turned_once_as_well(orientation, compression, kind):
    gray = (UPRIGHT[..., :1].astype(kind) * 3).astype(kind)
    stored = np.ascontiguousarray(STORED[orientation](gray)[..., 0])
    content = tiff(stored, orientation, **({"compression": compression} if compression else {}))
    pixels = decode(content, Target(40, 56, "crop", "gray", (0, 765))).pixels
    assert np.array_equal(pixels[0], UPRIGHT[..., 0])


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_a_large_jpeg_is_the_same_picture_however_the_camera_was_held(orientation, resize):
    large = np.asarray(Image.fromarray(UPRIGHT).resize((560, 400), Image.Resampling.BICUBIC))
    target = Target(50, 36, resize, "rgb")
    upright, held = (
        decode(written("JPEG", np.ascontiguousarray(STORED[way](large)), way), target).pixels
        for way in (1, orientation)
    )
    assert np.abs(held.astype(int) - upright).mean() < 1


@pytest.mark.parametrize("words", [b"\nexif\n 4\nnothex!!\n", b"\nexif\n", b"\nexif\n       4\n00000000\n", b"\xff"])
def test_notes_that_cannot_be_read_turn_nothing(words):
    content = with_chunk(encoded(UPRIGHT, "PNG"), b"tEXt", b"Raw profile type exif\0" + words)
    assert np.array_equal(decode(content, SAME).pixels.transpose(1, 2, 0), UPRIGHT)


def test_the_ground_truth_is_pillows_too():
    """Pillow's own PNG reader and `exif_transpose`, a third opinion."""
    from PIL import ImageOps

    for orientation, store in STORED.items():
        content = encoded(np.ascontiguousarray(store(UPRIGHT)), "PNG", exif=exif(orientation))
        with Image.open(io.BytesIO(content)) as image:
            assert np.array_equal(np.asarray(ImageOps.exif_transpose(image)), UPRIGHT)
