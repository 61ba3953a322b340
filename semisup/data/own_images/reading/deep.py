"""Pixels of more than 8 bits: their values as the file holds them, and what becomes of them in 8 bits."""

import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

Arguments = tuple[Any, ...] | str | None
"""Of one of Pillow's decoders."""
Range = tuple[float, float]
"""(black, white)."""
GRAY_16 = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
DEEP_COLOR = re.compile(r"(RGB|RGBX|RGBA|R|G|B|A);16([BLN])")
GRAY_WITH_ALPHA = "LA;16B"
OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
WHOLE, FLOAT = 65535, 1
"""White of 16 bits, and of floats, where no range is given; black is 0."""
LEFT_OUT = 0.001
"""Share of an image's pixels at either end."""


class Deep(NamedTuple):
    """An image as its file holds it."""

    mode: str
    """Pillow's word for the kind of pixels, or "LA;16", "RGB;16", "RGBA;16"."""
    values: NDArray[np.generic]
    """(H, W) or (H, W, 3): uint16, int32 or float32."""
    opacity: NDArray[np.uint8]
    """(H, W), 255: solid."""


def open_deep(image: ImageFile, again: Callable[[], ImageFile]) -> Deep | None:
    """The pixels of an open file, upright where it is a TIFF; None, and nothing loaded, where they have at most 8 bits.

    Pillow has no colors of 16 bits, and reads their upper bytes. Told the other order of bytes, it reads the lower
    ones: for that the file is opened again.
    """
    if image.mode in GRAY_16 or image.mode in {"I", "F"}:
        image.load()
        values = np.asarray(image)
        values = values.astype(np.uint16) if image.mode in GRAY_16 else values
        return Deep(image.mode, values, _opacity(image, values))
    raw = {raw_mode(tile.args) for tile in image.tile}
    if raw == {GRAY_WITH_ALPHA}:
        gray = _loaded(image, {GRAY_WITH_ALPHA: "RGBA"})
        return Deep("LA;16", _joined(gray[..., 0], gray[..., 1]), gray[..., 2])
    if not raw or not all(DEEP_COLOR.fullmatch(mode) for mode in raw):
        return None
    with again() as other:
        low = _loaded(other, {mode: mode[:-1] + OTHER_BYTE[mode[-1]] for mode in raw})
    high = _loaded(image, {})
    values = _joined(high, low)[..., :3]
    return Deep(f"{image.mode};16", values, high[..., 3] if high.shape[2] == 4 else _opacity(image, values))


def extent_of(deep: Deep) -> Range | None:
    """(darkest, brightest) value that can be seen; None: there is none that is finite.

    LEFT_OUT at either end does not count where the rest would be squeezed into less than a quarter: a hot pixel is no
    brightness.
    """
    seen = deep.values[deep.opacity > 0]
    seen = seen[np.isfinite(seen)].astype(np.float64)
    if not seen.size:
        return None
    low, high = float(seen.min()), float(seen.max())
    most = float(np.quantile(seen, LEFT_OUT, method="lower")), float(np.quantile(seen, 1 - LEFT_OUT, method="higher"))
    return most if 0 < most[1] - most[0] < (high - low) / 4 else (low, high)


def eight_bits(deep: Deep, range_: Range | None) -> Image.Image:
    """As "L" or "RGB", on white.

    A range becomes 0..255, linearly. Without one, 16 bits keep their upper 8, and floats are taken for 0..1.
    """
    picture = Image.fromarray(shades_of(deep.values, range_))
    if (deep.opacity == 255).all():
        return picture
    layer = picture.convert("RGBA")
    layer.putalpha(Image.fromarray(deep.opacity))
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def shades_of(values: NDArray[np.generic], range_: Range | None) -> NDArray[np.uint8]:
    """Values of any shape in 8 bits, as :func:`eight_bits` has them."""
    if range_ is not None:
        black, white = range_
        scaled = (values.astype(np.float64) - black) / (white - black)
        shades = np.rint(np.nan_to_num(scaled).clip(0, 1) * 255)
    elif values.dtype.kind == "f":
        shades = np.rint(np.nan_to_num(values.astype(np.float64)).clip(0, FLOAT) * 255)
    else:
        shades = values.astype(np.int64).clip(0, WHOLE) >> 8
    pixels: NDArray[np.uint8] = shades.astype(np.uint8)
    return pixels


def _loaded(image: ImageFile, raw_modes: dict[str, str]) -> NDArray[np.uint8]:
    """(H, W, C), decoded as if the file held other kinds of pixels than it says."""
    image.tile = [tile._replace(args=_in_raw_mode(tile.args, raw_modes)) for tile in image.tile]
    image.load()
    return np.asarray(image)


def raw_mode(arguments: Arguments) -> str:
    """Pillow's word for how a decoder's pixels lie in the file."""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _in_raw_mode(arguments: Arguments, raw_modes: dict[str, str]) -> Arguments:
    now = raw_mode(arguments)
    wanted = raw_modes.get(now, now)
    return (wanted, *arguments[1:]) if isinstance(arguments, tuple) else wanted


def _joined(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return (high.astype(np.uint16) << 8 | low).astype(np.uint16)


def _opacity(image: ImageFile, values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """(H, W): 0 where a PNG's pixel has the one value that is said to be transparent."""
    clear = image.info.get("transparency")
    same = np.zeros(values.shape[:2], dtype=bool) if clear is None else values == np.asarray(clear)
    return np.where(same.all(axis=2) if same.ndim == 3 else same, 0, 255).astype(np.uint8)
