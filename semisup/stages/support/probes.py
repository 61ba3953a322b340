"""What the training stages do upon a frozen network, in place of steps: solve for the best probe."""

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from semisup.config import PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.frozen.learning import spread_labels, student_probe, supervised_probe
from semisup.pipeline.log import StageLog
from semisup.stages.support.frozen import CHOICE, EMBEDDING, as_probe, frozen_pool, read_choice, read_embedding
from semisup.stages.support.models.saved import save_model
from semisup.system.json_files import write_json
from semisup.wording import counted


def fit_baseline(config: PipelineConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """The probe of all labeled images; leaves what the baseline's training leaves, without a history."""
    config = as_probe(config)
    began = time.monotonic()
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    pool, embedding = frozen_pool(config, split, facts, log), read_embedding(inputs["choose"])
    strength = float(read_choice(inputs["choose"])["strengths"]["baseline"])
    probe = supervised_probe(pool.points(embedding), strength)
    save_model(
        config,
        facts,
        pool.with_probe(embedding, probe),
        out_dir,
        stage="baseline",
        predicted_by=pool.model.predicted_by,
    )
    _tell(_summary("baseline", inputs, strength, len(pool.labels)), began, out_dir, log)


def fit_student(
    config: PipelineConfig,
    inputs: Mapping[str, Path],
    pseudo_labels: pd.DataFrame,
    out_dir: Path,
    log: StageLog,
    *,
    weigh: Callable[[Tensor, int], Tensor],
) -> None:
    """The probe of all labeled images and of pseudo-labeled ones; leaves what the student's training leaves.

    Args:
        pseudo_labels: index (in the pool), label, confidence, of the unlabeled images that it learns from.
        weigh: (confidence (n,), classes) → weights (n,) of the pseudo-labels.
    """
    began, config = time.monotonic(), as_probe(config)
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    pool, embedding = frozen_pool(config, split, facts, log), read_embedding(inputs["choose"])
    index, label, confidence = (
        torch.from_numpy(pseudo_labels[name].to_numpy().copy()) for name in ("index", "label", "confidence")
    )
    weights = weigh(confidence, facts.num_classes)
    strength = float(read_choice(inputs["choose"])["strengths"]["student"])
    probe = student_probe(pool.points(embedding, index), label, config.joint.alpha_final * weights, strength)
    save_model(
        config, facts, pool.with_probe(embedding, probe), out_dir, stage="joint", predicted_by=pool.model.predicted_by
    )
    summary = _summary("student", inputs, strength, len(pool.labels), judged=config.judged_by_labels)
    summary |= {"pseudo_labels": len(weights), "pseudo_label_weight": float(weights.sum())}
    _tell(summary, began, out_dir, log)


def graph_predictions(
    config: PipelineConfig, inputs: Mapping[str, Path], split: Split, facts: DatasetFacts, log: StageLog
) -> tuple[Tensor, Tensor]:
    """What the graph says: log-probabilities of the unlabeled images (m, C), and of the calibration images (k, C).

    Both are images without a label to the graph, and the same graph, whoever asks.
    """
    pool = frozen_pool(config, split, facts, log)
    without_label = torch.cat([pool.unlabeled, split.indices("calibration")])
    points = pool.points(read_embedding(inputs["choose"]), without_label)
    log.info(
        f"labels spread from {counted(len(pool.labels), 'image')} to {len(without_label):,} on the graph of neighbors"
    )
    said = spread_labels(points.graph(), points, read_choice(inputs["choose"])["temperature"])
    logs = torch.from_numpy(said[len(pool.labels) :]).clamp(min=torch.finfo(torch.float32).tiny).log()
    return logs[: len(pool.unlabeled)], logs[len(pool.unlabeled) :]


def graph_digest(folder: Path) -> str:
    """First 12 hexadecimal digits of the SHA-256 of what `choose` left for the graph."""
    content = (folder / EMBEDDING).read_bytes() + (folder / CHOICE).read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]


def _summary(
    model: str, inputs: Mapping[str, Path], strength: float, labels: int, *, judged: bool = True
) -> dict[str, Any]:
    """What `training.json` says; `judged`: did `choose` hold labels out for such a model?"""
    summary: dict[str, Any] = {"fit": "probe", "inverse_regularization": strength, "labels": labels}
    if judged:
        summary |= {"held_out_accuracy": read_choice(inputs["choose"])["kept"][f"{model}_validation_accuracy"]}
    return summary


def _tell(summary: Mapping[str, Any], began: float, out_dir: Path, log: StageLog) -> None:
    write_json(out_dir / "training.json", summary)
    write_json(out_dir / "timings.json", {"seconds": time.monotonic() - began})
    log.metrics({name: value for name, value in summary.items() if name != "fit"})
    pseudo = f" and {counted(summary['pseudo_labels'], 'pseudo-label')}" if "pseudo_labels" in summary else ""
    held_out = summary.get("held_out_accuracy")
    judged = "" if held_out is None else f"; {held_out:.1%} of the labels right when held out"
    log.info(
        f"a probe of {counted(summary['labels'], 'label')}{pseudo}, C = {summary['inverse_regularization']:g}{judged}"
    )
