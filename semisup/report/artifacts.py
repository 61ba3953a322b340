"""What the stages left, read into memory once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semisup import plots
from semisup.data.tables import read_csv

STAGES = ("split", "baseline", "joint", "labels", "evaluate")
MODELS = {"baseline": "Baseline", "student": "Student"}


@dataclass(frozen=True)
class Calibration:
    """What stage `calibrate` found out about the kept model."""

    figures: Mapping[str, Any]
    """Its `calibration.json`."""
    reliability: pd.DataFrame


@dataclass(frozen=True)
class CompoundExamples:
    """Some compound test images, with their rows of `compound.parquet`."""

    images: NDArray[np.uint8]
    table: pd.DataFrame


@dataclass(frozen=True)
class Shown:
    """Images (N, C, H, W) to look at, and what is to be said of them."""

    images: NDArray[np.uint8]
    table: pd.DataFrame


@dataclass(frozen=True)
class LeftOut:
    """What the data set holds and nothing is learned from; of others than one's own images, nothing."""

    broken: pd.DataFrame
    """path, reason."""
    copies: pd.DataFrame
    """Leaking copies: id, role, copy_of, copy_of_role."""
    copies_removed: bool
    """Or are they used all the same?"""
    same_group: pd.DataFrame
    """Images that were removed for others of their group: id, role, group_with, group_with_role."""


@dataclass(frozen=True)
class Artifacts:
    """What the stages left."""

    dataset: Mapping[str, Any]
    roles: Mapping[str, int]
    """Role → number of images."""
    left_out: LeftOut
    annotations: Mapping[str, int]
    """What annotations came to, in images; empty where there are none."""
    training: Mapping[str, Mapping[str, Any]]
    """Stage → its `training.json`, and the `seconds` of its `timings.json`."""
    history: Mapping[str, pd.DataFrame]
    """Stage → its epochs; none of what was solved for at once."""
    choice: Mapping[str, Any]
    """What stage `choose` left; empty where the pipeline has none."""
    calibration: Calibration | None
    """None where the pipeline has no stage `calibrate`."""
    learned_from: Mapping[str, Any]
    """`summary.json` of the table that the last student learned from; empty where it labeled at every step."""
    confidence: NDArray[np.float32]
    """(N,) of the final labels, in the pseudo-label table's order."""
    accepted: NDArray[np.bool_]
    """(N,): is each sure enough?"""
    summary: Mapping[str, Any]
    """`summary.json` of the final labels."""
    correct: NDArray[np.bool_] | None
    """(N,): is each final label right? None where the truth is not known of all."""
    images: NDArray[np.uint8]
    examples: pd.DataFrame
    metrics: Mapping[str, Any]
    predictions: pd.DataFrame
    """Of the test images: id, truth, and label and confidence of both models."""
    compound: CompoundExamples | None
    """None where no compound images were asked for."""
    errors: Shown | None
    """Test images that the kept model is sure of and wrong about; None where there are none."""
    neighbors: Shown | None
    """Borderline pseudo-labels and their nearest labeled images; None of runs without features."""
    unknown_groups: Shown | None
    """Images of none of the classes that look alike: group, from 1 on, and its size; None where there are none."""

    @property
    def round(self) -> int:
        """Of the last student, from 1."""
        return int(self.learned_from.get("round") or self.training["joint"].get("round", 1))

    @property
    def class_names(self) -> list[str]:
        """In the order of the labels."""
        return list(self.dataset["class_names"])

    def class_counts(self) -> dict[str, list[int] | None]:
        """Role → images per class, None where the truth is not known of every image; roles without images are left out.

        Labeled, validation, unlabeled and test images are always there.
        """
        known = self.dataset["class_counts"]
        counts: dict[str, list[int] | None] = {
            role: known[role] if known.get(role) and sum(known[role]) == self.roles[role] else None
            for role in ("labeled", "validation", "calibration", "unlabeled")
            if role != "calibration" or self.roles[role]
        }
        return counts | {"test": [row["support"] for row in self.metrics["student"]["per_class"]]}


def _choice(folder: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _json(folder / "choice.json")
    return {**found, "cpu_seconds": _json(folder / "timings.json")["cpu_seconds"]}


def read_artifacts(folders: Mapping[str, Path]) -> Artifacts:
    """All that the report tells of, from the folder of each stage.

    Raises:
        FileNotFoundError: a folder lacks one of its files.
    """
    labels, evaluate = folders["labels"], folders["evaluate"]
    pseudo_labels = labels / "pseudo_labels.parquet"
    judged = pq.read_table(pseudo_labels, columns=["confidence", "accepted"])
    with np.load(labels / "examples.npz", allow_pickle=False) as arrays:
        images = arrays["images"]
    split = folders["split"] / "split.parquet"
    counted = pq.read_table(split, columns=["role"], read_dictionary=["role"])["role"].value_counts()
    roles = {count["values"]: count["counts"] for count in counted.to_pylist()}
    return Artifacts(
        dataset=_json(folders["split"] / "dataset.json"),
        roles={role: roles.get(role, 0) for role in plots.ROLES},
        left_out=_left_out(folders["split"], split),
        annotations=_annotations(folders["split"]),
        training={stage: _training(folders[stage]) for stage in ("baseline", "joint")},
        history=_histories(folders),
        choice=_choice(folders["choose"]) if "choose" in folders else {},
        calibration=_calibration(folders.get("calibrate")),
        learned_from=_json(folders["pseudo_label"] / "summary.json") if "pseudo_label" in folders else {},
        confidence=judged["confidence"].to_numpy(),
        accepted=judged["accepted"].to_numpy(),
        summary=_json(labels / "summary.json"),
        correct=_audit(labels / "audit.parquet", pseudo_labels),
        images=images,
        examples=pd.read_parquet(labels / "examples.parquet"),
        metrics=_json(evaluate / "metrics.json"),
        predictions=pd.read_parquet(evaluate / "predictions.parquet"),
        compound=_compound(evaluate),
        errors=_shown(evaluate / "errors"),
        neighbors=_shown(evaluate / "neighbors"),
        unknown_groups=_shown(labels / "unknown_groups"),
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _annotations(split: Path) -> Any:
    """What became of annotations; runs of before called their file otherwise."""
    return _if_there(split / "annotations_applied.json") or _if_there(split / "answers_applied.json")


def _if_there(path: Path) -> Any:
    return _json(path) if path.exists() else {}


def _left_out(folder: Path, split: Path) -> LeftOut:
    """`split` is the table of all images with a role, whose ids are read only where there were copies."""
    broken = _table(folder / "broken_files.csv", ["path", "reason"])
    copies = _table(folder / "duplicates.csv", ["id", "role", "copy_of", "copy_of_role"])
    kept = False
    if len(copies):
        ids = pq.read_table(split, columns=["id"])["id"]
        kept = pc.any(pc.is_in(pa.array(copies["id"], ids.type), value_set=ids)).as_py()
    same_group = _table(folder / "same_group.csv", ["id", "role", "group_with", "group_with_role"])
    return LeftOut(broken, copies, copies_removed=not kept, same_group=same_group)


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    if not path.exists():
        return pd.DataFrame(columns=columns, dtype=str)
    return read_csv(path, str(path))


def _histories(folders: Mapping[str, Path]) -> dict[str, pd.DataFrame]:
    files = {stage: folders[stage] / "history.parquet" for stage in ("baseline", "joint")}
    return {stage: pd.read_parquet(file) for stage, file in files.items() if file.exists()}


def _training(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = _json(folder / "training.json")
    return summary | {"seconds": _json(folder / "timings.json")["seconds"]}


def _calibration(folder: Path | None) -> Calibration | None:
    if folder is None:
        return None
    return Calibration(_json(folder / "calibration.json"), pd.read_parquet(folder / "reliability.parquet"))


def _audit(path: Path, pseudo_labels: Path) -> NDArray[np.bool_] | None:
    """No id is read where some truth is not known, as of most images of one's own: there may be a million."""
    if not path.exists() or _count_known(path) < pq.read_metadata(pseudo_labels).num_rows:
        return None
    audit, labels = pq.read_table(path, columns=["id", "truth"]), pq.read_table(pseudo_labels, columns=["id", "label"])
    known = audit.filter(pc.greater_equal(audit["truth"], 0))
    rows = pc.index_in(labels["id"].cast(known["id"].type), value_set=known["id"])
    if not len(labels) or rows.null_count:
        return None
    right: NDArray[np.bool_] = labels["label"].to_numpy() == known["truth"].to_numpy()[rows.to_numpy()]
    return right


def _count_known(audit: Path) -> int:
    known: int = pc.sum(pc.greater_equal(pq.read_table(audit, columns=["truth"])["truth"], 0)).as_py() or 0
    return known


def _shown(stem: Path) -> Shown | None:
    if not stem.with_suffix(".parquet").exists():
        return None
    table = pd.read_parquet(stem.with_suffix(".parquet"))
    with np.load(stem.with_suffix(".npz"), allow_pickle=False) as arrays:
        return Shown(arrays["images"], table) if len(table) else None


def _compound(folder: Path) -> CompoundExamples | None:
    if not (folder / "compound.parquet").exists():
        return None
    with np.load(folder / "compound_examples.npz", allow_pickle=False) as arrays:
        images, rows = arrays["images"], arrays["rows"]
    return CompoundExamples(images, pd.read_parquet(folder / "compound.parquet").iloc[rows])
