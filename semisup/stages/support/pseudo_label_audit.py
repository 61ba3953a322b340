"""What became of a pass over unlabeled images: figures, pictures and warnings, made when no label can change."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semisup.calibration.words import THRESHOLD_NAMES
from semisup.checks.warnings import expected_words, final_label_warnings, pseudo_label_warnings
from semisup.config import PipelineConfig
from semisup.data.datasets import UNLABELED, ImageSet
from semisup.data.facts import DatasetFacts
from semisup.data.roles.growing import read_memory
from semisup.data.roles.known_roles import contents_of
from semisup.data.roles.split import Split
from semisup.evaluation.drift import Drift, measure_drift
from semisup.evaluation.expected import Expected
from semisup.evaluation.scores import accuracy_interval
from semisup.open_world.words import known_truths
from semisup.pipeline.log import StageLog
from semisup.plots import answer_drift, confidence_histogram, group_grid, picture_grid, save_png
from semisup.pseudo_labels import TABLE_FILE
from semisup.pseudo_labels.table import pick_examples
from semisup.stages.support.teacher_predictions import TeacherPredictions
from semisup.system.json_files import read_json, write_json
from semisup.wording import counted

EXAMPLES_PER_GROUP = 12
GROUPS_SHOWN = 8
"""Of unknown images, the largest ones."""
AUDITED = ["index", "label", "confidence", "accepted", "reason", "round", "accepted_round", "flipped"]


def audit_all(
    config: PipelineConfig,
    inputs: Mapping[str, Path],
    out_dir: Path,
    log: StageLog,
    *,
    split: Split,
    facts: DatasetFacts,
    pool: ImageSet,
    threshold: float,
    kind: str,
    named: NDArray[np.bool_],
    unknown: Mapping[str, Any] | None = None,
    alike: Sequence[NDArray[np.int64]] = (),
    alignment: Mapping[str, Any] | None = None,
    expected: Expected | None = None,
) -> None:
    """Hold a stage's pseudo-labels against the truth, where that is known: summary, audit table, pictures, warnings.

    `threshold` is the least confidence, and `kind` how it was found: fixed, certified or fallback. `named` (N,) as in
    :func:`audit`; `unknown` is what was found to be of none of the classes, of which `alike` are rows of examples of
    each group; `alignment` which class shares
    probabilities were scaled to, `expected` what validation images say of the labels.
    """
    pseudo_labels = pq.read_table(out_dir / TABLE_FILE, columns=AUDITED, read_dictionary=["reason"]).to_pandas()
    truth = pool.labels[split.indices("unlabeled")].numpy()
    earlier = read_json(inputs["previous"] / "summary.json")["rounds"] if "previous" in inputs else []
    picked = facts.class_counts["validation" if any(facts.class_counts["validation"]) else "labeled"]
    summary = audit(pseudo_labels, truth, threshold, facts.num_classes, earlier, named=named)
    summary |= {"threshold_kind": kind, "class_names": list(facts.class_names), "validation_per_class": list(picked)}
    if unknown is not None:
        summary["unknown"] = dict(unknown)
        _save_groups(pool, pseudo_labels, alike, unknown["groups"], out_dir)
    if alignment is not None:
        summary["alignment"] = dict(alignment)
    if expected is not None:
        summary["expected"] = asdict(expected)
        if expected.precision is not None:
            summary["expected"] |= {"precision": asdict(expected.precision)}
    write_json(out_dir / "summary.json", summary)
    table = pa.table({"id": pa.array(split.id_column("unlabeled"), pa.string()), "truth": truth})
    pq.write_table(table, out_dir / "audit.parquet")
    _save_pictures(pool, pseudo_labels, truth, out_dir, threshold=threshold, seed=config.seed)
    _report(summary, facts, log)
    for warning in final_label_warnings(summary) if "kept" in inputs else pseudo_label_warnings(summary, config.joint):
        log.warning(warning)


def look_for_drift(
    config: PipelineConfig,
    inputs: Mapping[str, Path],
    out_dir: Path,
    log: StageLog,
    *,
    predictions: TeacherPredictions,
    ids: Sequence[str],
    facts: DatasetFacts,
) -> None:
    """Are images that the split before did not know like the others? Figures, a picture, perhaps a warning."""
    new = ~read_memory(inputs["before"]).have(contents_of(ids))
    found = measure_drift((predicted.probabilities for predicted in predictions), new)
    if found is not None:
        _tell_drift(found, config.pseudo_label.drift_limit, log)
        pseudo_labels = pd.read_parquet(out_dir / TABLE_FILE, columns=["label", "confidence"])
        confidence, labels = pseudo_labels["confidence"].to_numpy(), pseudo_labels["label"].to_numpy()
        save_png(answer_drift(confidence, labels, new, facts.class_names), out_dir / "drift.png")


def audit(
    pseudo_labels: pd.DataFrame,
    truth: NDArray[np.int64],
    threshold: float,
    num_classes: int,
    earlier: Sequence[Mapping[str, Any]] = (),
    *,
    named: NDArray[np.bool_],
) -> dict[str, Any]:
    """Coverage and, where the truth (N,) of all accepted images is known, precision, as in `summary.json`.

    Where the truth of some is known, these are counted and no more: they are seldom a sample of the others. `earlier`
    are the `rounds` of the round before, to which this one's own line is added. `named` (N,) are the images that their
    folder or manifest calls unlabeled.
    """
    accepted = pseudo_labels["accepted"].to_numpy()
    labels = pseudo_labels["label"].to_numpy()
    of_classes = (pseudo_labels["reason"] != "unknown").to_numpy()
    rejected = pseudo_labels["reason"][~accepted].astype(str).value_counts()
    known = accepted & (truth != UNLABELED)
    right = known & (labels == truth)
    all_known = bool(accepted.any()) and bool(known.sum() == accepted.sum())
    precision = accuracy_interval(int(right.sum()), int(known.sum())) if all_known else None
    known_per_class = np.bincount(labels[known], minlength=num_classes)
    right_per_class = np.bincount(labels[right], minlength=num_classes)
    round_number = int(pseudo_labels["round"].iloc[0])
    this_round = {
        "round": round_number,
        "accepted": int(accepted.sum()),
        "newly_accepted": int((pseudo_labels["accepted_round"] == round_number).sum()),
        "flipped": int(pseudo_labels["flipped"].sum()),
        "precision": precision.estimate if precision else None,
    }
    return this_round | {
        "threshold": threshold,
        "unlabeled": len(pseudo_labels),
        "coverage": float(accepted.mean()),
        "accepted_per_class": np.bincount(labels[accepted], minlength=num_classes).tolist(),
        "predicted_per_class": np.bincount(labels[of_classes], minlength=num_classes).tolist(),
        "reasons": {str(reason): int(count) for reason, count in sorted(rejected.items())},
        "precision_low": precision.low if precision else None,
        "precision_high": precision.high if precision else None,
        "precision_per_class": [
            int(r) / int(k) if k and all_known else None for r, k in zip(right_per_class, known_per_class, strict=True)
        ],
        "known": int(known.sum()),
        "known_right": int(right.sum()),
        "from_unlabeled": int((accepted & named).sum()),
        "known_from_unlabeled": int((known & named).sum()),
        "rounds": [*earlier, this_round],
    }


def _tell_drift(found: Drift, limit: float, log: StageLog) -> None:
    """Are the unlabeled images that have come since like the others? Figures, of which no stage reads."""
    log.metrics({f"drift.{name}": value for name, value in asdict(found).items()})
    if found.beyond(limit):
        log.warning(
            f"the {counted(found.new, 'new image differs', 'new images differ')} from the {found.known:,} known ones "
            f"(pseudo_label.drift_limit={limit:g}): predicted classes by {found.class_distance:.2f}, confidence by "
            f"{found.confidence_distance:.2f} (mean {found.new_confidence:.1%} against {found.known_confidence:.1%}); "
            "look at drift.png, and label some of them"
        )


def _save_pictures(
    pool: ImageSet, pseudo_labels: pd.DataFrame, truth: NDArray[np.int64], out_dir: Path, *, threshold: float, seed: int
) -> None:
    correct = (pseudo_labels["label"].to_numpy() == truth) if (truth != UNLABELED).all() else None
    histogram = confidence_histogram(
        pseudo_labels["confidence"].to_numpy(), pseudo_labels["accepted"].to_numpy(), threshold, correct
    )
    save_png(histogram, out_dir / "confidence_histogram.png")
    rows, groups = pick_examples(pseudo_labels, threshold, EXAMPLES_PER_GROUP, seed=seed)
    chosen = pseudo_labels.iloc[rows]
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


def _save_groups(
    pool: ImageSet,
    pseudo_labels: pd.DataFrame,
    alike: Sequence[NDArray[np.int64]],
    sizes: Sequence[int],
    out_dir: Path,
) -> None:
    """Pictures of the groups of unknown images, a few of each."""
    if not alike:
        return
    shown = alike[:GROUPS_SHOWN]
    rows = np.concatenate(shown)
    images = pool.images[pseudo_labels["index"].to_numpy()[rows].copy()].numpy()
    groups = np.repeat(np.arange(1, len(shown) + 1), [len(each) for each in shown])
    np.savez_compressed(out_dir / "unknown_groups.npz", images=images)
    table = pd.DataFrame({"group": groups, "size": np.array(sizes)[groups - 1]})
    table.to_parquet(out_dir / "unknown_groups.parquet", index=False)
    save_png(group_grid(images, groups, sizes), out_dir / "unknown_groups.png")


def _report(summary: Mapping[str, Any], facts: DatasetFacts, log: StageLog) -> None:
    names = ("coverage", "accepted", "unlabeled", "threshold", "round", "flipped", "newly_accepted")
    figures = {name: summary[name] for name in names}
    figures |= {
        f"accepted_per_class.{name}": count
        for name, count in zip(facts.class_names, summary["accepted_per_class"], strict=True)
    }
    figures |= {f"rejected.{reason}": count for reason, count in summary["reasons"].items()}
    text = f"accepted {summary['accepted']:,} of {counted(summary['unlabeled'], 'image')} ({summary['coverage']:.1%})"
    if summary["threshold_kind"] != "fixed":
        text += f" at the {THRESHOLD_NAMES[summary['threshold_kind']]} {summary['threshold']:.4f}"
    if summary["precision"] is not None:
        figures |= {name: summary[name] for name in ("precision", "precision_low", "precision_high")}
        text += f", {summary['precision']:.1%} of them right"
    elif summary["known"]:
        text += f"; {known_truths(summary)}"
    if summary["round"] > 1:
        text = f"round {summary['round']}: {text}; {summary['newly_accepted']:,} accepted for the first time"
        text += f", {counted(summary['flipped'], 'label')} changed"
    if found := summary.get("expected"):
        text += f"; {expected_words(found)}"
        if precision := found.get("precision"):
            figures |= {
                "validation_precision": precision["estimate"],
                "validation_precision_low": precision["low"],
                "validation_precision_high": precision["high"],
            }
    log.metrics(figures)
    log.info(text)
