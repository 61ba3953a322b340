"""The pseudo-label table: one row per unlabeled image, saying which label it got and why it was or was not accepted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pandas.api.extensions import ExtensionArray

from semisup.pseudo_labels.curriculum import percentile_threshold
from semisup.system.randomness import numpy_generator

Ids = Sequence[str] | ExtensionArray
"""A list, or a column of a table: of a million images a list takes 100 MB more."""
COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "index": pa.int64(),
    "label": pa.int64(),
    "confidence": pa.float32(),
    "raw_confidence": pa.float32(),
    "margin": pa.float32(),
    "disagreement": pa.float32(),
    "uncertainty": pa.float32(),
    "accepted": pa.bool_(),
    "reason": pa.string(),
    "teacher": pa.string(),
    "round": pa.int64(),
    "accepted_round": pa.int64(),
    "flipped": pa.bool_(),
}
"""Of the file; `build_table` says what they mean."""
FURTHER: dict[str, pa.DataType] = {"negative": pa.list_(pa.int64()), "unknown": pa.float32(), "group": pa.int64()}
"""Columns of some: rounds of UPS have a list of the classes that an image is not, and where images of none of the
classes were looked for, there is the score by which they were told, and the group of those that look alike, from 1 on;
0 of all others."""
FEW_VALUES = ["label", "reason", "teacher", "round", "accepted_round"]
"""Written as a dictionary of their values. One of ids or confidences, nearly each of which is there once, takes twice
the time to write and a third more of the file."""


@dataclass(frozen=True)
class Selection:
    """Which pseudo-labels are accepted: all that pass every test."""

    threshold: float
    """Least confidence."""
    top_share: float | None = None
    """Of the images of each predicted class, the share of the most confident ones (rounded up)."""
    max_disagreement: float | None = None
    """Most disagreement of an ensemble's members."""
    max_uncertainty: float | None = None
    """Most standard deviation over the passes of Monte Carlo dropout."""
    share_per_round: float | None = None
    """In round r this share times r of all images, the most confident ones."""
    refused: str = ""
    """Reason for which none is accepted, whatever it passes."""

    @property
    def compares_images(self) -> bool:
        """Does what is accepted depend on the other images?"""
        return self.top_share is not None or self.share_per_round is not None

    def reasons(
        self,
        labels: NDArray[np.int64],
        confidence: NDArray[np.float32],
        disagreement: NDArray[np.float32] | None,
        *,
        uncertainty: NDArray[np.float32] | None = None,
        round_number: int = 1,
    ) -> NDArray[np.object_]:
        """Why each of N images is rejected, by the first test that it fails; "" where it is accepted.

        Of equally confident images at the edge of a class's share, those that come first are taken.

        Raises:
            ValueError: there is a limit on the disagreement or the uncertainty, but there is none.
        Source of the share per class: Zou et al. 2018, section 3.2 (class-balanced self-training).
        """
        if self.max_disagreement is not None and disagreement is None:
            raise ValueError(f"max_disagreement={self.max_disagreement}, but a single model has no disagreement")
        if self.max_uncertainty is not None and uncertainty is None:
            raise ValueError(f"max_uncertainty={self.max_uncertainty}, but a single pass has no uncertainty")
        reasons = np.full(len(labels), "", dtype=object)  # as text of fixed width, a million would take 96 MB
        if self.top_share is not None:
            for label in np.unique(labels):
                members = np.flatnonzero(labels == label)
                kept = ceil(self.top_share * len(members))
                reasons[members[np.argsort(-confidence[members], kind="stable")[kept:]]] = "beyond_top_share"
        if self.share_per_round is not None:
            least = percentile_threshold(confidence, round_number, self.share_per_round)
            reasons[~(confidence >= np.float32(least))] = "beyond_round_share"
        if self.max_disagreement is not None and disagreement is not None:
            reasons[~(disagreement <= np.float32(self.max_disagreement))] = "disagreement"
        if self.max_uncertainty is not None and uncertainty is not None:
            reasons[~(uncertainty <= np.float32(self.max_uncertainty))] = "uncertain"
        reasons[~(confidence >= np.float32(self.threshold))] = "below_threshold"
        if self.refused:
            reasons[:] = self.refused
        return reasons


def build_table(
    ids: Ids,
    indices: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    *,
    selection: Selection,
    teacher: str,
    raw_confidence: NDArray[np.float32] | None = None,
    disagreement: NDArray[np.float32] | None = None,
    uncertainty: NDArray[np.float32] | None = None,
    previous: pd.DataFrame | None = None,
    reasons: NDArray[np.object_] | None = None,
    unknown: NDArray[np.bool_] | None = None,
) -> pd.DataFrame:
    """The pseudo-label table of N images with probabilities (N, C).

    `previous` is that of the round before, in any order of rows.

    `probabilities` are calibrated where there was a calibration, and `raw_confidence` (N,) is what the teacher said
    before it. `disagreement` (N,) is that of an ensemble, `uncertainty` (N,) that of Monte Carlo dropout. Where the
    images are a part of many, `reasons` (N,) are those of the selection among all. Images that are `unknown` (N,), of
    none of the classes, are not accepted, whatever else speaks for them.

    Columns: id, index (row in the pool), label, confidence (largest probability), raw_confidence, margin (over the
    second largest), disagreement (null for a single model), uncertainty (null for a single pass), accepted, reason (""
    where accepted), teacher, round (from 1), accepted_round (the round that first accepted the image, null while none
    did), flipped (the label is another one than in the round before).
    """
    rows = np.arange(len(probabilities))
    labels = probabilities.argmax(axis=1)
    confidence = probabilities[rows, labels]
    second = np.partition(probabilities, -2, axis=1)[:, -2]
    round_number, accepted_round, flipped = 1, pd.Series(pd.NA, index=rows, dtype="Int64"), np.zeros(len(rows), bool)
    if previous is not None:
        before = in_order_of(previous, ids)
        round_number = int(before["round"].iloc[0]) + 1
        accepted_round, flipped = before["accepted_round"], before["label"].to_numpy() != labels
    if reasons is None:
        reasons = selection.reasons(
            labels, confidence, disagreement, uncertainty=uncertainty, round_number=round_number
        )
    if unknown is not None:
        reasons = np.where(unknown, "unknown", reasons)
    accepted = reasons == ""
    return pd.DataFrame(
        {
            "id": ids,
            "index": indices,
            "label": labels.astype(np.int64),
            "confidence": confidence,
            "raw_confidence": confidence if raw_confidence is None else raw_confidence,
            "margin": confidence - second,
            "disagreement": _or_null(disagreement, len(rows)),
            "uncertainty": _or_null(uncertainty, len(rows)),
            "accepted": accepted,
            "reason": reasons,
            "teacher": teacher,
            "round": round_number,
            "accepted_round": accepted_round.mask(accepted & accepted_round.isna().to_numpy(), round_number),
            "flipped": flipped,
        }
    )


def _or_null(values: NDArray[np.float32] | None, count: int) -> pd.arrays.FloatingArray:
    """As pandas makes it of a list with pd.NA, which takes longer than all other columns together."""
    missing = values is None
    return pd.arrays.FloatingArray(
        np.zeros(count, np.float32) if values is None else values.astype(np.float32), np.full(count, missing)
    )


def in_order_of(previous: pd.DataFrame, ids: Ids) -> pd.DataFrame:
    """The rows of the round before for images with these ids, all of which it had, and no others."""
    if list(previous["id"]) == list(ids):
        return previous
    assert sorted(previous["id"]) == sorted(ids), "the round before had other images"
    return previous.set_index("id").loc[list(ids)].reset_index()


def write_table(path: Path, parts: Iterable[pd.DataFrame]) -> None:
    """Write parts of a pseudo-label table, one after another, as row groups of a Parquet file.

    The file has its name once it is whole.
    """
    aside = path.with_suffix(".tmp")
    writer: pq.ParquetWriter | None = None
    try:
        for part in parts:
            further = {name: kind for name, kind in FURTHER.items() if name in part}
            fields = [(name, kind) for name, kind in (COLUMNS | further).items()]
            # Among several threads the columns of a shard take twice the processor's time.
            table = pa.Table.from_pandas(part, pa.schema(fields), preserve_index=False, nthreads=1)
            writer = writer or pq.ParquetWriter(aside, table.schema, use_dictionary=FEW_VALUES)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    aside.replace(path)


def pick_examples(
    pseudo_labels: pd.DataFrame, threshold: float, per_group: int, seed: int
) -> tuple[NDArray[np.int64], list[str]]:
    """(rows, groups) of images worth a look: random accepted ones, those nearest the threshold, random rejected ones.

    Every row is picked at most once, so that a small pseudo-label table fills fewer places.
    """
    rng = numpy_generator(seed, "ledger examples")  # another word would draw others than stores of before hold
    confidence, accepted = pseudo_labels["confidence"].to_numpy(), pseudo_labels["accepted"].to_numpy()
    borderline = np.argsort(np.abs(confidence - threshold), kind="stable")[:per_group]
    others = np.setdiff1d(np.arange(len(pseudo_labels)), borderline)
    picks = [
        ("accepted", rng.permutation(others[accepted[others]])[:per_group]),
        ("borderline", borderline),
        ("rejected", rng.permutation(others[~accepted[others]])[:per_group]),
    ]
    rows = np.concatenate([chosen for _, chosen in picks]).astype(np.int64)
    return rows, [group for group, chosen in picks for _ in chosen]
