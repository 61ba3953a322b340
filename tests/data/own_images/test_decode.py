"""Files of every kind become upright uint8 of one size; whatever else comes is refused with a reason."""

import hashlib
import io
import json
import struct
from dataclasses import asdict

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps

from semisup.config import DataConfig, PipelineConfig
from semisup.data.own_images.decoded import pack
from semisup.data.own_images.reading import decode as decode_module
from semisup.data.own_images.reading.decode import DECODERS, BrokenImageError, Target, decode
from semisup.data.own_images.reading.resize import eighths_for
from semisup.lineage.fingerprints import effective_config
from semisup.pipeline.specs import SPECS
from tests.data.corpus import broken_files, encoded, photo

SAME = Target(48, 48, "crop", "rgb")
GRAY = Target(48, 48, "crop", "gray")


def pixels_of(content: bytes, target: Target = SAME) -> np.ndarray:
    """(H, W, C), as PIL has it."""
    return decode(content, target).pixels.transpose(1, 2, 0)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_formats_without_losses_come_back_bit_for_bit(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(pixels_of(encoded(photo(3), kind, **options)), photo(3))


def made(kind: str, image: Image.Image, **options: object) -> bytes:
    """An image file; HEIC by libheif itself, which Pillow is not told of."""
    if kind != "HEIF":
        return encoded(image, kind, **options)
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "HEIF"])
def test_newer_formats_keep_the_picture(kind):
    """All of them lose a little; an independent picture differs by 60 and more."""
    difference = np.abs(pixels_of(made(kind, Image.fromarray(photo(3)))).astype(int) - photo(3)).mean()
    assert difference < 10 < np.abs(photo(4).astype(int) - photo(3)).mean()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_photographs_of_phones_are_upright(kind, orientation):
    """However the camera was held, as EXIF says it, and as Pillow itself turns a picture of the same pixels."""
    exif, image = Image.Exif(), Image.fromarray(photo(3, 40, 60))
    exif[274] = orientation
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(image, "PNG", exif=exif))))
    found = pixels_of(made(kind, image, exif=exif.tobytes()), Target(upright.height, upright.width, "crop", "rgb"))
    assert np.abs(found.astype(int) - np.asarray(upright)).mean() < 10


def test_a_jpeg_has_the_pixels_that_pillow_reads():
    content = encoded(photo(3), "JPEG")
    with Image.open(io.BytesIO(content)) as image:
        assert np.array_equal(pixels_of(content), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "size", [(48, 48), (1, 1), (33, 70), (250, 9), (190, 190), (191, 400), (192, 192), (431, 610), (901, 703)]
)
@pytest.mark.parametrize("target", [SAME, GRAY, Target(16, 64, "pad", "rgb")])
def test_libjpeg_turbo_itself_and_pillow_make_the_same_of_a_jpeg(mode, size, target, monkeypatch):
    pytest.importorskip("simplejpeg")
    image = Image.fromarray(photo(7, *size)).convert(mode)
    exifs = [Image.Exif(), Image.Exif()]
    for exif, orientation in zip(exifs, (3, 6), strict=True):
        exif[274] = orientation
    ways = [
        {"quality": quality, "subsampling": subsampling, "progressive": progressive}
        for quality in (20, 95)
        for subsampling in (0, 1, 2)
        for progressive in (False, True)
    ]
    contents = [encoded(image, "JPEG", **way) for way in (*ways, *({"exif": exif} for exif in exifs))]
    quick = [decode(content, target) for content in contents]
    monkeypatch.setattr(decode_module, "simplejpeg", None)
    for content, ours in zip(contents, quick, strict=True):
        theirs = decode(content, target)
        assert np.array_equal(ours.pixels, theirs.pixels)
        assert ours[1:] == theirs[1:]


def with_a_note(marker: int, words: bytes) -> bytes:
    """A sound JPEG file with one more segment behind its first two bytes."""
    content = encoded(photo(3), "JPEG")
    return content[:2] + bytes((0xFF, marker)) + struct.pack(">H", 2 + len(words)) + words + content[2:]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(encoded(photo(3), "JPEG"), id="sound"),
        pytest.param(with_a_note(0xE0, b"JFIF\0\1"), id="a version cut short"),
        pytest.param(with_a_note(0xE2, b"ICC_PROFILE\0"), id="a profile without number"),
    ],
)
def test_a_small_jpeg_is_not_left_to_pillow_whatever_its_notes_are(content, monkeypatch):
    pytest.importorskip("simplejpeg")
    monkeypatch.setattr(decode_module, "OPENERS", {})
    assert np.array_equal(pixels_of(content), pixels_of(encoded(photo(3), "JPEG")))


@pytest.mark.parametrize("error", [ValueError, MemoryError, RuntimeError])
@pytest.mark.parametrize("function", ["decode_jpeg_header", "decode_jpeg"])
def test_where_libjpeg_turbo_gives_up_pillow_has_the_last_word(function, error, monkeypatch):
    simplejpeg = pytest.importorskip("simplejpeg")
    content = encoded(photo(3), "JPEG")
    expected = pixels_of(content)

    def giving_up(*_):
        raise error

    monkeypatch.setattr(simplejpeg, function, giving_up)
    assert np.array_equal(pixels_of(content), expected)
    with pytest.raises(BrokenImageError):
        decode(content[: len(content) // 4], SAME)


def texture(seed: int, side: int) -> Image.Image:
    """As rough as photographs are: amplitudes fall with the frequency (Field 1987), and most of it is brightness."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    spectrum = np.exp(2j * np.pi * rng.random((4, *frequency.shape))) / np.maximum(frequency, 1 / side)
    brightness, *colors = (wave / wave.std() for wave in np.fft.irfft2(spectrum, (side, side)))
    pixels = 128 + 45 * brightness[..., None] + 15 * np.stack(colors, axis=2)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("by_pillow", [False, True])
@pytest.mark.parametrize("side", [96, 192, 384, 768])  # the whole of it, a half, a quarter, an eighth
def test_a_large_jpeg_is_as_near_to_the_whole_one_resized_as_a_bilinear_filter_is_to_the_bicubic_one(
    side, by_pillow, monkeypatch
):
    """Mean absolute difference, at sides where as few pixels as ever are averaged; Pillow makes the whole one small."""
    if by_pillow:
        monkeypatch.setattr(decode_module, "simplejpeg", None)
    content = encoded(texture(side, side), "JPEG", quality=90)
    whole = Image.open(io.BytesIO(content))
    whole.load()
    bicubic, bilinear = (
        np.asarray(whole.resize((64, 64), way), dtype=int)
        for way in (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR)
    )
    ours = pixels_of(content, Target(64, 64, "crop", "rgb")).astype(int)
    assert np.abs(ours - bicubic).mean() <= np.abs(bilinear - bicubic).mean()


@pytest.mark.parametrize("resize", ["crop", "pad"])
@pytest.mark.parametrize(
    "size", [(1, 1), (7, 900), (8, 8), (47, 48), (144, 144), (300, 200), (2464, 1632), (4032, 3024)]
)
@pytest.mark.parametrize("wanted", [(1, 1), (48, 48), (16, 64), (224, 224)])
def test_a_jpeg_is_decoded_at_the_smallest_fraction_that_leaves_one_and_a_half_pixels_for_each(wanted, size, resize):
    width, height = size
    eighths = eighths_for(width, height, wanted, resize)
    ratios = width / wanted[1], height / wanted[0]
    spare = (min if resize == "crop" else max)(ratios) / 8
    assert eighths in {1, 2, 4, 8}
    assert eighths == 8 or spare * eighths >= 1.5
    assert eighths == 1 or min(size) < 8 or spare * eighths / 2 < 1.5


@pytest.mark.parametrize("size", [(61, 90), (90, 61), (64, 64), (10, 7), (30, 64)])
@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_resizing_is_pillows_antialiased_bicubic_filter_but_for_rounding(size, resize):
    image = texture(1, 96).crop((0, 0, *size))
    found = pixels_of(encoded(image, "PNG"), Target(32, 32, resize, "rgb")).astype(int)
    if resize == "pad":
        scale = max(size) / 32
        small = image.resize((round(size[0] / scale), round(size[1] / scale)), Image.Resampling.BICUBIC)
        expected = Image.new("RGB", (32, 32))
        expected.paste(small, ((32 - small.width) // 2, (32 - small.height) // 2))
    else:
        side = min(size)
        left, top = (size[0] - side) // 2, (size[1] - side) // 2
        expected = image.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.BICUBIC)
    difference = np.abs(found - np.asarray(expected))
    assert difference.mean() < 0.2
    assert difference.max() <= 2


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("wanted", [16, 48, 100, 300])  # an eighth, a quarter, a half, and the whole of it
def test_a_fraction_hides_no_truncated_file(wanted, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    content = encoded(texture(2, 320), "JPEG", exif=exif)
    target = Target(wanted, wanted, "crop", "rgb")
    assert pixels_of(content, target).shape == (wanted, wanted, 3)
    for share in (0.2, 0.5, 0.9, 0.999):
        with pytest.raises(BrokenImageError, match=r"^damaged: image file is truncated"):
            decode(content[: int(share * len(content))], target)


def test_exif_is_found_behind_notes_that_look_like_the_pictures_start():
    exif = Image.Exif()
    exif[274] = 6
    content = encoded(photo(3, 40, 60), "JPEG", exif=exif)
    note = b"\xff\xda" * 20
    longer = content[:2] + b"\xff\xe5" + struct.pack(">H", 2 + len(note)) + note + content[2:]
    target = Target(60, 40, "crop", "rgb")
    assert np.array_equal(pixels_of(longer, target), pixels_of(content, target))


def test_gray_is_one_channel_and_is_pillows_luma():
    image = Image.fromarray(photo(4))
    content = encoded(image, "PNG")
    assert decode(content, GRAY).pixels.shape == (1, 48, 48)
    assert np.array_equal(pixels_of(content, GRAY)[..., 0], np.asarray(image.convert("L")))


def test_sixteen_bits_keep_their_upper_eight():
    values = np.random.default_rng(0).integers(0, 2**16, (48, 48), dtype=np.uint16)
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(pixels_of(encoded(Image.fromarray(values), kind), GRAY)[..., 0], values >> 8)


def test_floats_are_taken_for_zero_to_one():
    values = np.linspace(-0.5, 1.5, 48 * 48, dtype=np.float32).reshape(48, 48)
    expected = np.rint(values.clip(0, 1).astype(np.float64) * 255)
    assert np.array_equal(pixels_of(encoded(Image.fromarray(values), "TIFF"), GRAY)[..., 0], expected)


def test_transparency_lies_on_white():
    clear = Image.new("RGBA", (48, 48), (10, 20, 30, 0))
    assert (pixels_of(encoded(clear, "PNG")) == 255).all()
    opaque = Image.fromarray(photo(5)).convert("RGBA")
    assert np.array_equal(pixels_of(encoded(opaque, "PNG")), photo(5))


def test_a_palette_is_looked_up():
    image = Image.fromarray(photo(5)).quantize(64)
    assert np.array_equal(pixels_of(encoded(image, "PNG")), np.asarray(image.convert("RGB")))


def test_cmyk_becomes_rgb():
    image = Image.new("CMYK", (48, 48), (0, 255, 255, 0))  # magenta and yellow ink: red
    red = pixels_of(encoded(image, "JPEG", quality=95)).reshape(-1, 3).mean(axis=0)
    assert red[0] > 180
    assert red[1:].max() < 80


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_a_picture_as_pillow_turns_it(orientation):
    image = Image.fromarray(photo(6))
    exif = Image.Exif()
    exif[274] = orientation
    content = encoded(image, "PNG", exif=exif)
    with Image.open(io.BytesIO(content)) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    assert np.array_equal(pixels_of(content), expected)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animated_file_the_first_frame_counts_and_it_is_said(kind):
    red, blue = (Image.new("RGB", (48, 48), color) for color in ((255, 0, 0), (0, 0, 255)))
    decoded = decode(encoded(red, kind, save_all=True, append_images=[blue]), SAME)
    assert decoded.animated
    assert (decoded.pixels[0] > 200).all()
    assert (decoded.pixels[2] < 50).all()
    assert not decode(encoded(red, kind), SAME).animated


def test_crop_keeps_the_middle_of_the_longer_side():
    stripes = np.zeros((48, 144, 3), dtype=np.uint8)
    stripes[:, 48:96] = 255
    assert (pixels_of(encoded(stripes, "PNG")) == 255).all()
    assert (pixels_of(encoded(stripes.transpose(1, 0, 2), "PNG")) == 255).all()


def test_pad_keeps_all_of_the_image_on_black():
    pixels = pixels_of(encoded(np.full((24, 48, 3), 255, dtype=np.uint8), "PNG"), Target(48, 48, "pad", "rgb"))
    assert (pixels[12:36] == 255).all()
    assert (pixels[:12] == 0).all()
    assert (pixels[36:] == 0).all()


@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_one_pixel_is_an_image(resize):
    dot = np.full((1, 1, 3), 77, dtype=np.uint8)
    assert (decode(encoded(dot, "PNG"), Target(8, 8, resize, "rgb")).pixels == 77).all()


@pytest.mark.parametrize("name", broken_files())
def test_what_is_broken_is_refused_with_a_reason(name):
    content, reason = broken_files()[name]
    with pytest.raises(BrokenImageError, match=reason):
        decode(content, SAME)


def test_grey_is_gray_and_what_was_decoded_and_trained_before_stays_in_use():
    data = DataConfig.model_validate({"channels": "grey"})  # as configs of before say it
    assert data.channels == "gray"
    assert effective_config(PipelineConfig(data=data), SPECS["split"])["data.channels"] == "grey"
    settings = asdict(GRAY) | {"channels": "grey", "decoder": pack.DECODER, "by": DECODERS}
    name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    assert pack.settings_key(GRAY) == name
