"""Folders of deep files: `init` finds their range, and nothing becomes flat or is cut off in silence."""

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from semisup.config import DataConfig
from semisup.data.own_images import forget, own_images, survey, write_config
from semisup.data.own_images.reading.depth import Depth, depth_warnings
from tests.data.corpus import encoded, photo, put


@pytest.fixture
def open_folder(tmp_path):
    """The folder as a new process opens it with more keys of `data`."""

    def opened(**keys):
        forget()
        values = {"name": "folder", "root": tmp_path / "photos", "size": 24, "cache": tmp_path / "cache"} | keys
        return own_images(DataConfig.model_validate({"channels": "gray"} | values))

    yield opened
    forget()


def put_deep(root, top: int, kind: type, each: int = 10) -> dict[str, np.ndarray]:
    """Class folders of TIFF files with values 0..top; path → the picture that they were made of, uint8 (H, W)."""
    pictures = {}
    for number in range(2 * each):
        path = f"{'ab'[number % 2]}/{number}.tif"
        picture = photo(number, 24, 24)[..., 0].copy()
        picture[0, :2] = 0, 255
        values = np.rint(picture / 255 * top).astype(kind)
        put(root / path, encoded(Image.fromarray(values), "TIFF"))
        pictures[path] = picture
    return pictures


def pixels_by_path(own) -> dict[str, np.ndarray]:
    return {
        name.rpartition("@")[0]: image[0].numpy()
        for images in (own.pool, own.test)
        for name, image in zip(images.ids, images.images, strict=True)
    }


@pytest.mark.parametrize(("top", "kind"), [(199, np.uint16), (4095, np.uint16), (65535, np.uint16), (255, np.float32)])
def test_init_finds_the_range_of_the_files_writes_it_and_all_shades_are_kept(tmp_path, top, kind):
    root = tmp_path / "photos"
    pictures = put_deep(root, top, kind)
    found = survey(root, None, tmp_path / "cache", lambda done, total, note: None)
    data = yaml.safe_load(write_config(found))["data"]
    assert data["range"] == [0, top]
    assert ("Of more than 8 bits", f"20, with values [0, {top}] (data.range)") in found.facts()
    assert not [line for line in found.warnings() if "flat" in line or "data.range" in line]
    forget()
    for path, pixels in pixels_by_path(own_images(DataConfig.model_validate(data))).items():
        least_step = 255 / min(top, 255) / 2 + 0.5
        assert np.abs(pixels.astype(int) - pictures[path]).max() <= least_step
    forget()


def test_init_of_files_of_8_bits_says_nothing_of_a_range(tmp_path):
    for number in range(20):
        put(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png", encoded(photo(number), "PNG"))
    found = survey(tmp_path / "photos", None, tmp_path / "cache", lambda done, total, note: None)
    assert "range" not in yaml.safe_load(write_config(found))["data"]
    forget()


@pytest.mark.parametrize(("top", "kind", "flat"), [(199, np.uint16, 20), (4095, np.uint16, 0), (255, np.float32, 0)])
def test_without_a_range_a_run_says_what_it_took_and_what_would_suit(tmp_path, open_folder, top, kind, flat):
    put_deep(tmp_path / "photos", top, kind)
    warnings = open_folder().warnings
    (chosen,) = [line for line in warnings if line.startswith("data.range is not set")]
    assert f"their values are [0, {top}]; set data.range=[0, {top}]" in chosen
    assert any(f"flat images, of a single color: {flat} of 20" in line for line in warnings) == (flat > 0)
    lost = "fewer than 16 of 256 shades" if kind is np.uint16 else "values that are cut off"
    if top < 4095:
        assert any(f"leaves 20 of 20 files of more than 8 bits with {lost}" in line for line in warnings)
    assert not open_folder(range=[0, top]).warnings


def test_another_range_is_another_data_set_and_the_same_one_is_decoded_once(tmp_path, open_folder):
    put_deep(tmp_path / "photos", 4095, np.uint16)
    digests = [open_folder(range=span).pool_digest for span in ([0, 4095], [0, 4000], [0, 4095], None)]
    assert digests[0] == digests[2]
    assert len(set(digests)) == 3


def test_a_brighter_file_that_comes_later_is_said_to_be_cut_off(tmp_path, open_folder):
    root = tmp_path / "photos"
    put_deep(root, 199, np.uint16)
    bright = (photo(99, 24, 24)[..., 0].astype(np.uint16) * 2).clip(0, 400)
    put(root / "a" / "bright.tif", encoded(Image.fromarray(bright), "TIFF"))
    (line,) = open_folder(range=[0, 199]).warnings
    assert "leaves 1 of 21 files of more than 8 bits with values that are cut off, such as a/bright.tif" in line


def test_a_blank_or_saturated_image_widens_no_range_and_is_counted():
    files = pd.DataFrame(
        {
            "path": ["1.tif", "2.tif", "white.tif", "8 bits.png", "broken.tif"],
            "row": [0, 1, 2, 3, -1],
            "mode": ["I;16", "I;16", "I;16", "L", ""],
            "low": [5.0, 2.0, 65535.0, np.nan, np.nan],
            "high": [100.0, 90.0, 65535.0, np.nan, np.nan],
            "flat": [False, False, True, False, False],
        }
    )
    assert Depth.of(files) == Depth(3, (2, 100))
    assert depth_warnings(files, (2, 100)) == ["flat images, of a single color: 1 of 4, such as white.tif"]
    assert Depth.of(files[2:]) == Depth(1, None)
