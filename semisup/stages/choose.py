"""Stage `choose`: what each way to learn upon a frozen network is worth, by the labeled images themselves.

Every label both trains and judges: it is held out in turn, and models that have not seen it predict its image.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from semisup.config import PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.own_images.images import units_at
from semisup.data.roles.split import Split
from semisup.evaluation.keeping import better_model, judges_in_words
from semisup.evaluation.scores import accuracy_interval
from semisup.frozen.learning import STRENGTHS, deal_partitions, hold_out, log_loss, share_right, spread_labels
from semisup.pipeline.log import StageLog
from semisup.plots import save_png, worth_of_ways
from semisup.stages.rungs import FOLDS, PROBE, RUNGS, STUDENT, Comparison, Labeled, PseudoLabeled
from semisup.stages.support.frozen import frozen_pool, write_choice
from semisup.system.json_files import write_json
from semisup.system.randomness import numpy_generator

REPETITIONS = 3
"""Of the folds, where there are few images: each deals them anew."""
FEW = 5_000
"""Images, labeled and unlabeled, up to which the folds are repeated."""


def run(config: PipelineConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """Leaves `choice.json`, `embedding.safetensors`, `held_out.parquet`, `choice.png` and `timings.json`.

    In `choice.json`: `baseline` and `student` (what they are: "probe", or with `model.train: auto` one of
    :data:`semisup.stages.rungs.RUNGS`, whichever had most labels right), `strengths` (C of both probes), `temperature`
    of the graph, `ways` (name, accuracy with its interval and log-loss of the supervised probe, the student, the graph
    itself and the other rungs), `left_out` (name of a rung → why, without its seconds, which are in `timings.json`),
    `kept` (which of the two models, by :func:`semisup.evaluation.keeping.better_model`, and `repetitions`, how often
    each label was held out). What fits `choose.budget` depends on the machine.
    """
    began = time.monotonic()
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    pool = frozen_pool(config, split, facts, log)
    embedding = pool.fit_embedding()
    points = pool.points(embedding)
    graph = points.graph()
    images = len(pool.labeled) + len(pool.unlabeled)
    given = config.probe.baseline_c
    rng, units = numpy_generator(config.seed, "folds"), units_at(config.data, split.indices("labeled"))
    held = hold_out(
        points,
        graph,
        rng,
        strengths=STRENGTHS if given is None else (given,),
        student_strength=config.probe.student_c,
        repetitions=REPETITIONS if images <= FEW else 1,
        units=units,
    )
    truth, ways, seconds = pool.labels, held.ways(), dict(held.seconds)
    baselines, students = {PROBE: held.baseline}, {PROBE: held.student}
    left_out: dict[str, str] = {}
    if config.model.train == "auto":
        folds = [fold for _, fold in deal_partitions(truth.numpy(), FOLDS, 1, rng, units)]
        compared = Comparison(config, Labeled.of(config, split, facts), folds, log)

        def said_without(held_out: Tensor) -> PseudoLabeled:
            told = torch.from_numpy(spread_labels(graph, points, held.temperature, among=~held_out))
            confidence, labels = told[len(truth) :].max(dim=1)
            return PseudoLabeled.of(config, pool.unlabeled, facts, labels, confidence)

        for name in RUNGS:
            rung = compared.hold_out(name, said_without if name == STUDENT else None)
            seconds[name] = rung.seconds
            if rung.log_probabilities is None:
                left_out[name] = rung.why_not
            else:
                (students if name == STUDENT else baselines)[name] = ways[name] = rung.log_probabilities

    def best(tables: Mapping[str, Tensor]) -> str:  # of equals the first one, which is the cheapest
        return max(tables, key=lambda name: share_right(tables[name], truth).mean())

    choice: dict[str, Any] = {
        "baseline": best(baselines),
        "student": best(students),
        "strengths": {"baseline": held.strength, "student": config.probe.student_c},
        "temperature": held.temperature,
        "ways": [_way(name, table, truth) for name, table in ways.items()],
        "left_out": left_out,
        "kept": better_model(
            share_right(baselines[best(baselines)], truth),
            share_right(students[best(students)], truth),
            judges="held-out labels",
        )
        | {"repetitions": len(held.baseline)},
    }
    write_choice(out_dir, embedding, choice)
    _table(split, held.ways(), truth).to_parquet(out_dir / "held_out.parquet", index=False)
    save_png(worth_of_ways(choice["ways"]), out_dir / "choice.png")
    write_json(out_dir / "timings.json", {"seconds": time.monotonic() - began, "cpu_seconds": seconds})
    _report(choice, seconds, log)


def _way(name: str, table: Tensor, truth: Tensor) -> dict[str, Any]:
    return {"name": name, "log_loss": log_loss(table, truth), **_interval(share_right(table, truth))}


def _interval(right: NDArray[np.float64]) -> dict[str, float]:
    """Exact for one repetition; of several the mean, rounded to whole images: they are the same images."""
    found = accuracy_interval(round(float(right.sum())), len(right))
    return {"accuracy": float(right.mean()), "low": found.low, "high": found.high, "images": len(right)}


def _table(split: Split, ways: Mapping[str, Tensor], truth: Tensor) -> pd.DataFrame:
    """A row for each labeled image and repetition."""
    ids, repetitions = list(split.ids("labeled")), len(ways["student"])
    columns: dict[str, Any] = {
        "id": ids * repetitions,
        "repetition": np.repeat(np.arange(repetitions), len(ids)),
        "truth": np.tile(truth.numpy(), repetitions),
    }
    for name, table in ways.items():
        confidence, labels = table.exp().max(dim=2)
        columns |= {f"{name}_label": labels.flatten().numpy(), f"{name}_confidence": confidence.flatten().numpy()}
    return pd.DataFrame(columns)


def _report(choice: Mapping[str, Any], seconds: Mapping[str, float], log: StageLog) -> None:
    figures = {"graph_temperature": choice["temperature"], "baseline_strength": choice["strengths"]["baseline"]}
    for way in choice["ways"]:
        figures |= {f"held_out_accuracy.{way['name']}": way["accuracy"]}
        figures |= {f"held_out_log_loss.{way['name']}": way["log_loss"]}
        figures |= {f"cpu_seconds.{way['name']}": seconds[way["name"]]}
    log.metrics(figures | {"student_kept": float(choice["kept"]["model"] == "student")})
    said = ", ".join(f"{way['name']} {way['accuracy']:.1%}" for way in choice["ways"])
    log.info(f"of {judges_in_words(choice['kept'])}: {said}; keep the {choice['kept']['model']}")
    if {way["name"] for way in choice["ways"]} & {*RUNGS}:
        log.info("baseline and student were chosen on these labels, so these figures are a little optimistic")
