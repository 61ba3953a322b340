"""Image files to batches: decoded once by us, against a PIL loop and torchvision's ImageFolder with a DataLoader.

All sides take turns on the same files (`train/<class>/` below `--data-root`), which the turn before the first has
brought into the system's cache. Seconds are those that the processors worked, threads and worker processes included,
so that a rate is one of one core and neighbors on the machine count for little. Ours lists, reads, hashes, decodes and
writes the first epoch; the second one gathers shuffled batches from the mapped file. Memory: a process of its own
gathers shuffled batches of 1,000,000 images of 3×64×64 from a file full of holes, which takes no room on the disk.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms.v2.functional import pil_to_tensor

from benchmarks.output import publish
from semisup.config import DataConfig
from semisup.data.own_images import forget, own_images
from semisup.data.own_images.reading.decode import Target, decode
from semisup.data.rows import gather, map_images

TURNS = 5
BATCH = 256
PER_CLASS = 1000
SIDE = 32
MILLION = 1_000_000
OURS = "ours"
GOALS = {"first epoch": 1.5, "second epoch": 50.0}


def main() -> None:
    """Print and save both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        files = _linked(arguments.data_root / "train", Path(scratch) / "photos")
        publish(
            "images",
            compared(Path(scratch), files),
            f"{len(files):,} JPEG files of {SIDE}×{SIDE}, {TURNS} turns a side, images per second of one core, ratios "
            "turn by turn; goals: the first epoch 1.5 times as fast, or as the decoder alone; the second 50 times",
        )
        publish(
            "images_memory",
            [million(Path(scratch))],
            "one epoch of shuffled batches of 1,024 from a mapped file; anonymous memory is the process's own, the "
            "rest of the resident memory are files that the system may take back; goal: below 2 GB",
        )


def compared(scratch: Path, files: list[Path]) -> list[dict[str, Any]]:
    """A row for each epoch and side: images per second, and how many times as fast ours is."""
    contents = [file.read_bytes() for file in files]
    sides: dict[str, dict[str, Callable[[int], object]]] = {
        "first epoch": {
            OURS: lambda turn: _built(scratch, turn),
            "the decoder alone": lambda turn: [
                decode(content, Target(SIDE, SIDE, "crop", "rgb")) for content in contents
            ],
            "PIL loop": lambda turn: _by_pil(files),
            "ImageFolder, DataLoader": lambda turn: _by_torchvision(scratch, 2),
        },
        "second epoch": {
            OURS: lambda turn: _second_epoch(scratch, turn),
            "ImageFolder, DataLoader": lambda turn: _by_torchvision(scratch, 2),
        },
    }
    seconds: dict[tuple[str, str], list[float]] = {}
    for turn in range(TURNS + 1):
        for epoch, ways in sides.items():
            for side, way in ways.items():
                started = cpu_seconds()
                way(turn)
                if turn:  # the first turn warms up
                    seconds.setdefault((epoch, side), []).append(cpu_seconds() - started)
    rows = []
    for (epoch, side), times in seconds.items():
        row: dict[str, Any] = {"epoch": epoch, "side": side, "images per second": len(files) / statistics.median(times)}
        if side != OURS:
            ratios = [theirs / mine for theirs, mine in zip(times, seconds[epoch, OURS], strict=True)]
            goal = 1.0 if side == "the decoder alone" else GOALS[epoch]
            row |= {"ours is faster, times": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
            row |= {"goal": goal}
        rows.append(row)
    return rows


def _linked(train: Path, photos: Path) -> list[Path]:
    """Links to a part of the files, with a test image for each class, which our side asks for."""
    for folder in sorted(train.iterdir()):
        for number, file in enumerate(sorted(folder.iterdir())[: PER_CLASS + 1]):
            place = photos / ("train" if number else "test") / folder.name / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            _link(file.resolve(), place)
    return sorted((photos / "train").glob("*/*"))


def _link(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except OSError:  # on another disk
        place.write_bytes(file.read_bytes())


def _config(scratch: Path, turn: int) -> DataConfig:
    return DataConfig(
        name="folder", root=scratch / "photos", cache=scratch / f"cache-{turn}", size=(SIDE, SIDE), duplicates="ignore"
    )


def _built(scratch: Path, turn: int) -> None:
    forget()
    own_images(_config(scratch, turn))


def _second_epoch(scratch: Path, turn: int) -> None:
    images = own_images(_config(scratch, turn)).pool.images
    for rows in torch.randperm(len(images)).split(BATCH):
        gather(images, rows)


def _by_pil(files: list[Path]) -> np.ndarray[Any, Any]:
    images = np.empty((len(files), SIDE, SIDE, 3), dtype=np.uint8)
    for number, file in enumerate(files):
        with Image.open(file) as image:
            images[number] = np.asarray(image.convert("RGB").resize((SIDE, SIDE)))
    return images


def _by_torchvision(scratch: Path, workers: int) -> None:
    for _ in DataLoader(
        ImageFolder(scratch / "photos" / "train", pil_to_tensor), BATCH, shuffle=True, num_workers=workers
    ):
        pass


def cpu_seconds() -> float:
    """Seconds of this process and of its children that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def million(scratch: Path) -> dict[str, Any]:
    """Peak memory of an epoch over a million images, and how fast it is."""
    file = scratch / "million.u8"
    with file.open("wb") as opened:
        opened.truncate(MILLION * 3 * 64 * 64)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_epoch_of_a_million, (file,))


def _epoch_of_a_million(file: Path) -> dict[str, Any]:
    images = map_images(file, (MILLION, 3, 64, 64))
    before, peaks, started = memory(), {"RssAnon": 0, "VmRSS": 0}, cpu_seconds()
    for rows in torch.randperm(MILLION).split(1024):
        gather(images, rows)
        peaks = {name: max(value, memory()[name]) for name, value in peaks.items()}
    return {
        "images": MILLION,
        "images per second": MILLION / (cpu_seconds() - started),
        "anonymous before, MB": before["RssAnon"] / 1e6,
        "anonymous at most, MB": peaks["RssAnon"] / 1e6,
        "resident at most, MB": peaks["VmRSS"] / 1e6,
    }


def memory() -> dict[str, int]:
    """RssAnon, RssFile and VmRSS of this process, in bytes, as Linux counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = {name: words.split()[0] for name, _, words in (line.partition(":") for line in lines) if words.split()}
    return {name: 1024 * int(kilobytes[name]) for name in ("RssAnon", "RssFile", "VmRSS")}


if __name__ == "__main__":
    main()
