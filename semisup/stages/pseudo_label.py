"""Stage `pseudo_label`: the frozen teacher labels every unlabelled image, in every round anew, into the ledger."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semisup.checks import pseudo_label_warnings
from semisup.config import PipelineConfig
from semisup.data.datasets import UNLABELED, ImageSet
from semisup.data.split import Split
from semisup.errors import UserError
from semisup.evaluation import accuracy_interval
from semisup.plots import confidence_histogram, picture_grid, save_png
from semisup.pseudo_labels.ledger import build_ledger, pick_examples
from semisup.stages import StageLog
from semisup.stages.files import DatasetFacts, load_model, pick_device, pool_of, read_json, weights_digest, write_json
from semisup.training.predict import predict_probabilities

EXAMPLES_PER_GROUP = 12
TEACHERS = {"baseline": "baseline", "joint": "student"}
"""Training stage → what its model is called in the ledger."""


def run(config: PipelineConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """Leaves the ledger `pseudo_labels.parquet`, `summary.json`, `audit.parquet`, a histogram and the picture grid.

    `teacher` among the inputs is the folder of a training stage: the baseline, the student of the round before or, in
    the first round, a champion of old. `previous` is this stage's folder of the round before.

    Raises:
        UserError: the teacher knows other classes or other images.
    """
    device = pick_device(config)
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    teacher = name_teacher(config, inputs["teacher"], facts)
    previous = inputs.get("previous")
    pool = pool_of(config)
    indices = split.indices("unlabeled")
    probabilities = predict_probabilities(
        load_model(inputs["teacher"]).to(device),
        pool.images[indices],
        config.pseudo_label.batch_size,
        on_batch=lambda done, total: log.progress(done, total, "images"),
    )
    ledger = build_ledger(
        split.ids("unlabeled"),
        indices.numpy(),
        probabilities.numpy(),
        threshold=config.pseudo_label.threshold,
        teacher=teacher,
        previous=pd.read_parquet(previous / "pseudo_labels.parquet") if previous else None,
    )
    ledger.to_parquet(out_dir / "pseudo_labels.parquet", index=False)
    # An audit, after the ledger is written: nothing below can change a label.
    truth = pool.labels[indices].numpy()
    earlier = read_json(previous / "summary.json")["rounds"] if previous else []
    summary = audit(ledger, truth, config.pseudo_label.threshold, facts.num_classes, earlier)
    write_json(out_dir / "summary.json", summary)
    pd.DataFrame({"id": ledger["id"], "truth": truth}).to_parquet(out_dir / "audit.parquet", index=False)
    _save_pictures(config, pool, ledger, truth, out_dir)
    _report(summary, facts, log)


def name_teacher(config: PipelineConfig, folder: Path, facts: DatasetFacts) -> str:
    """What the teacher was and which, "baseline:DIGEST" or "student:DIGEST"; a champion is one of them.

    Raises:
        UserError: the teacher knows other classes or other images than those of the data set.
    """
    model = read_json(folder / "model.json")
    mismatch = _mismatch(model, facts)
    if mismatch:
        raise UserError(
            f"pseudo_label.teacher={config.pseudo_label.teacher!r}: the teacher was made for {mismatch} as in "
            f"data.name={facts.name!r}; use pseudo_label.teacher=baseline, or a promote.model of the same data"
        )
    return f"{TEACHERS[model['stage']]}:{weights_digest(folder)}"


def _mismatch(model: Mapping[str, Any], facts: DatasetFacts) -> str | None:
    """What a model was made for and what the data set has instead, or None where they agree."""
    shapes, names = (model["image_shape"], facts.image_shape), (model["class_names"], facts.class_names)
    theirs, ours = ("×".join(str(size) for size in shape) for shape in shapes)
    if theirs != ours:
        return f"images of {theirs} (C×H×W), not {ours}"
    if len(names[0]) != len(names[1]):
        return f"{len(names[0])} classes, not {len(names[1])}"
    for number, (their_name, our_name) in enumerate(zip(*names, strict=True)):
        if their_name != our_name:
            return f"class {number} {their_name!r}, not {our_name!r}"
    return None


def audit(
    ledger: pd.DataFrame,
    truth: NDArray[np.int64],
    threshold: float,
    num_classes: int,
    earlier: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Coverage and, where the truth (N,) is known, precision of a ledger, as `summary.json` holds it.

    `earlier` are the `rounds` of the round before, to which this one's own line is added.
    """
    accepted = ledger["accepted"].to_numpy()
    labels = ledger["label"].to_numpy()
    known = accepted & (truth != UNLABELED)
    right = known & (labels == truth)
    precision = accuracy_interval(int(right.sum()), int(known.sum())) if known.any() else None
    known_per_class = np.bincount(labels[known], minlength=num_classes)
    right_per_class = np.bincount(labels[right], minlength=num_classes)
    round_number = int(ledger["round"].iloc[0])
    this_round = {
        "round": round_number,
        "accepted": int(accepted.sum()),
        "newly_accepted": int((ledger["accepted_round"] == round_number).sum()),
        "flipped": int(ledger["flipped"].sum()),
        "precision": precision.estimate if precision else None,
    }
    return this_round | {
        "threshold": threshold,
        "unlabeled": len(ledger),
        "coverage": float(accepted.mean()),
        "accepted_per_class": np.bincount(labels[accepted], minlength=num_classes).tolist(),
        "precision_low": precision.low if precision else None,
        "precision_high": precision.high if precision else None,
        "precision_per_class": [
            int(r) / int(k) if k else None for r, k in zip(right_per_class, known_per_class, strict=True)
        ],
        "rounds": [*earlier, this_round],
    }


def _save_pictures(
    config: PipelineConfig, pool: ImageSet, ledger: pd.DataFrame, truth: NDArray[np.int64], out_dir: Path
) -> None:
    threshold = config.pseudo_label.threshold
    correct = (ledger["label"].to_numpy() == truth) if (truth != UNLABELED).all() else None
    histogram = confidence_histogram(ledger["confidence"].to_numpy(), ledger["accepted"].to_numpy(), threshold, correct)
    save_png(histogram, out_dir / "confidence_histogram.png")
    rows, groups = pick_examples(ledger, threshold, EXAMPLES_PER_GROUP, seed=config.seed)
    chosen = ledger.iloc[rows]
    images = pool.images[chosen["index"].to_numpy().copy()].numpy()
    examples = pd.DataFrame(
        {
            "group": groups,
            "label": chosen["label"].to_numpy(),
            "confidence": chosen["confidence"].to_numpy(),
            "truth": truth[rows],
        }
    )
    np.savez_compressed(out_dir / "examples.npz", images=images)
    examples.to_parquet(out_dir / "examples.parquet", index=False)
    grid = picture_grid(
        images,
        examples["label"].to_numpy(),
        examples["confidence"].to_numpy(),
        examples["truth"].to_numpy(),
        groups,
        pool.class_names,
    )
    save_png(grid, out_dir / "picture_grid.png")


def _report(summary: Mapping[str, Any], facts: DatasetFacts, log: StageLog) -> None:
    names = ("coverage", "accepted", "unlabeled", "round", "flipped", "newly_accepted")
    figures = {name: summary[name] for name in names}
    figures |= {
        f"accepted_per_class.{name}": count
        for name, count in zip(facts.class_names, summary["accepted_per_class"], strict=True)
    }
    text = f"accepted {summary['accepted']:,} of {summary['unlabeled']:,} images ({summary['coverage']:.1%})"
    if summary["precision"] is not None:
        figures |= {name: summary[name] for name in ("precision", "precision_low", "precision_high")}
        text += f", {summary['precision']:.2%} of them right"
    if summary["round"] > 1:
        text = f"round {summary['round']}: {text}; {summary['newly_accepted']:,} accepted for the first time"
        text += f", {summary['flipped']:,} labels changed"
    log.metrics(figures)
    log.info(text)
    for warning in pseudo_label_warnings(summary):
        log.warning(warning)
