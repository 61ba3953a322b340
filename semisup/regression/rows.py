"""Rows of a table, and which role each plays."""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semisup.config.regression import FEWEST_TRAINING_ROWS
from semisup.errors import UserError

FloatArray: TypeAlias = NDArray[np.floating[Any]]

TEST_ROWS = 88  # a fifth of the diabetes data
TEST_SEED = 20241  # of its own: no config can move a row between pool and test rows


@dataclass(frozen=True, eq=False)
class Rows:
    """A table: features float64 (N, F) and targets float64 (N,), both in their own units, and an id for each row."""

    features: FloatArray
    targets: FloatArray
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def digest(self) -> str:
        """SHA-256 in hex of all of it."""
        content = [self.features.astype("<f8").tobytes(), self.targets.astype("<f8").tobytes()]
        return hashlib.sha256(b"".join([*content, "\n".join(self.ids).encode()])).hexdigest()


def load_rows(part: Literal["pool", "test"]) -> Rows:
    """scikit-learn's diabetes data, in the official order: the 88 rows set apart for ever, or the 354 others.

    The features are the raw ones. scikit-learn's default are features scaled by statistics of all rows, test rows too.

    Source: Efron et al. 2004, section 1.
    """
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes(scaled=False)
    ids = tuple(f"diabetes/{position:03d}" for position in range(len(bunch.target)))
    # A hash, as no library's random numbers promise to stay as they are.
    in_test = set(sorted(ids, key=lambda name: hashlib.sha256(f"{TEST_SEED}/{name}".encode()).digest())[:TEST_ROWS])
    chosen = [position for position, name in enumerate(ids) if (name in in_test) == (part == "test")]
    return Rows(bunch.data[chosen], bunch.target[chosen], tuple(ids[position] for position in chosen))


def draw_roles(
    size: int, train_rows: int | None, validation_rows: int, rng: np.random.Generator
) -> NDArray[np.object_]:
    """The role (N,) of each pool row: a shuffle, validation rows first; `train_rows` None takes all others.

    Taken in this order, another number of training rows leaves the validation rows as they are.

    Raises:
        UserError: more rows are asked for than there are, or too few are left to train on.
    """
    left = size - validation_rows
    if train_rows is not None and train_rows > left:
        raise UserError(
            f"split.train_rows={train_rows} and split.validation_rows={validation_rows} ask for "
            f"{train_rows + validation_rows} rows, but there are {size}; ask for fewer"
        )
    if left < FEWEST_TRAINING_ROWS:
        raise UserError(
            f"split.validation_rows={validation_rows} leaves {max(left, 0)} of {size} rows to train on; "
            f"use at most {size - FEWEST_TRAINING_ROWS}"
        )
    order = rng.permutation(size)
    roles = np.full(size, "unused", dtype=object)
    roles[order[:validation_rows]] = "validation"
    roles[order[validation_rows:][:train_rows]] = "train"
    return roles
