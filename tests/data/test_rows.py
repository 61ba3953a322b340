"""Rows of a larger array are what indexing gives, and a mapped file does not stay in memory."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from semisup.data import rows
from semisup.data.rows import Rows, gather, images_at_once, map_images, on_device


def test_rows_are_what_indexing_twice_gives():
    images = torch.arange(60, dtype=torch.uint8).reshape(20, 1, 1, 3)
    chosen = torch.tensor([7, 3, 3, 19])
    view = Rows(images, chosen)
    assert len(view) == 4
    assert torch.equal(view[torch.tensor([2, 0])], images[[3, 7]])
    assert torch.equal(view[1:3], images[[3, 3]])
    assert torch.equal(on_device(images, chosen, torch.device("cpu"))[:], images[chosen])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("shape", [(0, 1, 28, 28), (2000, 1, 28, 28), (2000, 3, 64, 64), (50, 3, 224, 224), (9, 512)])
def test_a_network_gets_as_many_images_at_once_as_the_bounds_of_its_device_allow_and_no_more(shape, device):
    most, most_numbers = rows.ON_A_CPU if device == "cpu" else rows.ON_A_GPU
    images = torch.empty(shape, dtype=torch.uint8)
    size, of_one = images_at_once(images, torch.device(device)), math.prod(shape[1:])
    assert size <= most
    assert size * of_one <= most_numbers
    assert not len(images) or size == most or (size + 1) * of_one > most_numbers
    if len(images):
        assert images_at_once(Rows(images, torch.tensor([0])), torch.device(device)) == size


def test_an_image_larger_than_all_bounds_goes_through_alone():
    assert images_at_once(torch.empty(2, 3, 6000, 4000, dtype=torch.uint8), torch.device("cpu")) == 1


def test_a_mapped_file_is_let_go_again_and_read_anew(tmp_path, monkeypatch):
    values = np.random.default_rng(0).integers(0, 256, (512, 1, 64, 64), dtype=np.uint8)
    (tmp_path / "pixels").write_bytes(values.tobytes())
    images = map_images(tmp_path / "pixels", values.shape)
    monkeypatch.setattr(rows, "MOST_MAPPED", 2**19)

    def resident() -> int:
        text = Path("/proc/self/smaps").read_text().split(str(tmp_path / "pixels"))[1]
        return int(text.split("Rss:")[1].split()[0]) * 1024

    for start in range(0, 512, 64):
        assert np.array_equal(gather(images, torch.arange(start, start + 64)).numpy(), values[start : start + 64])
    assert resident() <= 2**19 + 64 * 4096
    assert len(values.tobytes()) == 2**21
