"""Folders of images as people have them: every kind that works, and every way in which a file can be broken."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RED, GREEN, BLUE = (200, 30, 30), (30, 200, 30), (30, 30, 200)


def photo(seed: int, height: int = 48, width: int = 48) -> NDArray[np.uint8]:
    """A picture (H, W, 3) unlike any other seed's: smooth like a photograph, so that formats with losses keep it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(image: Image.Image | NDArray[np.uint8], kind: str, **options: object) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def put(file: Path, content: bytes) -> Path:
    """A file with its folders."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def put_photos(folder: Path, seeds: range, kind: str = "PNG", side: int = 48) -> None:
    """One photo for each seed."""
    for seed in seeds:
        put(folder / f"{seed:04d}.{kind.lower()}", encoded(photo(seed, side, side), kind))


def three_colors(
    folder: Path, per_class: int = 12, test_per_class: int = 0, unlabeled: int = 20, *, seed: int = 1
) -> Path:
    """Noisy pictures of three colors: `labeled/<color>`, perhaps `test/<color>`, `unlabeled/` in nested folders."""
    rng = np.random.default_rng(seed)

    def noisy(color: tuple[int, int, int]) -> bytes:
        pixels = np.asarray(color) + rng.normal(0, 40, (20, 24, 3))
        return encoded(pixels.clip(0, 255).astype(np.uint8), "PNG")

    for name, color in {"red": RED, "green": GREEN, "blue": BLUE}.items():
        for number in range(per_class):
            put(folder / "labeled" / name / f"{number}.png", noisy(color))
        for number in range(test_per_class):
            put(folder / "test" / name / f"{number}.png", noisy(color))
        for number in range(unlabeled):
            put(folder / "unlabeled" / f"day {number % 3}" / f"{name} {number}.png", noisy(color))
    return folder


def oversized_header(width: int = 20_000, height: int = 20_000) -> bytes:
    """A PNG of a few bytes whose header announces so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def broken_files() -> dict[str, tuple[bytes, str]]:
    """File name → (its content, a word of the reason for which it is refused)."""
    jpeg, png = encoded(photo(1), "JPEG"), encoded(photo(1), "PNG")
    return {
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "damaged"),
        "only a header.jpg": (jpeg[:20], "damaged"),
        "truncated.png": (png[: len(png) // 2], "damaged"),
        "zero bytes.png": (b"", "empty"),
        "text.png": (b"these are words\n" * 9, "no image"),
        "page.jpg": (b"<!DOCTYPE html><html></html>", "no image"),
        "bomb.png": (oversized_header(), "too large"),
        "noise.gif": (b"GIF89a" + bytes(range(50)), "damaged"),
        "noise.tif": (b"II*\x00" + bytes(range(50)), "damaged"),
        "noise.webp": (b"RIFF\x40\x00\x00\x00WEBPVP8 " + bytes(50), "damaged"),
        "noise.bmp": (b"BM" + bytes(20), "damaged"),
    }
