"""Images of any number of channels up to 16 are read, learned from, shown and predicted; what cannot be is refused."""

import base64
import io
import json
import sys

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from PIL import Image

from semisup.config import DataConfig, PipelineConfig
from semisup.config.files import validate
from semisup.data.own_images import forget, own_images
from semisup.data.own_images.reading import many
from semisup.data.own_images.reading.decode import BrokenImageError, Target, decode, size_of
from semisup.data.own_images.survey import survey, write_config
from semisup.delivery.image_files import ImageFile
from semisup.delivery.page import thumbnail
from semisup.delivery.predict import Predictor, predict
from semisup.errors import UserError
from tests.data.corpus import encoded, photo, put
from tests.mistakes import user_mistake

SIDE = 16


def layers(seed: int, channels: int, side: int = SIDE, kind=np.uint8):
    """(side, side, channels), smooth."""
    each = [photo(100 * seed + number, side, side)[..., 0] for number in range(channels)]
    return np.stack(each, axis=-1).astype(kind)


def tiff(pixels, **options) -> bytes:
    """(H, W, C), the samples of a pixel beside each other, unless the options say another layout."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **({"photometric": "minisblack", "planarconfig": "contig"} | options))
    return buffer.getvalue()


def target(channels, side=SIDE, range_=None):
    return Target(side, side, "crop", channels, range_)


@pytest.mark.parametrize("channels", [2, 4, 5, 8, 13, 16])
def test_every_layout_of_a_tiff_gives_the_very_pixels(channels):
    pixels = layers(1, channels)
    apart = np.moveaxis(pixels, -1, 0)
    for content in (
        tiff(pixels),
        tiff(pixels, compression="lzw"),
        tiff(pixels, compression="deflate", predictor=True),
        tiff(apart, planarconfig="separate"),
        tiff(apart, planarconfig=None, imagej=True, metadata={"axes": "CYX"}),
        tiff(apart, planarconfig=None, ome=True, metadata={"axes": "CYX"}),
        tiff(apart, planarconfig=None, ome=True, bigtiff=True, metadata={"axes": "CYX"}),
    ):
        assert np.array_equal(decode(content, target(channels)).pixels, apart)
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    assert np.array_equal(decode(buffer.getvalue(), target(channels)).pixels, apart)


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.uint32, np.float32, np.float64])
def test_one_range_makes_shades_of_values_of_every_kind(kind):
    values = (layers(2, 5).astype(np.float64) * 40 - (0 if np.dtype(kind).kind == "u" else 2000)).astype(kind)
    low, high = float(values.min()), float(values.max())
    decoded = decode(tiff(values), target(5, range_=(low, high)))
    expected = np.rint(255 * (np.moveaxis(values, -1, 0).astype(np.float64) - low) / (high - low))
    assert np.abs(decoded.pixels - expected).max() <= 1
    assert decoded.extent == pytest.approx((low, high))


def test_each_channel_is_made_smaller_as_a_gray_image_is():
    pixels = layers(3, 4, side=64)
    small = decode(tiff(pixels), target(4)).pixels
    for number in range(4):
        alone = decode(encoded(pixels[..., number], "PNG"), target("gray")).pixels
        assert np.array_equal(small[number], alone[0])


def test_what_has_other_channels_or_is_no_tiff_is_broken_with_its_reason():
    for content, word in (
        (tiff(layers(1, 5)), "it has 5 channels, and data.channels is 4"),
        (tiff(layers(1, 1)[..., 0]), "it has 1 channel, and data.channels is 4"),
        (encoded(photo(1), "PNG"), "it is no TIFF"),
        (tiff(np.moveaxis(layers(1, 4), -1, 0), planarconfig=None), "its 4 pages are no channels"),
        (tiff(layers(1, 4))[:300], "of other channels, or damaged"),
        (tiff(layers(1, 4).astype(np.complex64)), "its values are complex64"),
    ):
        with pytest.raises(BrokenImageError, match=word) as told:
            decode(content, target(4))
        assert "\n" not in str(told.value)


def test_a_picture_of_colors_or_ink_is_one_as_ever_and_many_channels_say_which_key_to_set(monkeypatch):
    colors = photo(1)
    pictures = {
        "RGB": tiff(colors, photometric="rgb"),
        "RGBA": encoded(Image.fromarray(colors).convert("RGBA"), "TIFF"),
        "CMYK": encoded(Image.fromarray(colors).convert("CMYK"), "TIFF"),
        "LA": encoded(Image.fromarray(colors).convert("LA"), "TIFF"),
        "pages in time": tiff(np.stack([colors[..., 0]] * 4), planarconfig=None),
        "PNG": encoded(colors, "PNG"),
    }
    assert {name: many.channels_of(content) for name, content in pictures.items()} == dict.fromkeys(pictures)
    with pytest.raises(BrokenImageError, match=r"of 8 channels: set data\.channels: 8$"):
        decode(tiff(layers(1, 8)), target("rgb"))
    monkeypatch.setattr(many, "INSTALLED", False)
    with pytest.raises(BrokenImageError, match=r"set data.channels: 8, after pip install 'semisup\[tiff\]'"):
        decode(tiff(layers(1, 8)), target("rgb"))


def test_whatever_bytes_an_array_has_they_are_a_broken_file_to_every_reader():
    buffer = io.BytesIO()
    np.save(buffer, layers(1, 4))
    whole = buffer.getvalue()
    for content in (
        *(whole[:end] for end in (6, 8, 10, 40, 130)),
        whole.replace(b"(16", b"(-1"),
        whole[:8] + b"\xff" * 99,
    ):
        assert many.channels_of(content) is None
        for channels in ("rgb", "gray", 4):
            with pytest.raises(BrokenImageError):
                decode(content, target(channels))


@pytest.mark.parametrize("axes", ["CYX", "TYX", "ZYX", "QYX", "ZCYX"])
def test_what_is_counted_as_channels_is_what_is_read_as_such(axes):
    """Of pages, those that are called channels."""
    pages = np.resize(layers(1, 5).ravel(), [{"Z": 2}.get(axis, 5) if axis not in "YX" else SIDE for axis in axes])
    notes = {} if axes == "QYX" else {"ome": True, "metadata": {"axes": axes}}
    content = tiff(pages, planarconfig=None, **notes)
    if axes == "CYX":
        assert many.channels_of(content) == 5
        assert np.array_equal(many.values_of(content, 5).pixels, np.moveaxis(pages, 0, -1))
        return
    assert many.channels_of(content) is None
    for channels in (2, 5, 10, None):
        with pytest.raises(ValueError, match="pages are no channels"):
            many.values_of(content, channels)
    assert np.array_equal(decode(content, target("gray")).pixels[0], pages.reshape(-1, SIDE, SIDE)[0])


@pytest.fixture
def scenes(tmp_path):
    """Three classes of images of five channels, of which one is the brightest."""
    root = tmp_path / "scenes"
    for number in range(60):
        label = number % 3
        pixels = layers(number, 5) // 4
        pixels[..., label] += 150
        place = f"unlabeled/{number}" if number % 4 == 3 else f"labeled/{'abc'[label]}/{number}"
        put(root / f"{place}.tif", tiff(pixels, compression="lzw"))
    return root


VIEWS = {"rotation": 10, "shift": 0.1, "scale": 0.1, "shear": 0.1, "elastic": 1.0, "cutout": 0.2, "paste": 0.2}


def test_a_whole_pipeline_learns_shows_and_predicts(scenes, stage_runner, tmp_path):
    forget()
    text = write_config(survey(scenes, None, tmp_path / "cache", lambda *_: None))
    assert "channels: 5\n" in text
    config = PipelineConfig.model_validate(
        {
            "data": {"name": "folder", "root": scenes, "size": SIDE, "channels": 5, "cache": tmp_path / "cache"},
            "split": {"labeled_per_class": "all", "validation_per_class": 3},
            "model": {"name": "small_cnn"},
            "baseline": {"epochs": 20, "batch_size": 16, "augment": VIEWS | {"horizontal_flip": True}},
            "joint": {"epochs": 2, "batch_size": 16, "augment": {"reflect": True, "shift": 0.1}},
            "tracking": {"system_metrics": False},
        }
    )
    folders = stage_runner(config, tmp_path / "run")
    assert json.loads((folders["split"] / "dataset.json").read_text())["image_shape"] == [5, SIDE, SIDE]
    (report,) = (tmp_path / "run").rglob("report.html")
    assert "5-channel" in report.read_text()
    predictor = Predictor.load(folders["baseline"], None, torch.device("cpu"))
    files = [ImageFile(path.name, str(path)) for path in sorted(scenes.rglob("labeled/*/*.tif"))]
    table = pd.concat(predict(predictor, files))
    truth = [path.parent.name for path in sorted(scenes.rglob("labeled/*/*.tif"))]
    assert (table["label"].to_numpy() == np.array(truth)).mean() > 0.8  # a channel says it


def test_a_page_shows_the_first_three_channels_as_colors():
    pixels = layers(1, 5)
    source, _ = thumbnail(tiff(pixels))
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
    assert np.array_equal(shown, pixels[..., :3])
    assert size_of(tiff(pixels[:9])) == (SIDE, 9)


@pytest.mark.parametrize("first", [False, True])
def test_arrays_of_many_channels_are_the_images_of_the_same_tiffs(first, tmp_path):
    images, labels = np.stack([layers(number, 4) for number in range(24)]), np.arange(24) % 2
    arrays = {"images": np.moveaxis(images, -1, 1) if first else images, "labels": labels}
    np.savez(tmp_path / "set.npz", **arrays, test_images=arrays["images"][:4], test_labels=labels[:4])
    forget()
    data = DataConfig(
        name="arrays", root=tmp_path / "set.npz", size=SIDE, channels=4, cache=tmp_path, duplicates="warn"
    )
    own = own_images(data)
    assert np.array_equal(own.pool.images.numpy(), np.moveaxis(images, -1, 1))
    forget()
    with pytest.raises(UserError, match=r"with 5 channels, as data\.channels=5 says"):
        own_images(data.model_copy(update={"channels": 5}))


def test_one_and_three_channels_are_gray_and_colors():
    assert [DataConfig(channels=count).channels for count in (1, 3, 4)] == ["gray", "rgb", 4]


@pytest.mark.parametrize(
    ("config", "rule"),
    [
        ({"data": {"name": "folder", "channels": 17}}, "data.channels"),
        ({"data": {"name": "folder", "channels": 0}}, "data.channels"),
        (
            {"data": {"name": "folder", "channels": 4}, "model": {"name": "efficientnet_lite0"}},
            "is pretrained on three",
        ),
        (
            {"data": {"name": "folder", "channels": 4}, "recipe": "graph", "model": {"name": "efficientnet_lite2"}},
            "is pretrained on three",
        ),
        (
            {"data": {"name": "folder", "channels": 4}, "baseline": {"augment": {"randaugment": 2}}},
            "baseline.augment.randaugment=2, but data.channels=4",
        ),
    ],
)
def test_what_many_channels_cannot_have_is_one_line(config, rule):
    with user_mistake() as told:
        validate(config, source="test")
    assert rule in str(told.value)


def test_without_the_extra_one_line_installs_it(scenes, monkeypatch):
    monkeypatch.setattr(many, "INSTALLED", False)
    forget()
    with pytest.raises(UserError, match=r"pip install 'semisup\[tiff\]'"):
        own_images(DataConfig(name="folder", root=scenes, channels=5))
    assert "tifffile" in sys.modules
