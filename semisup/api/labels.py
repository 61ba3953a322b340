"""What people write for classes, and for "no label", as numbers."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from semisup.data.datasets import UNLABELED
from semisup.errors import UserError
from semisup.wording import counted

TEXT = "-1"


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of N rows.

    Attributes:
        classes: (C,), sorted, of the type of the labels.
        codes: int64 (N,), positions in `classes`, or UNLABELED.
    """

    classes: NDArray[Any]
    codes: NDArray[np.int64]


def read_labels(y: ArrayLike) -> Labels:
    """Labels (N,) of any type.

    No label is -1 among whole numbers; among others NaN, None, pandas' NA, "" or, in an object array, the number -1.
    A text "-1", or -1.0 among floats, is a class, and a warning says so; not of -1.0 where NaN marks other rows.

    Raises:
        ValueError: there are several columns, the labels are measurements rather than classes, or are of types that
            cannot be compared.
        UserError: no row has a label.
    """
    if isinstance(getattr(y, "dtype", None), pd.api.extensions.ExtensionDtype):
        y = np.asarray(y, dtype=object)  # whole numbers with gaps would become floats
    values = column_or_1d(y, warn=True)
    unlabeled = is_unlabeled(values)
    known = values[~unlabeled]
    if not len(known):
        raise UserError(f"y: none of {counted(len(values), 'row')} has a label; give some rows of every class one")
    if known.dtype.kind == "f" and not np.isfinite(known).all():
        raise UserError("y holds infinity, which is no class; write NaN where there is no label")
    if known.dtype.kind == "O":  # gaps made objects of them
        known = _of_one_type(known)
    try:
        classes, found = np.unique(known, return_inverse=True)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in known})
        raise UserError(f"y holds labels of the types {' and '.join(kinds)}; use one of them") from None
    check_classification_targets(known)
    codes = np.full(len(values), UNLABELED, dtype=np.int64)
    codes[~unlabeled] = found
    _warn_of_minus_one(classes, unlabeled)
    return Labels(classes, codes)


def _of_one_type(known: NDArray[Any]) -> NDArray[Any]:
    """Objects as truth values or numbers, where all of them are."""
    if all(isinstance(label, bool | np.bool_) for label in known):
        return known.astype(bool)
    if any(isinstance(label, bool | np.bool_) for label in known):
        return known
    if all(isinstance(label, int | np.integer) for label in known):
        return known.astype(np.int64)
    if all(isinstance(label, int | float | np.number) for label in known):
        return known.astype(np.float64)
    return known


def is_unlabeled(values: NDArray[Any]) -> NDArray[np.bool_]:
    """bool (N,): has a row no label?"""
    match values.dtype.kind:
        case "i":
            return np.asarray(values == UNLABELED)
        case "f":
            return np.asarray(np.isnan(values))
        case "U":
            return np.asarray(values == "")
        case "O":
            return np.array([_is_nothing(value) for value in values], dtype=bool)
        case _:  # truth values, and whole numbers that have no sign
            return np.zeros(len(values), dtype=bool)


def _is_nothing(value: Any) -> bool:
    if isinstance(value, str):
        return value == ""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value) == UNLABELED
    # NaN, and pandas' NaT, are unequal to themselves; what pandas' NA says of itself is neither true nor false.
    return value is None or type(value).__name__ == "NAType" or bool(value != value)  # noqa: PLR0124


def _warn_of_minus_one(classes: NDArray[Any], unlabeled: NDArray[np.bool_]) -> None:
    if classes.dtype.kind in "UO" and TEXT in {label for label in classes.tolist() if isinstance(label, str)}:
        way_out = 'write None or "" where there is no label'
    elif classes.dtype.kind == "f" and UNLABELED in classes and not unlabeled.any():
        way_out = "write NaN where there is no label, or whole numbers"
    else:
        return
    kind = f'the text "{TEXT}"' if classes.dtype.kind in "UO" else "the number -1.0"
    warnings.warn(f"y: {kind} is a class here; if it is to mean 'no label', {way_out}", UserWarning, stacklevel=4)
