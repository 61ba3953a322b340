"""The rungs above a probe: more of the network learns, step by step, from the labels alone.

A rung is the config with another `model`; what it is worth is told by labels that are held out.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semisup.budget import Budget
from semisup.config import PipelineConfig
from semisup.data.datasets import ImageSet
from semisup.data.roles.split import Split
from semisup.data.rows import gather
from semisup.errors import UserError
from semisup.pipeline.log import StageLog
from semisup.stages.support.files import (
    DatasetFacts,
    fresh_model,
    pick_device,
    pool_of,
    save_model,
    write_json,
)
from semisup.stages.support.frozen import read_choice
from semisup.stages.support.learner import learner
from semisup.system.randomness import derive_seed
from semisup.training.batches import some_of
from semisup.training.loop import Examples, train
from semisup.training.predict import predict_log_probabilities

PROBE = "probe"
"""The lowest rung, which every other one has to beat."""
RUNGS: Mapping[str, Mapping[str, Any]] = {
    "last_2": {"train": "last_2", "kept_views": 6},
    "all": {"train": "all"},
    "scratch": {"name": "pooled_cnn", "train": "all", "weights": None, "download": False},
}
"""Name → what of `model` is otherwise, from the cheapest on."""
FOLDS = 3
"""Few: each of them is a training."""
TIMED_STEPS = 3


@dataclass(frozen=True)
class Rung:
    """What came of one.

    Attributes:
        name: in RUNGS.
        log_probabilities: float32 (1, n, C) of the labeled images when held out; None: it was left out.
        seconds: of CPU time, spent or expected.
        why_not: why it was left out.
    """

    name: str
    log_probabilities: Tensor | None
    seconds: float
    why_not: str = ""


def on_rung(config: PipelineConfig, name: str) -> PipelineConfig:
    """The config of one rung of RUNGS. Its baseline sees mirrored views, too, where `model.mirror` says so."""
    augment = config.baseline.augment
    augment = augment.model_copy(update={"horizontal_flip": augment.horizontal_flip or config.model.mirror})
    return config.model_copy(
        update={
            "model": config.model.model_copy(update=dict(RUNGS[name])),
            "baseline": config.baseline.model_copy(update={"augment": augment}),
        }
    )


@dataclass(frozen=True, eq=False)
class Labeled:
    """The labeled images of a split.

    Attributes:
        images: they alone, as a pool.
        labels: int64 (n,).
    """

    facts: DatasetFacts
    images: ImageSet
    labels: Tensor

    @classmethod
    def of(cls, config: PipelineConfig, split: Split, facts: DatasetFacts) -> "Labeled":
        """Those of the configured data set."""
        pool, rows, labels = pool_of(config, facts), split.indices("labeled"), split.labels("labeled")
        images = ImageSet(gather(pool.images, rows), labels, tuple(split.ids("labeled")), pool.class_names)
        return cls(facts, images, labels)


def fit_on_rung(
    config: PipelineConfig,
    labeled: Labeled,
    log: StageLog,
    purpose: str,
    *,
    among: Tensor | None = None,
    asked: Tensor | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """The weights of the whole network after training, and log-probabilities (k, C) of the images `asked` about, (k,).

    `config` is that of a rung; of the labeled images only those `among` them, bool (n,), are learned from.
    """
    device, everything = pick_device(config), torch.arange(len(labeled.labels))
    rows = everything if among is None else among.nonzero().flatten()
    learns = learner(
        config, config.baseline, fresh_model(config, labeled.facts, purpose).to(device), labeled.images, log
    )
    images, labels = learns.shown(everything, device, config.baseline.augment), labeled.labels[rows]
    result = train(
        learns.network,
        config.baseline,
        Examples(some_of(images, rows.to(device)), labels.to(device)),
        None,
        num_classes=labeled.facts.num_classes,
        steps_per_epoch=math.ceil(len(rows) / config.baseline.batch_size),
        seed=derive_seed(config.seed, purpose),
    )
    learns.network.load_state_dict(result.weights)
    questions = images[(everything[:0] if asked is None else asked).to(device)]
    said = predict_log_probabilities(learns.network, questions) if len(questions) else torch.empty(0, 0)
    return learns.weights(result.weights), said


def hold_out_on_rungs(config: PipelineConfig, labeled: Labeled, folds: Sequence[Tensor], log: StageLog) -> list[Rung]:
    """Every rung's log-probabilities of images that it did not learn from, as long as `choose.budget` lasts.

    `folds` are bool (n,), each image in one of them.
    """
    left = Budget.parse(config.choose.budget).amount
    found = []
    for name in RUNGS:
        rung = _hold_out(on_rung(config, name), name, labeled, folds, left, log)
        found.append(rung)
        left -= rung.seconds if rung.log_probabilities is not None else 0
        if rung.why_not:
            log.info(f"{name} is left out: {rung.why_not}")
    return found


def _hold_out(  # noqa: PLR0917
    config: PipelineConfig, name: str, labeled: Labeled, folds: Sequence[Tensor], left: float, log: StageLog
) -> Rung:
    began = time.process_time()
    try:
        estimate = len(folds) * _seconds(config, labeled, log)
    except UserError as error:  # the network has no such blocks, or what is kept does not fit the cache
        return Rung(name, None, 0, str(error))
    if estimate > left:
        return Rung(name, None, estimate, f"it takes some {estimate:,.0f} CPU seconds, and {left:,.0f} are left")
    table = torch.zeros(1, len(labeled.labels), labeled.facts.num_classes)
    for number, held in enumerate(folds):
        _, said = fit_on_rung(
            config, labeled, log, f"{name} fold {number}", among=~held, asked=held.nonzero().flatten()
        )
        table[0, held] = said
        log.progress(number + 1, len(folds), f"{name}, held-out labels")
    return Rung(name, table, time.process_time() - began)


def _seconds(config: PipelineConfig, labeled: Labeled, log: StageLog) -> float:
    """CPU seconds of one training, by its first steps; what is kept of the images is computed by then."""
    budget = Budget.parse(config.baseline.budget) if config.baseline.budget else None
    if budget and budget.unit != "steps":
        return budget.amount
    steps = (
        budget.amount
        if budget
        else config.baseline.epochs * math.ceil(len(labeled.labels) / config.baseline.batch_size)
    )
    few = config.model_copy(
        update={"baseline": config.baseline.model_copy(update={"epochs": 1, "budget": f"{TIMED_STEPS} steps"})}
    )

    def timed(call: Callable[[], Any]) -> float:
        began = time.process_time()
        call()
        return time.process_time() - began

    def first_steps() -> None:
        fit_on_rung(few, labeled, log, "first steps")

    first_steps()
    return steps / TIMED_STEPS * timed(first_steps)


def climb(config: PipelineConfig, name: str, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """Train the baseline on a rung, with all labels; leaves what the baseline's training leaves, without a history."""
    began, config = time.monotonic(), on_rung(config, name)
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    weights, _ = fit_on_rung(config, Labeled.of(config, split, facts), log, "baseline")
    save_model(config, facts, weights, out_dir, stage="baseline")
    summary = {
        "fit": name,
        "labels": len(split.ids("labeled")),
        "held_out_accuracy": read_choice(inputs["choose"])["kept"]["baseline_validation_accuracy"],
    }
    write_json(out_dir / "training.json", summary)
    write_json(out_dir / "timings.json", {"seconds": time.monotonic() - began})
    log.metrics({"labels": summary["labels"], "held_out_accuracy": summary["held_out_accuracy"]})
    log.info(
        f"{name}: trained on {summary['labels']:,} labels; {summary['held_out_accuracy']:.1%} of the labels right when "
        "held out"
    )
