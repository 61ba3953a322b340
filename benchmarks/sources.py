"""First epoch from shards: ours, which lists, reads, hashes, decodes and keeps, against the loaders of the formats.

`webdataset` and `datasets` read the same shards, and Pillow decodes, resizes and crops as torchvision's transforms do.
All sides take turns on the same files. Seconds are those that the processors worked, so that a rate is one of one core.
"""

import argparse
import io
import statistics
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torchvision.transforms.v2 import CenterCrop, Resize
from torchvision.transforms.v2.functional import pil_to_tensor

from benchmarks.images import cpu_seconds
from benchmarks.output import publish
from semisup.config import DataConfig
from semisup.data.own_images import forget, own_images

TURNS, SHARDS, GOAL = 5, 100, 2.0
Sample = tuple[str, bytes, str]
"""(name, encoded image, number of its class)."""


def main() -> None:
    """Print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True, help="with a folder of images for each class")
    parser.add_argument("--size", type=int, default=224)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted(arguments.data_root.glob("*/*.jpg"))
    classes = sorted({file.parent.name for file in files})
    samples = [
        (f"{number:06}", file.read_bytes(), str(classes.index(file.parent.name))) for number, file in enumerate(files)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        publish(
            "sources",
            compared(Path(scratch), samples, arguments.size),
            f"{len(samples):,} JPEG files in {SHARDS} shards, {arguments.size} pixels a side, {TURNS} turns a side, "
            "images per second of one core, ratios turn by turn",
        )


def compared(scratch: Path, samples: list[Sample], size: int) -> list[dict[str, Any]]:
    """A row for each format and side: images per second, and how many times as fast ours is."""
    tars, parquet = _tars(scratch / "tars", samples), _parquet(scratch / "parquet", samples)
    ways: dict[tuple[str, str], Callable[[int], object]] = {
        ("tars", "ours"): lambda turn: _ours("webdataset", tars, scratch / f"tars-{turn}", size),
        ("tars", "webdataset, Pillow"): lambda turn: _decoded(_by_webdataset(tars), size),
        ("Parquet", "ours"): lambda turn: _ours("parquet", parquet, scratch / f"parquet-{turn}", size),
        ("Parquet", "datasets, Pillow"): lambda turn: _decoded(_by_datasets(parquet), size),
    }
    seconds: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    for turn in range(TURNS + 1):
        for way, go in ways.items():
            started = cpu_seconds()
            go(turn)
            if turn:  # the first turn warms up
                seconds[way].append(cpu_seconds() - started)
    rows = []
    for (kind, side), times in seconds.items():
        row: dict[str, Any] = {
            "shards": kind,
            "side": side,
            "images per second": len(samples) / statistics.median(times),
        }
        if side != "ours":
            ratios = [theirs / mine for theirs, mine in zip(times, seconds[kind, "ours"], strict=True)]
            row |= {"ours is faster, times": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
            row |= {"goal": GOAL}
        rows.append(row)
    return rows


def _ours(name: str, root: Path, cache: Path, size: int) -> None:
    forget()
    own = own_images(DataConfig(name=name, root=root, cache=cache, size=(size, size), duplicates="ignore"))
    assert len(own.pool) + len(own.test) > 0
    forget()


def _decoded(images: Iterator[Image.Image], size: int) -> int:
    resize, crop = Resize(size), CenterCrop(size)
    return sum(int(pil_to_tensor(crop(resize(image.convert("RGB")))).shape[0] == 3) for image in images)


def _by_webdataset(tars: Path) -> Iterator[Image.Image]:
    import webdataset

    data = webdataset.WebDataset([str(path) for path in sorted(tars.glob("*.tar"))], shardshuffle=False)
    for sample in data.decode("pil"):
        yield sample["jpg"]


def _by_datasets(parquet: Path) -> Iterator[Image.Image]:
    import datasets

    files = [str(path) for path in sorted(parquet.glob("*.parquet"))]
    for row in datasets.load_dataset("parquet", data_files=files, split="train", streaming=True):
        yield row["image"]


def _parts(samples: list[Sample]) -> Iterator[tuple[int, list[Sample]]]:
    for number, rows in enumerate(np.array_split(np.arange(len(samples)), SHARDS)):
        yield number, [samples[row] for row in rows]


def _tars(folder: Path, samples: list[Sample]) -> Path:
    folder.mkdir()
    for number, part in _parts(samples):
        with tarfile.open(folder / f"{number:05}.tar", "w") as shard:
            for name, content, label in part:
                for suffix, data in ((".jpg", content), (".cls", label.encode())):
                    member = tarfile.TarInfo(name + suffix)
                    member.size = len(data)
                    shard.addfile(member, io.BytesIO(data))
    return folder


def _parquet(folder: Path, samples: list[Sample]) -> Path:
    import datasets

    folder.mkdir()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    for number, part in _parts(samples):
        images = [{"bytes": content, "path": None} for _, content, _ in part]
        table = pa.table({"image": images, "label": [label for *_, label in part]}, schema=features.arrow_schema)
        pq.write_table(table, folder / f"train-{number:05}-of-{SHARDS:05}.parquet")
    return folder


if __name__ == "__main__":
    main()
