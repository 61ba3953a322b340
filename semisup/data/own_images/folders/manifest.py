"""A table that names image files, their classes and perhaps their roles, as people write them."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semisup.data.own_images.folders.roles import FOLDERS, role_of
from semisup.data.tables import check_columns, no_column, read_csv
from semisup.errors import UserError

COLUMNS = ("path", "label", "role")


def read_manifest(file: Path, field: str, needed: Sequence[str] = ("path", "label")) -> pd.DataFrame:
    """Columns path, label and role as text without blanks around labels and roles, "" where there is nothing.

    Labels that are all whole numbers are written as such: a column with gaps makes floats of them.

    Raises:
        UserError: it cannot be read, lacks a needed column or has it twice, or has a row without a path, or none at
            all.
    """
    try:
        parquet = file.suffix.lower() in {".parquet", ".pq"}
        table = _read_parquet(file, field) if parquet else read_csv(file, field, COLUMNS)
    except FileNotFoundError:
        raise UserError(f"{field} does not exist; name a CSV or Parquet file") from None
    except UserError:
        raise
    except (OSError, ValueError) as error:  # pandas' and pyarrow's own are ValueErrors
        raise UserError(f"{field} cannot be read: {' '.join(str(error).split())}; mend it") from None
    for column in needed:
        if column not in table:
            raise no_column(repr(column), list(map(str, table)), field)
    table = table.assign(**{column: "" for column in ("label", "role") if column not in table})[list(COLUMNS)]
    table = table.astype(object).where(table.notna(), "").astype(str)
    if not len(table) or (table["path"].str.strip() == "").any():
        raise UserError(f"{field} has {'a row without a path' if len(table) else 'no rows'}; one row for each file")
    return table.assign(label=_whole_numbers(table["label"].str.strip()), role=table["role"].str.strip())


def _read_parquet(file: Path, field: str) -> pd.DataFrame:
    with pq.ParquetFile(file) as opened:
        found = opened.read()
    check_columns(found.column_names, field, COLUMNS)
    table: pd.DataFrame = found.to_pandas(ignore_metadata=True)
    for column in COLUMNS:
        if column in table and (odd := table[column].map(type).isin([bytes, np.ndarray, dict])).any():
            kind = type(table.loc[odd, column].iloc[0]).__name__
            raise UserError(f"{field}: column {column!r} holds values of type {kind}; write text or numbers")
    return table


def _whole_numbers(labels: pd.Series) -> pd.Series:
    there = labels[labels != ""]
    if len(there) and there.map(lambda label: re.fullmatch(r"[+-]?\d+\.0*", label) is not None).all():
        return labels.str.partition(".")[0]
    return labels


def given_roles(table: pd.DataFrame, field: str) -> NDArray[np.object_]:
    """The `Given` (N,) of each row of a manifest.

    Raises:
        UserError: a role has no name that we know, or an image that needs a label has none.
    """
    roles = np.empty(len(table), dtype=object)
    for row, (path, label, name) in enumerate(table.itertuples(index=False, name=None)):
        role = role_of(name) if name else ""
        if role is None:
            raise UserError(f"{field}: role {name!r} of {path!r} is none of {', '.join(FOLDERS)}")
        if not label and name and role != "unlabeled":
            raise UserError(f"{field}: {path!r} has role {name!r} but no label; give it one, or role unlabeled")
        roles[row] = role if label else "unlabeled"
    return roles


def check_files(table: pd.DataFrame, paths: Sequence[str], base: Path, field: str) -> None:
    """Make sure that a manifest names every file once, in a way that this system understands.

    `paths` (N,) are those of its rows, written in one way.

    Raises:
        UserError: it does not, or none of its files is below `base`.
    """
    _check_once(table, paths, field)
    for path in table["path"]:
        if "\\" in path and not (base / path).exists():
            raise UserError(
                f"{field}: path {path!r} has backslashes, and there is no such file; write slashes between folders"
            )
    if not any(os.path.exists(os.path.join(base, path)) for path in paths):
        raise UserError(
            f"{field}: none of its {len(paths):,} files, such as {paths[0]!r}, is in {base}; paths are relative to "
            "data.root, or to the table where that is unset"
        )


def _check_once(table: pd.DataFrame, paths: Sequence[str], field: str) -> None:
    known = pd.DataFrame({"path": list(paths), "label": table["label"].to_numpy()})
    twice = known[known["path"].duplicated(keep=False)]
    if not len(twice):
        return
    path = str(twice["path"].iloc[0])
    labels = twice.loc[twice["path"] == path, "label"]
    different = list(dict.fromkeys(label for label in labels if label))
    if len(different) > 1:
        raise UserError(f"{field} says of {path!r} that it is {' and '.join(map(repr, different))}; keep one row")
    raise UserError(f"{field} names {path!r} {len(labels)} times; one row for each file")
