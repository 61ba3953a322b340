"""DICOM: medical images, in the shades in which they are to be seen. Pydicom reads them, an extra.

Stored values become physical ones (modality LUT, or slope and intercept), these become shades by the file's own window,
and of MONOCHROME1, where 0 is white, shades change places. Without a window, stored values of at most 8 bits are shades
already, from black to the largest that so many bits can say; others are values as other deep files have.
"""

import io
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from semisup.data.own_images.reading.deep import Deep, Range, eight_bits, extent_of

EXTENSIONS = frozenset({".dcm", ".dicom"})
INSTALLED = find_spec("pydicom") is not None
NEEDED = "DICOM files, which are read after pip install 'semisup[dicom]'"
MARK, MARK_AT = b"DICM", 128
LIGHT_IS_ZERO, GRAY = "MONOCHROME1", frozenset({"MONOCHROME1", "MONOCHROME2"})
OF_VALUES = ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence")
OF_SHADES = ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence")
OF_FRAMES = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
"""Where files of many frames say the same, for all of them or for each."""


class Header(NamedTuple):
    """What a file says of itself."""

    dataset: Any
    """Pydicom's."""
    width: int
    height: int
    mode: str
    """DICOM's word for the kind of pixels, such as "MONOCHROME2"."""
    frames: int


class Picture(NamedTuple):
    """The first frame."""

    image: Image.Image
    """"L" or "RGB"."""
    extent: Range | None
    """As in :func:`extent_of`; None: the file has a window, or at most 8 bits."""


def is_dicom(content: bytes) -> bool:
    """By the mark behind the preamble."""
    return content[MARK_AT : MARK_AT + len(MARK)] == MARK


def header_of(content: bytes) -> Header:
    """Of a file whose pixels are not decoded yet.

    Raises:
        ValueError: it holds no image.
        Exception: it is damaged, as pydicom says.
    """
    from pydicom import dcmread

    dataset = dcmread(io.BytesIO(content))
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise ValueError("it holds no pixels, but a report or a plan")
    mode = str(dataset.PhotometricInterpretation)
    frames = int(dataset.get("NumberOfFrames") or 1)
    return Header(dataset, int(dataset.Columns), int(dataset.Rows), mode, frames)


def picture_of(header: Header, range_: Range | None) -> Picture:
    """The first frame, in 8 bits. `range_` is what becomes black and white where the file has no window.

    Raises:
        Exception: it is damaged or compressed in a way that nothing installed reads, as pydicom says.
    Source: DICOM PS3.3, C.11.1 (modality LUT), C.11.2 (windows), C.7.6.3.1.2 (photometric interpretation).
    """
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    dataset = header.dataset
    stored: NDArray[Any] = pixel_array(dataset, index=0)  # of the YBR kinds as RGB
    if header.mode == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    if stored.ndim == 3:
        return _color(stored, header)
    facts = _facts(dataset)
    values = _physical(stored, facts)
    shades = _shades(values, facts)
    extent = None
    if shades is not None:
        image = Image.fromarray(np.rint(255 * shades).astype(np.uint8))
    elif values is stored and values.dtype.kind == "u" and dataset.BitsStored <= 8:
        image = Image.fromarray(_upper_eight(values, dataset.BitsStored))
    elif values.dtype == np.uint8:  # looked up in a table of such
        image = Image.fromarray(values)
    else:
        deep = Deep(header.mode, values, np.full(values.shape, 255, dtype=np.uint8))
        image, extent = eight_bits(deep, range_), extent_of(deep)
    return Picture(ImageOps.invert(image) if header.mode == LIGHT_IS_ZERO else image, extent)


def _color(stored: NDArray[Any], header: Header) -> Picture:
    """Colors of more than 8 bits keep their upper 8, as their number of stored bits says."""
    bits = int(header.dataset.BitsStored) if header.mode != "PALETTE COLOR" else 8 * stored.dtype.itemsize
    return Picture(Image.fromarray(_upper_eight(stored, bits)), None)


def _upper_eight(stored: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Whole numbers of so many bits, of any shape, in 8; of fewer the largest is white, too."""
    if bits >= 8:
        return (stored >> (bits - 8)).astype(np.uint8)
    white = 2**bits - 1
    shades: NDArray[np.uint8] = np.rint(stored.clip(0, white) * (255 / white)).astype(np.uint8)
    return shades


def _facts(dataset: Any) -> Any:
    """What is to be done with the values of the first frame, as one dataset, wherever it is said."""
    from pydicom import Dataset

    places = [dataset]
    for groups in OF_FRAMES:
        for group in list(dataset.get(groups) or ())[:1]:
            for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                places += list(group.get(name) or ())[:1]
    facts = Dataset()
    facts.file_meta = dataset.file_meta  # says the order of bytes, in tables
    for place in places:
        for name in (*OF_VALUES, *OF_SHADES):
            if place.get(name) is not None:
                facts[name] = place[name]
    return facts


def _physical(stored: NDArray[Any], facts: Any) -> NDArray[Any]:
    """Values (H, W) as they were measured, of whole numbers where slope and intercept are."""
    from pydicom.pixels.processing import apply_modality_lut

    if facts.get("ModalityLUTSequence"):
        looked_up: NDArray[Any] = apply_modality_lut(stored, facts)
        return looked_up
    slope, intercept = float(facts.get("RescaleSlope", 1)), float(facts.get("RescaleIntercept", 0))
    if (slope, intercept) == (1, 0):
        return stored if stored.dtype != np.int8 else stored.astype(np.int32)
    values = stored * slope + intercept
    return values.astype(np.int32 if slope.is_integer() and intercept.is_integer() else np.float32)


def _shades(values: NDArray[Any], facts: Any) -> NDArray[np.float64] | None:
    """From 0, black, to 1, white (H, W), by the file's LUT or the first of its windows; None: it has neither."""
    from pydicom.pixels.processing import apply_voi

    if facts.get("VOILUTSequence"):
        whole = np.rint(values).astype(np.int32)
        bits = int(facts.VOILUTSequence[0].LUTDescriptor[2])
        looked_up: NDArray[np.float64] = apply_voi(whole, facts) / (2**bits - 1)
        return looked_up
    center, width = _first(facts.get("WindowCenter")), _first(facts.get("WindowWidth"))
    if center is None or width is None:
        return None
    function = str(facts.get("VOILUTFunction") or "LINEAR").upper()
    if width <= 0 or (width < 1 and function == "LINEAR"):
        raise ValueError(f"its window has a width of {width:g}")
    measured = values.astype(np.float64)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (measured - center) / width))
    if function == "LINEAR":  # PS3.3 C.11.2.1.2.1: from the middle of the first value to that of the last one
        center, width = center - 0.5, width - 1
    if width == 0:
        return (measured > center).astype(np.float64)
    return ((measured - center) / width + 0.5).clip(0, 1)


def _first(told: Any) -> float | None:
    """Of one number, or of several: a file may offer windows to choose from."""
    if told is None or told == "":
        return None
    return float(told if isinstance(told, int | float | str) else next(iter(told)))
