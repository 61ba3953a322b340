"""DICOM files are shown as the standard says: rescaled, windowed, with 0 as white where the file says so."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, convert_color_space
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

from semisup.data.own_images import forget
from semisup.data.own_images.folders import tree
from semisup.data.own_images.folders.listing import list_images
from semisup.data.own_images.reading import decode as decoding
from semisup.data.own_images.reading import medical
from semisup.data.own_images.reading.decode import BrokenImageError, Target, decode, size_of
from semisup.data.own_images.survey import survey, write_config
from tests.data.corpus import photo, put

SIDE = 24
PLAIN = Target(SIDE, SIDE, "crop", "gray")
WINDOW = {"WindowCenter": 40, "WindowWidth": 400}
HOUNSFIELD = {"RescaleSlope": 1, "RescaleIntercept": -1024}


def values(bits: int = 12, seed: int = 0):
    """(SIDE, SIDE), over the whole of so many bits."""
    return np.random.default_rng(seed).integers(0, 2**bits, (SIDE, SIDE)).astype(np.uint16 if bits > 8 else np.uint8)


def dicom(pixels, **facts) -> bytes:
    """A file with these pixels, (H, W), (H, W, 3) or of several frames, and whatever else it says."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    frames = int(facts.get("NumberOfFrames", 1))
    dataset.Rows, dataset.Columns = pixels.shape[1:3] if frames > 1 else pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.shape[-1] == 3 else 1
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = facts.pop("BitsStored", dataset.BitsAllocated)
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PhotometricInterpretation = "RGB" if dataset.SamplesPerPixel == 3 else "MONOCHROME2"
    compressed = facts.pop("compressed", False)
    for name, value in facts.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if compressed:
        dataset.compress(RLELossless)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def gray(content: bytes, target: Target = PLAIN):
    return decode(content, target).pixels[0]


def shown_by_pydicom(content: bytes):
    """Its own functions, whose result spans the stored values or those that slope and intercept make of them."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    shown = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    low, high = (
        (-(2 ** (dataset.BitsStored - 1)), 2 ** (dataset.BitsStored - 1) - 1)
        if dataset.PixelRepresentation
        else (0, 2**dataset.BitsStored - 1)
    )
    low, high = low * slope + intercept, high * slope + intercept
    return np.rint(255 * (shown - low) / (high - low))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("rescaled", [{}, HOUNSFIELD, {"RescaleSlope": 0.5, "RescaleIntercept": -3.25}], ids=len)
def test_a_window_gives_the_shades_of_pydicoms_own_functions(function, rescaled):
    content = dicom(values(), BitsStored=12, VOILUTFunction=function, **(WINDOW | rescaled))
    assert np.abs(gray(content) - shown_by_pydicom(content)).max() <= 1  # of two that round


def test_a_linear_window_is_the_standards_formula():
    """PS3.3 C.11.2.1.2.1: ((x − (c − 0.5)) / (w − 1) + 0.5) of white."""
    stored = values()
    expected = (((stored - 1024.0) - 39.5) / 399 + 0.5).clip(0, 1) * 255
    assert np.array_equal(gray(dicom(stored, BitsStored=12, **WINDOW, **HOUNSFIELD)), np.rint(expected))


def test_signed_values_are_signed():
    content = dicom(values().astype(np.int16) - 2048, BitsStored=12, WindowCenter=0, WindowWidth=1000)
    assert np.abs(gray(content) - shown_by_pydicom(content)).max() <= 1


def test_of_several_windows_the_first_counts_and_one_that_is_not_there_is_none():
    stored = values()
    first = dicom(stored, BitsStored=12, WindowCenter=[40, 2000], WindowWidth=[400, 4000])
    assert np.array_equal(gray(first), gray(dicom(stored, BitsStored=12, **WINDOW)))
    assert decode(dicom(stored, BitsStored=12, WindowCenter=None, WindowWidth=None), PLAIN).extent is not None


def test_a_table_of_shades_is_looked_up():
    entry, stored = Dataset(), values(8)
    entry.LUTDescriptor, entry.LUTData = [256, 0, 16], (np.arange(256)[::-1] * 257).astype(np.uint16).tobytes()
    assert np.array_equal(gray(dicom(stored, VOILUTSequence=[entry])), 255 - stored)


def test_where_zero_is_white_shades_change_places():
    stored = values()
    for window in (WINDOW, {}):
        dark = gray(dicom(stored, BitsStored=12, **window))
        light = gray(dicom(stored, BitsStored=12, PhotometricInterpretation="MONOCHROME1", **window))
        assert np.array_equal(light, 255 - dark)


def test_without_a_window_values_are_those_of_a_deep_file_and_the_range_counts():
    stored = values()
    content = dicom(stored, BitsStored=12, **HOUNSFIELD)
    decoded = decode(content, Target(SIDE, SIDE, "crop", "gray", (-1024, 3071)))
    assert decoded.extent == (float(stored.min()) - 1024, float(stored.max()) - 1024)
    assert np.array_equal(decoded.pixels[0], np.rint(255 * (stored / 4095)))
    assert decode(dicom(stored, BitsStored=12, **WINDOW), Target(SIDE, SIDE, "crop", "gray", (0, 9))).extent is None


def test_eight_bits_and_colors_are_as_they_are_stored():
    colors, dark = photo(3, SIDE, SIDE), values(8)
    assert np.array_equal(gray(dicom(dark)), dark)
    rgb = Target(SIDE, SIDE, "crop", "rgb")
    assert np.array_equal(decode(dicom(colors), rgb).pixels, colors.transpose(2, 0, 1))
    ybr = convert_color_space(colors, "RGB", "YBR_FULL")
    back = decode(dicom(ybr, PhotometricInterpretation="YBR_FULL"), rgb).pixels.astype(int)
    assert np.abs(back - colors.transpose(2, 0, 1)).max() <= 2


@pytest.mark.parametrize("container", [np.uint8, np.uint16])
@pytest.mark.parametrize("bits", [1, 4, 7, 8])
def test_of_few_bits_the_largest_value_is_white_as_pydicom_has_it(bits, container):
    content = dicom(values(bits).astype(container), BitsStored=bits)
    assert np.array_equal(gray(content), shown_by_pydicom(content))
    assert set(np.unique(gray(content))) >= {0, 255}
    assert decode(content, PLAIN).extent is None


def test_colors_of_few_bits_are_as_bright_as_those_of_many():
    colors = photo(3, SIDE, SIDE)
    shown = decode(dicom(colors >> 4, BitsStored=4), Target(SIDE, SIDE, "crop", "rgb")).pixels
    assert np.array_equal(shown, (colors >> 4).transpose(2, 0, 1) * 17)


def test_run_length_encoding_is_read_and_of_several_frames_the_first_counts():
    stored = values()
    assert np.array_equal(
        gray(dicom(stored, BitsStored=12, compressed=True, **WINDOW)), gray(dicom(stored, BitsStored=12, **WINDOW))
    )
    frames = np.stack([stored, values(seed=1)])
    decoded = decode(dicom(frames, BitsStored=12, NumberOfFrames=2, **WINDOW), PLAIN)
    assert decoded.animated
    assert np.array_equal(decoded.pixels[0], gray(dicom(stored, BitsStored=12, **WINDOW)))


def test_what_files_of_many_frames_say_of_all_of_them_counts():
    """Slope and window in groups of attributes, where pydicom's own functions do not look."""
    values_of, shades_of, group = Dataset(), Dataset(), Dataset()
    values_of.RescaleSlope, values_of.RescaleIntercept = 1, -1024
    shades_of.WindowCenter, shades_of.WindowWidth = 40, 400
    group.PixelValueTransformationSequence, group.FrameVOILUTSequence = [values_of], [shades_of]
    stored = values()
    grouped = dicom(stored, BitsStored=12, SharedFunctionalGroupsSequence=[group])
    assert np.array_equal(gray(grouped), gray(dicom(stored, BitsStored=12, **WINDOW, **HOUNSFIELD)))


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"WindowCenter": 40, "WindowWidth": 0}, "damaged: its window has a width of 0"),
        ({"Rows": 2 * SIDE}, "damaged"),
        ({"Rows": 60_000, "Columns": 60_000}, "too large"),
        ({"SamplesPerPixel": 2}, "damaged"),
    ],
)
def test_what_cannot_be_shown_is_a_broken_file_with_its_reason(facts, word):
    with pytest.raises(BrokenImageError, match=word) as told:
        decode(dicom(values(), BitsStored=12, **facts), PLAIN)
    assert "\n" not in str(told.value)


def test_a_report_without_pixels_is_no_image():
    dataset = pydicom.dcmread(io.BytesIO(dicom(values())))
    del dataset.PixelData
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    with pytest.raises(BrokenImageError, match="it holds no pixels"):
        decode(buffer.getvalue(), PLAIN)


def test_the_size_is_that_of_the_header():
    assert size_of(dicom(values()[:, :9])) == (9, SIDE)


def test_init_finds_gray_images_and_the_range_of_those_without_a_window(tmp_path):
    for number in range(24):
        name = f"{['labeled/lung', 'labeled/heart', 'unlabeled'][number % 3]}/{number}.dcm"
        smooth = photo(number, 64, 64)[..., 0].astype(np.uint16) * 16
        put(tmp_path / "scans" / name, dicom(smooth, BitsStored=12, **HOUNSFIELD))
    forget()
    text = write_config(survey(tmp_path / "scans", None, tmp_path / "cache", lambda *_: None))
    assert "channels: gray" in text
    assert "range: [-1024, " in text


def test_without_the_extra_files_are_counted_with_the_line_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tree, "PERHAPS_IMAGES", tree.PERHAPS_IMAGES - medical.EXTENSIONS)
    for name in ("a/1.dcm", "b/2.dicom"):
        put(tmp_path / name, dicom(values()))
        put(tmp_path / name.replace("dcm", "png").replace("dicom", "png"), b"")
    (note,) = list_images(tmp_path).notes
    assert note == "passed over 2 DICOM files, which are read after pip install 'semisup[dicom]'"
    monkeypatch.setattr(decoding.medical, "INSTALLED", False)
    with pytest.raises(BrokenImageError, match=r"pip install 'semisup\[dicom\]'"):
        decode(dicom(values()), PLAIN)
