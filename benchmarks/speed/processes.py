"""Two processes against one with two threads, and two that share every batch against one with one thread.

One pair of processes takes turns with itself: the first one trains alone with one thread, then with two, while the
other waits; both train networks of their own at the same time; both train one together. Images per second on the wall,
so the machine must have nothing else to do.
"""

import multiprocessing
import os
import sys
import tempfile
import threading
import time
from typing import Any

import torch
from torch import distributed

from benchmarks.output import Figure, publish_figures
from benchmarks.speed.step_overhead import AUGMENT, IMAGES, MEAN, STD, ours
from semisup.networks.models import build_model
from semisup.training.process_group import ALONE, Processes, ProcessGroup, end_process

NETS = {"small_cnn": 60, "seed_cnn": 5}
"""Name → steps per turn."""
SIDES = ("one thread", "two threads", "side by side", "together")


def main() -> None:
    """Print and save the ratios; `quick` takes fewer turns."""
    publish_figures("processes", measure(quick="--quick" in sys.argv))


def measure(*, quick: bool) -> list[Figure]:
    """Both ratios."""
    turns = 3 if quick else 9
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        answers: Any = context.Queue()
        pair = [context.Process(target=_work, args=(rank, folder, turns, answers)) for rank in range(2)]
        for process in pair:
            process.start()
        seconds: dict[str, dict[str, list[float]]] = answers.get()
        for process in pair:
            process.join()
    light, heavy = seconds["small_cnn"], seconds["seed_cnn"]
    both = [2 * one for one in light["two threads"]]  # side by side, two networks are trained in that time
    return [
        Figure.ratio(
            "two processes of one thread / one of two threads, images/s, small_cnn",
            both,
            light["side by side"],
            "≥ 1.3",
        ),
        Figure.ratio(
            "two processes together / one, images/s, seed_cnn", heavy["one thread"], heavy["together"], "≥ 1.6"
        ),
        Figure.ratio(
            "two processes together / one, images/s, small_cnn", light["one thread"], light["together"], "≥ 1"
        ),
    ]


def _end_with_parent() -> None:
    """Whoever kills the benchmark shall not find two busy processes an hour later."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(rank: int, folder: str, turns: int, answers: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    group = Processes.of_the_group(torch.device("cpu"))
    seconds: dict[str, dict[str, list[float]]] = {net: {side: [] for side in SIDES} for net in NETS}
    for turn in range(turns + 1):
        for net, steps in NETS.items():
            for side in SIDES:
                distributed.barrier()  # whoever waits sleeps
                took = 0.0
                if rank == 0 or side in {"side by side", "together"}:
                    torch.set_num_threads(2 if side == "two threads" else 1)
                    took = _seconds(net, steps, group if side == "together" else ALONE)
                # Side by side, the slower one decides.
                longest = torch.tensor(took)
                distributed.all_reduce(longest, op=distributed.ReduceOp.MAX)
                if turn:  # the first turn warms up
                    seconds[net][side].append(float(longest))
    if rank == 0:
        answers.put(seconds)
        answers.close()
        answers.join_thread()
    distributed.barrier()
    distributed.destroy_process_group()
    end_process()


def _seconds(net: str, steps: int, group: ProcessGroup) -> float:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 1, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (IMAGES,), generator=generator)
    model = build_model(net, (1, 28, 28), 10, mean=MEAN, std=STD, width=1.0, seed=0)
    return ours(model, images, labels, steps, AUGMENT, clock=time.perf_counter, group=group)


if __name__ == "__main__":
    main()
