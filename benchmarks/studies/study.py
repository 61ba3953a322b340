"""What a study is, and how its arms are run and compared."""

import multiprocessing
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from benchmarks.studies.measuring import Figures
from benchmarks.studies.workbench import Bench, set_up

Arm = tuple[Callable[..., Figures], Sequence[Any]]
"""A function of the setup of a seed, and what else it is given."""


@dataclass(frozen=True)
class Study:
    """Arms that differ in one thing; the first is what the others are held against."""

    name: str
    question: str
    bench: Bench
    arms: Mapping[str, Arm]


def run(study: Study, seeds: int, root: Path | None, workers: int) -> list[dict[str, Any]]:
    """One row an arm: mean ± standard deviation over the seeds, the worst, the paired difference to the first arm."""
    context = multiprocessing.get_context("spawn")
    results: dict[int, dict[str, Figures]] = {}
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as processes:
        waiting = {processes.submit(_run_seed, study, seed, root): seed for seed in range(seeds)}
        for done in as_completed(waiting):
            results[waiting[done]] = done.result()
            print(f"  {study.name}: seed {waiting[done]}", flush=True)
    return rows_of(study, {arm: [results[seed][arm] for seed in range(seeds)] for arm in study.arms})


def rows_of(study: Study, results: Mapping[str, Sequence[Figures]]) -> list[dict[str, Any]]:
    """The table of a study, from the figures of each arm, seed by seed."""
    reference = next(iter(study.arms))
    names = list(dict.fromkeys(name for figures in results.values() for seed in figures for name in seed))
    main = names[0]
    return [
        {"arm": arm}
        | {name: _spread([seed[name] for seed in figures if name in seed]) for name in names}
        | {f"worst {main}": f"{min(seed[main] for seed in figures if main in seed):.2f}"}
        | {f"{main} − {reference}": "" if arm == reference else _difference(main, results[reference], figures)}
        for arm, figures in results.items()
    ]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values) if len(values) > 1 else 0:.2f}"


def _difference(name: str, reference: Sequence[Figures], arm: Sequence[Figures]) -> str:
    """Mean paired difference over the seeds with its 95 % t-interval."""
    pairs = zip(reference, arm, strict=True)
    differences = [other[name] - one[name] for one, other in pairs if name in one and name in other]
    mean = statistics.mean(differences)
    if len(differences) < 2 or len(set(differences)) == 1:
        return f"{mean:+.2f}"
    interval = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    return f"{mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"


def _run_seed(study: Study, seed: int, root: Path | None) -> dict[str, Figures]:
    """All arms of a seed in one process: they share what they begin alike with."""
    setup = set_up(study.bench, seed, root)
    return {arm: function(setup, *arguments) for arm, (function, arguments) in study.arms.items()}


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).step()  # the first optimizer imports for a second or two
