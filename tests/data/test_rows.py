"""Rows of a larger array are what indexing gives, and a mapped file does not stay in memory."""

from pathlib import Path

import numpy as np
import torch

from semisup.data import rows
from semisup.data.rows import Rows, gather, map_images, on_device


def test_rows_are_what_indexing_twice_gives():
    images = torch.arange(60, dtype=torch.uint8).reshape(20, 1, 1, 3)
    chosen = torch.tensor([7, 3, 3, 19])
    view = Rows(images, chosen)
    assert len(view) == 4
    assert torch.equal(view[torch.tensor([2, 0])], images[[3, 7]])
    assert torch.equal(view[1:3], images[[3, 3]])
    assert torch.equal(on_device(images, chosen, torch.device("cpu"))[:], images[chosen])


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
