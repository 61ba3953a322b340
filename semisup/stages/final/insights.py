"""What stage `evaluate` leaves for people beside the scores: reference lines, errors and neighbors to look at."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from semisup.config import PipelineConfig
from semisup.data.datasets import ImageSet
from semisup.data.own_images import own_images
from semisup.data.own_images.images import units_at
from semisup.data.own_images.recipes import suits_pretrained
from semisup.data.roles.split import Split
from semisup.data.rows import Rows, gather
from semisup.frozen.embedding import Embedding, embed
from semisup.frozen.learning import Points, deal_partitions, hold_out_supervised, share_right
from semisup.networks.classifier import Classifier
from semisup.pipeline.log import StageLog
from semisup.pseudo_labels import TABLE_FILE
from semisup.pseudo_labels.table import pick_examples
from semisup.stages.support.features import features_of
from semisup.stages.support.frozen import read_choice, read_embedding
from semisup.stages.support.pseudo_label_audit import EXAMPLES_PER_GROUP
from semisup.system.json_files import read_json
from semisup.system.randomness import numpy_generator

MOST_ERRORS = 12
MOST_ASKED, NEIGHBORS = 6, 4
"""Borderline labels whose neighbors are shown, and how many of them each."""
MOST_LEARNED = 5_000
"""Images, labeled ones first, that references learn from: a pass over more would take minutes, not seconds."""
HALVES, REPETITIONS = 2, 3
NORMAL_95 = 1.96


def look_closer(  # noqa: PLR0917 -- what the stage has at hand
    model: torch.nn.Module,
    test: ImageSet,
    pool: ImageSet,
    split: Split,
    config: PipelineConfig,
    inputs: Mapping[str, Path],
    out_dir: Path,
    log: StageLog,
    *,
    kept: str,
) -> dict[str, Any]:
    """Leaves `errors.*` and, of runs with features, `neighbors.*`; more of them comes back, for `metrics.json`.

    Keys: `input`, where that is known; `references` and `labels_worth`, of runs with features. `model` is the one to
    keep, which is called `kept`.
    """
    _leave_images(out_dir / "errors", *_errors(test, pd.read_parquet(out_dir / "predictions.parquet"), kept))
    looks = config.data.facts.own_images and config.data.features is None
    found: dict[str, Any] = {"input": _input(config)} if looks else {}
    if not (isinstance(model, Classifier) and model.frozen):
        return found
    features = features_of(config, model, pool, "pool", log)
    if len(split.ids("labeled")) <= MOST_LEARNED:
        of_test = features_of(config, model, test, "test", log)
        found["references"] = _references(features, of_test, split, test, config)
    embedding = None
    if "choose" in inputs:
        found["labels_worth"] = _worth_of_labels(features, split, len(pool.class_names), config, inputs["choose"])
        embedding = read_embedding(inputs["choose"])
    pseudo_labels = pd.read_parquet(inputs["labels"] / TABLE_FILE, columns=["index", "label", "confidence", "accepted"])
    asked = _borderline(pseudo_labels, read_json(inputs["labels"] / "summary.json")["threshold"], config.seed)
    rows, table = _neighbors(features, embedding, asked, split)
    _leave_images(out_dir / "neighbors", gather(pool.images, rows.flatten()).numpy(), table)
    return found


def nearest_labeled(asked: Tensor, labeled: Tensor, k: int = NEIGHBORS) -> tuple[Tensor, Tensor]:
    """Rows of the k labeled images (n, d) that are nearest to each asked one (q, d), int64 (q, k), and their cosines.

    The nearest comes first; k is cut to n.
    """
    cosines = F.normalize(asked.float()) @ F.normalize(labeled.float()).T
    best = cosines.topk(min(k, len(labeled)), dim=1)
    return best.indices, best.values


def _neighbors(
    features: Tensor, embedding: Embedding | None, asked: pd.DataFrame, split: Split
) -> tuple[Tensor, pd.DataFrame]:
    """The pool's rows of each asked image and its k nearest labeled ones (q, 1 + k), and a line for each neighbor.

    Columns: asked, from 0; the asked image's label and confidence; neighbor_label; cosine.
    """
    own, labeled = torch.from_numpy(asked["index"].to_numpy().copy()), split.indices("labeled")
    points = [gather(features, rows) for rows in (own, labeled)]
    near, cosines = nearest_labeled(*(points if embedding is None else map(embedding, points)))
    k = near.shape[1]
    table = {
        "asked": np.repeat(np.arange(len(own)), k),
        "label": np.repeat(asked["label"].to_numpy(), k),
        "confidence": np.repeat(asked["confidence"].to_numpy(), k),
        "neighbor_label": split.labels("labeled")[near].flatten().numpy(),
        "cosine": cosines.flatten().numpy(),
    }
    return torch.cat([own[:, None], labeled[near]], dim=1), pd.DataFrame(table)


def _leave_images(stem: Path, images: NDArray[np.uint8], table: pd.DataFrame) -> None:
    np.savez_compressed(stem.with_suffix(".npz"), images=images)
    table.to_parquet(stem.with_suffix(".parquet"), index=False)


def _errors(test: ImageSet, said: pd.DataFrame, kept: str) -> tuple[NDArray[np.uint8], pd.DataFrame]:
    """The test images of which the kept model is surest and wrong: pixels, and id, label, confidence, truth."""
    told = said[["id", "truth"]].assign(label=said[f"{kept}_label"], confidence=said[f"{kept}_confidence"])
    wrong = told[told["label"] != told["truth"]].sort_values("confidence", ascending=False, kind="stable")
    wrong = wrong.head(MOST_ERRORS)
    return gather(test.images, torch.from_numpy(wrong.index.to_numpy().copy())).numpy(), wrong


def _input(config: PipelineConfig) -> dict[str, Any]:
    """Of one's own images; the sides are the shorter ones, in pixels.

    Keys: seen, what images are decoded with; center_crop, as in the config; files, the usual file; from_nothing, does
    a network without pretrained weights look at photographs that one would know something of?
    """
    files = own_images(config.data).files
    sides = files.loc[files["row"] >= 0, ["width", "height"]].min(axis=1)
    photographs = suits_pretrained(config.data.channels, sides.tolist())
    return {
        "seen": min(config.data.size),
        "center_crop": config.model.center_crop,
        "files": int(sides.median()),
        "from_nothing": photographs and not config.model.pretrained,
    }


def _references(
    features: Tensor, of_test: Tensor, split: Split, test: ImageSet, config: PipelineConfig
) -> dict[str, Any]:
    from semisup.evaluation.references import Seen, score_references  # with scikit-learn: 100 MB, for a frozen network

    unlabeled, there = split.indices("unlabeled"), len(split.ids("unlabeled"))
    most = MOST_LEARNED - len(split.ids("labeled"))
    if there > most:
        drawn = numpy_generator(config.seed, "references").choice(there, most, replace=False)
        unlabeled = unlabeled[torch.from_numpy(np.sort(drawn))]
    seen = Seen(
        gather(features, split.indices("labeled")).numpy(),
        split.labels("labeled").numpy(),
        gather(features, unlabeled).numpy(),
        gather(of_test, torch.arange(len(of_test))).numpy(),
    )
    return {
        "labeled": len(seen.labels),
        "unlabeled": len(unlabeled),
        "unlabeled_there": there,
        "test": len(seen.test),
        "rows": score_references(seen, test.labels.numpy()),
    }


def _worth_of_labels(
    features: Tensor, split: Split, num_classes: int, config: PipelineConfig, choose: Path
) -> dict[str, Any]:
    """How often the supervised probe is right on labels held out, with half of the others and with those of `choose`.

    Keys: images, half, most, and the difference of the two with its interval over images.
    """
    labels = split.labels("labeled")
    rows = embed(read_embedding(choose), Rows(features, split.indices("labeled")))
    points = Points(rows, labels, rows[:0], num_classes)
    rng = numpy_generator(config.seed, "worth of labels")
    units = units_at(config.data, split.indices("labeled"))
    partitions = list(deal_partitions(labels.numpy(), HALVES, REPETITIONS, rng, units))
    strength = float(read_choice(choose)["strengths"]["baseline"])
    half = share_right(hold_out_supervised(points, partitions, [strength])[1], labels)
    held = pd.read_parquet(choose / "held_out.parquet", columns=["id", "truth", "baseline_label"])
    right = (held["baseline_label"] == held["truth"]).groupby(held["id"]).mean()
    most = right.loc[list(split.ids("labeled"))].to_numpy()
    gain = most - half
    reach = NORMAL_95 * float(gain.std(ddof=1)) / len(gain) ** 0.5 if len(gain) > 1 else 1.0
    ends = {"estimate": float(gain.mean()), "low": float(gain.mean()) - reach, "high": float(gain.mean()) + reach}
    return {"images": len(labels), "half": float(half.mean()), "most": float(most.mean()), "difference": ends}


def _borderline(pseudo_labels: pd.DataFrame, threshold: float, seed: int) -> pd.DataFrame:
    """The labels nearest to the threshold, of those that the picture grid shows as borderline."""
    rows, groups = pick_examples(pseudo_labels, threshold, EXAMPLES_PER_GROUP, seed=seed)
    chosen: pd.DataFrame = pseudo_labels.iloc[rows[np.array(groups) == "borderline"][:MOST_ASKED]]
    return chosen
