"""Stage `pseudo_label`: the frozen teacher labels every unlabelled image once, into the ledger."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semisup.checks import pseudo_label_warnings
from semisup.config import PipelineConfig
from semisup.data.datasets import UNLABELED, ImageSet
from semisup.data.split import Split
from semisup.evaluation import accuracy_interval
from semisup.plots import confidence_histogram, picture_grid, save_png
from semisup.pseudo_labels.ledger import build_ledger, pick_examples
from semisup.stages import StageLog
from semisup.stages.files import DatasetFacts, load_model, pick_device, pool_of, weights_digest, write_json
from semisup.training.predict import predict_probabilities

GROUPS = ("accepted", "borderline", "rejected")
EXAMPLES_PER_GROUP = 12


def run(config: PipelineConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """Leaves the ledger `pseudo_labels.parquet`, `summary.json`, `audit.parquet`, a histogram and the picture grid."""
    device = pick_device(config)
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    pool = pool_of(config)
    indices = split.indices("unlabeled")
    probabilities = predict_probabilities(
        load_model(inputs["baseline"]).to(device),
        pool.images[indices],
        config.pseudo_label.batch_size,
        on_batch=lambda done, total: log.progress(done, total, "images"),
    )
    ledger = build_ledger(
        split.ids("unlabeled"),
        indices.numpy(),
        probabilities.numpy(),
        threshold=config.pseudo_label.threshold,
        teacher=f"baseline:{weights_digest(inputs['baseline'])}",
    )
    ledger.to_parquet(out_dir / "pseudo_labels.parquet", index=False)
    # An audit, after the ledger is written: nothing below can change a label.
    truth = pool.labels[indices].numpy()
    summary = audit(ledger, truth, config.pseudo_label.threshold, facts.num_classes)
    write_json(out_dir / "summary.json", summary)
    pd.DataFrame({"id": ledger["id"], "truth": truth}).to_parquet(out_dir / "audit.parquet", index=False)
    _save_pictures(config, pool, ledger, truth, out_dir)
    _report(summary, facts, log)


def audit(ledger: pd.DataFrame, truth: NDArray[np.int64], threshold: float, num_classes: int) -> dict[str, Any]:
    """Coverage and, where the truth (N,) is known, precision of a ledger, as `summary.json` holds it."""
    accepted = ledger["accepted"].to_numpy()
    labels = ledger["label"].to_numpy()
    known = accepted & (truth != UNLABELED)
    right = known & (labels == truth)
    precision = accuracy_interval(int(right.sum()), int(known.sum())) if known.any() else None
    known_per_class = np.bincount(labels[known], minlength=num_classes)
    right_per_class = np.bincount(labels[right], minlength=num_classes)
    return {
        "threshold": threshold,
        "unlabeled": len(ledger),
        "accepted": int(accepted.sum()),
        "coverage": float(accepted.mean()),
        "accepted_per_class": np.bincount(labels[accepted], minlength=num_classes).tolist(),
        "precision": precision.estimate if precision else None,
        "precision_low": precision.low if precision else None,
        "precision_high": precision.high if precision else None,
        "precision_per_class": [
            int(r) / int(k) if k else None for r, k in zip(right_per_class, known_per_class, strict=True)
        ],
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
    figures = {"coverage": summary["coverage"], "accepted": summary["accepted"], "unlabeled": summary["unlabeled"]}
    figures |= {
        f"accepted_per_class.{name}": count
        for name, count in zip(facts.class_names, summary["accepted_per_class"], strict=True)
    }
    text = f"accepted {summary['accepted']:,} of {summary['unlabeled']:,} images ({summary['coverage']:.1%})"
    if summary["precision"] is not None:
        figures |= {name: summary[name] for name in ("precision", "precision_low", "precision_high")}
        text += f", {summary['precision']:.2%} of them right"
    log.metrics(figures)
    log.info(text)
    for warning in pseudo_label_warnings(summary):
        log.warning(warning)
