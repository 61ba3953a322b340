"""First epoch from shards: ours, which lists, reads, hashes, decodes and keeps, against the loaders of the formats.

`webdataset` and `datasets` read the same shards, and Pillow decodes, resizes and crops as torchvision's transforms do.
All sides take turns on the same files and hand over batches of uint8 images. Seconds are those that the processors
worked, so that a rate is one of one core. `--s3` compares the same tars on the disk and in a bucket
of moto's server on this machine, with more photographs in a shard, as a request takes as long for a small one as for
a large one; the server's own time does not count.
"""

import argparse
import io
import os
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
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from torchvision.transforms.v2 import CenterCrop, Resize
from torchvision.transforms.v2.functional import pil_to_tensor

from benchmarks.output import Figure, in_turns, publish, publish_figures
from benchmarks.reading.images import cpu_seconds
from semisup.config import DataConfig
from semisup.data.own_images import forget, own_images
from semisup.data.rows import gather

TURNS, SHARDS, GOAL = 5, 100, 2.0
S3_TURNS, REPEATED = 2, 10
BATCH = 256
Sample = tuple[str, bytes, str]
"""(name, encoded image, number of its class)."""


def main() -> None:
    """Print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True, help="with a folder of images for each class")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--s3", action="store_true", help="compare a bucket with the disk, and nothing else")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted(arguments.data_root.glob("*/*.jpg"))
    classes = sorted({file.parent.name for file in files})
    samples = [
        (f"{number:06}", file.read_bytes(), str(classes.index(file.parent.name))) for number, file in enumerate(files)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.s3:
            publish_figures("sources_s3", from_a_bucket(Path(scratch), _repeated(samples), arguments.size))
            return
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
        ("tars", "ours"): lambda turn: _ours("webdataset", scratch / f"tars-{turn}", size, root=tars),
        ("tars", "webdataset, Pillow"): lambda turn: _batches(_by_webdataset(tars), size),
        ("Parquet", "ours"): lambda turn: _ours("parquet", scratch / f"parquet-{turn}", size, root=parquet),
        ("Parquet", "datasets, Pillow"): lambda turn: _batches(_by_datasets(parquet), size),
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


def from_a_bucket(scratch: Path, samples: list[Sample], size: int) -> list[Figure]:
    """Images per second from a bucket, as a share of those from the disk."""
    import s3fs

    from tests.s3 import environment, serving

    with serving(scratch / "log") as address:
        os.environ.update(environment(address, scratch))
        files = s3fs.S3FileSystem(endpoint_url=address)
        root = _tars(scratch / "tars", samples)
        files.mkdir("tars")
        for path in root.iterdir():
            files.put_file(str(path), f"tars/{path.name}")
        places: dict[str, dict[str, Any]] = {"disk": {"root": root}, "bucket": {"url": "s3://tars"}}
        rates = in_turns({place: _rate(where, scratch, size) for place, where in places.items()}, S3_TURNS)
    megabytes = sum(path.stat().st_size for path in root.iterdir()) / SHARDS / 1e6
    what = f"{SHARDS} tars of {megabytes:.1f} MB: first epoch from a bucket / from the disk"
    return [Figure.ratio(what, rates["bucket"], rates["disk"], "≥ 0.8")]


def _repeated(samples: list[Sample]) -> list[Sample]:
    return [(f"{turn}{name}", content, label) for turn in range(REPEATED) for name, content, label in samples]


def _rate(where: dict[str, Any], scratch: Path, size: int) -> Callable[[], float]:
    def images_per_second() -> float:
        with tempfile.TemporaryDirectory(dir=scratch) as cache:
            started = cpu_seconds()
            return _ours("webdataset", Path(cache) / "cache", size, **where) / (cpu_seconds() - started)

    return images_per_second


def _ours(name: str, cache: Path, size: int, **where: Any) -> int:
    """Number of images of an epoch whose batches were gathered."""
    forget()
    own = own_images(DataConfig(name=name, cache=cache, size=(size, size), duplicates="ignore", **where))
    for images in (own.pool.images, own.test.images):
        for rows in torch.randperm(len(images)).split(BATCH):
            gather(images, rows)
    count = len(own.pool) + len(own.test)
    forget()
    return count


class _Decoded(IterableDataset[Tensor]):
    """What torchvision's transforms make of photographs."""

    def __init__(self, photographs: Iterator[Image.Image], size: int) -> None:
        self.photographs, self.resize, self.crop = photographs, Resize(size), CenterCrop(size)

    def __iter__(self) -> Iterator[Tensor]:
        for image in self.photographs:
            yield pil_to_tensor(self.crop(self.resize(image.convert("RGB"))))


def _batches(photographs: Iterator[Image.Image], size: int) -> int:
    return sum(len(images) for images in DataLoader(_Decoded(photographs, size), BATCH))


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
