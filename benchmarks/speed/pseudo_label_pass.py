"""The pass over unlabeled images, pseudo-label table included, against the same net's bare forward; and how it grows.

58,000 images, 5,120 with the heavy net: ours (gather, forward, softmax, shards on disk, selection, pseudo-label table
as Parquet) and the bare forward over ready float batches take turns in one process with one thread, and measure its own
time on the processor; a third side is the bare forward of 1,024 images at once, as passes often have it. Growth to
10,000,000 synthetic images of 32×32: each size in a fresh process of one thread, for its peak memory. The images are
50,000 that come again and again, so that what grows is the pass and not the images.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.output import Figure, in_turns, publish, publish_figures
from semisup.config import PseudoLabelConfig
from semisup.data.rows import Rows, images_at_once
from semisup.networks.models import build_model
from semisup.pseudo_labels import TABLE_FILE
from semisup.pseudo_labels.table import Ids, Selection, write_table
from semisup.stages.pseudo_label import table_parts
from semisup.stages.support.teacher_predictions import Shards, TeacherPredictions
from semisup.system.memory import keep_for_reuse
from semisup.training.predict import predict_log_probabilities

LARGE = 1024
MNIST_UNLABELED = 58_000
HEAVY_IMAGES = 5 * LARGE
"""With the heavy net an image takes milliseconds: all 58,000 of them in turns would take three quarters of an hour."""
DIFFERENT = 50_000
SIZES = (100_000, 1_000_000, 10_000_000)
NETS = {"small_cnn": 2.0, "seed_cnn": 1.0}


def main() -> None:
    """Print and save both tables; `--quick`: the light net and no growth, `--growth`: nothing else."""
    quick = "--quick" in sys.argv
    if "--growth" not in sys.argv:
        publish_figures("pseudo_label_pass", measure(quick=quick))
    if quick:
        return
    growth = []
    for size in SIZES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, peak = pool.apply(_measure_growth, (size,))
        growth.append({"images": size, "CPU seconds": seconds, "µs per image": 1e6 * seconds / size, "peak MiB": peak})
        publish("pseudo_label_growth", growth, "small_cnn, width 2, 1×32×32; the images themselves take 49 MiB")


def measure(*, quick: bool) -> list[Figure]:
    """Throughput of the pass against the bare forward, and the share of all that is not the pass."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_for_reuse()  # as the stage does: else the bare sides get their activations' memory anew with each batch
    ratios = _measure("small_cnn", MNIST_UNLABELED, turns=3 if quick else 7)
    if not quick:
        ratios += _measure("seed_cnn", HEAVY_IMAGES, turns=7)
    torch.set_num_threads(threads)
    return ratios


def _measure(name: str, size: int, turns: int) -> list[Figure]:
    images, ids = _images(size, 28), pd.Series(_Names(size)[:]).array  # as the split has them
    model, what = _model(name, 28), f"{name}, {size:,} images"
    shares: list[float] = []

    def ours() -> float:
        whole, table = _ours(model, images, ids)
        shares.append(table / whole)
        return whole

    sides = {
        "bare": lambda: _bare(model, images, images_at_once(images, torch.device("cpu"))),
        "ours": ours,
        "large": lambda: _bare(model, images, LARGE),
    }
    times = in_turns(sides, turns)
    return [
        Figure.ratio(f"throughput of the pass / bare forward, {what}", times["bare"], times["ours"], "≥ 0.97"),
        Figure.ratio(f"bare forward of {LARGE:,} at once / the pass, {what}", times["large"], times["ours"], "≥ 1"),
        Figure.of(f"selection and pseudo-label table / all of it, {what}", shares[1:], "≤ 0.02"),
    ]


def _measure_growth(size: int) -> tuple[float, float]:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    images, model = _images(DIFFERENT, 32), _model("small_cnn", 32)
    seconds, _ = _ours(model, images, _Names(size))
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _model(name: str, side: int) -> nn.Module:
    return build_model(name, (1, side, side), 10, mean=[0.13], std=[0.31], width=NETS[name], seed=0).eval()


def _images(size: int, side: int) -> Tensor:
    return torch.randint(0, 256, (size, 1, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def _bare(model: nn.Module, images: Tensor, batch: int) -> float:
    ready = images[:batch].float()
    sizes = [batch] * (len(images) // batch) + [len(images) % batch]
    started = time.process_time()
    for size in sizes:
        if size:
            model(ready[:size])
    return time.process_time() - started


def _ours(model: nn.Module, images: Tensor, ids: Ids) -> tuple[float, float]:
    """CPU seconds of (the whole, of it selection and table) of as many images as ids, the same ones in turn."""
    count = len(ids)
    indices = torch.arange(count) % len(images)
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        shards = Shards(Path(folder) / "shards", count)
        shards.fill(
            lambda number, rows: {"log_probabilities": predict_log_probabilities(model, Rows(images, indices[rows]))}
        )
        passed = time.process_time()
        parts = table_parts(
            TeacherPredictions.of(shards, 1.0, None),
            ids,
            np.arange(count),
            selection=Selection(0.95),
            teacher="benchmark",
            previous=None,
            config=PseudoLabelConfig(),
        )
        write_table(Path(folder) / TABLE_FILE, parts)
        ended = time.process_time()
    return ended - started, ended - passed


class _Names(Sequence[str]):
    """Ids that are made when they are asked for: ten million of them would be most of the memory."""

    def __init__(self, total: int) -> None:
        self.total = total

    def __len__(self) -> int:
        return self.total

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, int):
            if not 0 <= place < self.total:
                raise IndexError(place)
            return f"train/{place:05d}"
        return [f"train/{row:05d}" for row in range(*place.indices(self.total))]


if __name__ == "__main__":
    main()
