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
    round_number: int = 1,
) -> pd.DataFrame:
    """The ledger of N images with probabilities (N, C).

    Columns: id, index (row in the pool), label, confidence (largest probability), margin (over the second largest),
    accepted (confidence >= threshold), reason ("" where accepted), teacher, round.
    """
    rows = np.arange(len(probabilities))
    labels = probabilities.argmax(axis=1)
    confidence = probabilities[rows, labels]
    second = np.partition(probabilities, -2, axis=1)[:, -2]
    accepted = confidence >= np.float32(threshold)
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
