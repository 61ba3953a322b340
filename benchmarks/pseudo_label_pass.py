"""The pass over unlabelled images, ledger included, against the bare forward of the same net; and how it grows.

58,000 images: ours (gather, forward, softmax, ledger, Parquet) and the bare forward over ready float batches take
turns in one process. Growth to 1,000,000 synthetic images: each size in a fresh process, for its peak memory.
"""

import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.output import publish
from semisup.models import build_model
from semisup.pseudo_labels.ledger import build_ledger
from semisup.training.predict import predict_probabilities

BATCH = 1024
PAIRS = 5
MNIST_UNLABELED = 58_000
SIZES = (62_500, 250_000, 1_000_000)
NETS = {"small_cnn": 2.0, "seed_cnn": 1.0}


def main() -> None:
    """Print and save both tables; the seed CNN's takes minutes, and a net may be named on the command line."""
    chosen = sys.argv[1:] or list(NETS)
    torch.set_flush_denormal(True)
    images = _images(MNIST_UNLABELED)
    rows = []
    for name in chosen:
        model = _model(name, NETS[name])
        pairs = [(_bare(model, images), _ours(model, images)) for _ in range(PAIRS + 1)][1:]
        ratios = [bare / ours for bare, ours in pairs]  # of throughputs
        rows.append(
            {
                "net": name,
                "bare, images/s": round(MNIST_UNLABELED / statistics.median(bare for bare, _ in pairs)),
                "ours, images/s": round(MNIST_UNLABELED / statistics.median(ours for _, ours in pairs)),
                "throughput ratio, median": statistics.median(ratios),
                "lowest": min(ratios),
                "highest": max(ratios),
                "goal": 0.95,
            }
        )
    publish("pseudo_label_pass", rows, f"{MNIST_UNLABELED:,} images of 1×28×28, {PAIRS} turns a side")

    growth = []
    for size in SIZES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, peak = pool.apply(_measure_growth, (size,))
        growth.append({"images": size, "seconds": seconds, "µs per image": 1e6 * seconds / size, "peak MiB": peak})
    publish("pseudo_label_growth", growth, "small_cnn, width 2; the images themselves take 784 bytes each")


def _measure_growth(size: int) -> tuple[float, float]:
    torch.set_flush_denormal(True)
    seconds = _ours(_model("small_cnn", NETS["small_cnn"]), _images(size))
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _model(name: str, width: float) -> nn.Module:
    return build_model(name, (1, 28, 28), 10, mean=[0.13], std=[0.31], width=width, seed=0).eval()


def _images(size: int) -> Tensor:
    return torch.randint(0, 256, (size, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def _bare(model: nn.Module, images: Tensor) -> float:
    ready = images[:BATCH].float()
    sizes = [BATCH] * (len(images) // BATCH) + [len(images) % BATCH]
    started = time.perf_counter()
    for size in sizes:
        if size:
            model(ready[:size])
    return time.perf_counter() - started


def _ours(model: nn.Module, images: Tensor) -> float:
    ids = [f"train/{row:05d}" for row in range(len(images))]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        probabilities = predict_probabilities(model, images[torch.arange(len(images))], BATCH)
        ledger = build_ledger(ids, np.arange(len(images)), probabilities.numpy(), threshold=0.95, teacher="benchmark")
        ledger.to_parquet(Path(folder) / "pseudo_labels.parquet", index=False)
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
