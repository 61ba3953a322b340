"""Files of more than 8 bits: by one range for the data set, black to white; transparent where the file says so."""

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from semisup.data.own_images.reading.decode import Target, decode
from tests.data.corpus import encoded, photo

GRAY, COLOR = Target(48, 48, "crop", "gray"), Target(48, 48, "crop", "rgb")
SMALL = photo(3)
"""uint8 (48, 48, 3)."""


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(values: np.ndarray, bits: int, kind: int, clear: tuple[int, ...] = ()) -> bytes:
    """A PNG by hand of (H, W, C): kind 0 is gray, 2 color, 4 gray with alpha, 6 color with alpha."""
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in values]
    else:
        rows = [np.packbits((row[:, :1] >> np.arange(bits)[::-1] & 1).astype(np.uint8)).tobytes() for row in values]
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, kind, 0, 0, 0)
    transparent = chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear)) if clear else b""
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + transparent + pixels + chunk(b"IEND", b"")


def color_tiff(values: np.ndarray, order: str) -> bytes:
    """An uncompressed TIFF by hand of uint16 (H, W, 3) or (H, W, 4), the fourth of which is alpha."""
    height, width, channels = values.shape
    pixels = values.astype(f"{order}u2").tobytes()
    tags = [(256, width), (257, height), (258, None), (259, 1), (262, 2), (273, None), (277, channels), (278, height)]
    tags += [(279, len(pixels)), *([(338, 2)] if channels == 4 else [])]
    behind = 8 + 2 + 12 * len(tags) + 4
    places = {258: (3, channels, behind), 273: (4, 1, behind + 2 * channels)}
    content = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    for tag, value in tags:
        kind, count, word = places.get(tag, (4, 1, value))
        content += struct.pack(f"{order}HHII", tag, kind, count, word)
    return content + struct.pack(f"{order}I{channels}H", 0, *[16] * channels) + pixels


def within(target: Target, black: float, white: float) -> Target:
    return replace(target, range=(black, white))


def tiff_by_pillow(values: np.ndarray) -> bytes:
    return encoded(Image.fromarray(values), "TIFF")


DEEP_FILES = {
    "16-bit gray PNG": (lambda v: png(v[..., :1], 16, 0), GRAY),
    "16-bit gray PNG with alpha": (lambda v: png(np.dstack([v[..., 0], np.full_like(v[..., 0], 65535)]), 16, 4), GRAY),
    "16-bit color PNG": (lambda v: png(v, 16, 2), COLOR),
    "16-bit color PNG with alpha": (lambda v: png(np.dstack([v, np.full_like(v[..., 0], 65535)]), 16, 6), COLOR),
    "16-bit TIFF": (lambda v: tiff_by_pillow(v[..., 0]), GRAY),
    "float TIFF": (lambda v: tiff_by_pillow(v[..., 0].astype(np.float32)), GRAY),
    "32-bit TIFF": (lambda v: tiff_by_pillow(v[..., 0].astype(np.int32)), GRAY),
    "16-bit color TIFF": (lambda v: color_tiff(v, "<"), COLOR),
    "16-bit color TIFF of a big-endian machine": (lambda v: color_tiff(v, ">"), COLOR),
    "16-bit color TIFF with alpha": (lambda v: color_tiff(np.dstack([v, np.full_like(v[..., 0], 65535)]), "<"), COLOR),
}


@pytest.mark.parametrize(("write", "target"), DEEP_FILES.values(), ids=DEEP_FILES)
@pytest.mark.parametrize(("black", "white"), [(0, 255), (0, 4095), (100, 355), (0, 65535)])
def test_a_deep_file_has_the_pixels_of_its_values_stretched_from_black_to_white(write, target, black, white):
    values = np.rint(black + SMALL / 255 * (white - black)).astype(np.uint16)
    expected = SMALL if target is COLOR else SMALL[..., :1]
    decoded = decode(write(values), within(target, black, white))
    assert np.array_equal(decoded.pixels.transpose(1, 2, 0), expected)
    seen = values if target is COLOR else values[..., :1]
    assert decoded.extent == (seen.min(), seen.max())


@pytest.mark.parametrize(("write", "target"), DEEP_FILES.values(), ids=DEEP_FILES)
def test_values_beyond_the_range_are_black_or_white_and_none_wraps_round(write, target):
    values = np.full((48, 48, 3), 50, dtype=np.uint16)
    values[:24] = 5000
    pixels = decode(write(values), within(target, 100, 1000)).pixels
    assert (pixels[:, :24] == 255).all()
    assert (pixels[:, 24:] == 0).all()


def test_floats_that_are_no_numbers_are_black_and_no_part_of_the_extent():
    values = SMALL[..., 0].astype(np.float32)
    values[:2] = [[np.nan], [-np.inf]]
    decoded = decode(tiff_by_pillow(values), within(GRAY, 0, 255))
    assert (decoded.pixels[0, :2] == 0).all()
    assert decoded.extent == (values[2:].min(), values[2:].max())
    assert decode(tiff_by_pillow(np.full((48, 48), np.nan, dtype=np.float32)), GRAY).extent is None


def test_a_hot_pixel_is_no_brightness_but_a_few_stars_on_black_are():
    twelve_bits = (SMALL[..., 0].astype(np.uint16) + 1) * 15
    hot = twelve_bits.copy()
    hot[7, 7] = 65535
    ordered = np.sort(hot, axis=None)
    extent = decode(tiff_by_pillow(hot), GRAY).extent
    assert extent == (ordered[2], ordered[-3])  # 0.1 % of 2,304 pixels are 2
    stars = np.zeros((48, 48), dtype=np.uint16)
    stars[3, 4] = 900
    assert decode(tiff_by_pillow(stars), GRAY).extent == (0, 900)


def test_files_of_8_bits_have_no_extent_and_no_range_changes_them():
    for kind in ("PNG", "TIFF", "BMP"):
        decoded = decode(encoded(SMALL, kind), within(COLOR, 3, 9))
        assert decoded.extent is None
        assert np.array_equal(decoded.pixels.transpose(1, 2, 0), SMALL)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_value_of_a_gray_png_lies_on_white_and_no_other_does(bits):
    most = 2**bits - 1
    values = np.random.default_rng(0).integers(0, most + 1, (48, 48, 1)).astype(np.uint16)
    values[0, :2, 0] = 0, most
    for clear in {0, 1, most // 2, most}:
        shades = values >> 8 if bits == 16 else values * 255 // most
        expected = np.where(values == clear, 255, shades)
        pixels = decode(png(values, bits, 0, (clear,)), GRAY).pixels
        assert np.array_equal(pixels.transpose(1, 2, 0), expected), clear


def test_the_transparent_color_of_a_16_bit_png_is_told_by_all_of_its_bits():
    values = np.random.default_rng(0).integers(0, 65536, (48, 48, 3)).astype(np.uint16)
    clear = (0x1234, 0x5678, 0x9ABC)
    values[0, 0], values[0, 1] = clear, (0x1234, 0x5678, 0x9ABD)
    pixels = decode(png(values, 16, 2, clear), COLOR).pixels.transpose(1, 2, 0)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(pixels[0, 1:], values[0, 1:] >> 8)
    assert np.array_equal(pixels[1:], values[1:] >> 8)


def test_alpha_of_16_bits_lies_on_white():
    values = np.zeros((48, 48, 4), dtype=np.uint16)
    values[..., 3] = np.arange(48)[:, None] * 1000
    alpha = (values[..., 3] >> 8).astype(float) / 255
    for content in (png(values, 16, 6), color_tiff(values, "<")):
        pixels = decode(content, COLOR).pixels
        assert np.abs(pixels - 255 * (1 - alpha)).max() <= 1


@pytest.mark.parametrize("size", [(48, 48), (1, 48), (5, 7)])
def test_flat_is_what_has_one_color(size):
    target = Target(*size, "crop", "rgb")
    assert decode(encoded(np.full((9, 9, 3), (1, 2, 3), dtype=np.uint8), "PNG"), target).flat
    for at in [(0, 1), (1, 0), (47, 47)]:
        pixels = np.full((48, 48, 3), 90, dtype=np.uint8)
        pixels[at] = 200
        assert not decode(encoded(pixels, "PNG"), COLOR).flat
