"""The ledger: one row per unlabelled image, saying which label it got and why it was or was not accepted."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semisup.randomness import numpy_generator


def build_ledger(
    ids: Sequence[str],
    indices: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    *,
    threshold: float,
    teacher: str,
    previous: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The ledger of N images with probabilities (N, C); `previous` is that of the round before, in any order of rows.

    Columns: id, index (row in the pool), label, confidence (largest probability), margin (over the second largest),
    accepted (confidence >= threshold), reason ("" where accepted), teacher, round (from 1), accepted_round (the round
    that first accepted the image, null while none did), flipped (the label is another one than in the round before).
    """
    rows = np.arange(len(probabilities))
    labels = probabilities.argmax(axis=1)
    confidence = probabilities[rows, labels]
    second = np.partition(probabilities, -2, axis=1)[:, -2]
    accepted = confidence >= np.float32(threshold)
    round_number, accepted_round, flipped = 1, pd.Series(pd.NA, index=rows, dtype="Int64"), np.zeros(len(rows), bool)
    if previous is not None:
        assert sorted(previous["id"]) == sorted(ids), "the round before had other images"
        before = previous.set_index("id").loc[list(ids)].reset_index()
        round_number = int(before["round"].iloc[0]) + 1
        accepted_round, flipped = before["accepted_round"], before["label"].to_numpy() != labels
    return pd.DataFrame(
        {
            "id": ids,
            "index": indices,
            "label": labels.astype(np.int64),
            "confidence": confidence,
            "margin": confidence - second,
            "accepted": accepted,
            "reason": np.where(accepted, "", "below_threshold"),
            "teacher": teacher,
            "round": round_number,
            "accepted_round": accepted_round.mask(accepted & accepted_round.isna().to_numpy(), round_number),
            "flipped": flipped,
        }
    )


def pick_examples(
    ledger: pd.DataFrame, threshold: float, per_group: int, seed: int
) -> tuple[NDArray[np.int64], list[str]]:
    """(rows, groups) of images worth a look: random accepted ones, those nearest the threshold, random rejected ones.

    Every row is picked at most once, so that a small ledger fills fewer places.
    """
    rng = numpy_generator(seed, "ledger examples")
    confidence, accepted = ledger["confidence"].to_numpy(), ledger["accepted"].to_numpy()
    borderline = np.argsort(np.abs(confidence - threshold), kind="stable")[:per_group]
    others = np.setdiff1d(np.arange(len(ledger)), borderline)
    picks = [
        ("accepted", rng.permutation(others[accepted[others]])[:per_group]),
        ("borderline", borderline),
        ("rejected", rng.permutation(others[~accepted[others]])[:per_group]),
    ]
    rows = np.concatenate([chosen for _, chosen in picks]).astype(np.int64)
    return rows, [group for group, chosen in picks for _ in chosen]
