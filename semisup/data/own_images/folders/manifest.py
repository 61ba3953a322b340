"""A table that names image files, their classes and perhaps their roles, as people write them."""

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semisup.config.urls import suffix_of
from semisup.data.own_images.folders.places import Base, check_place
from semisup.data.own_images.folders.roles import FOLDERS, role_of
from semisup.data.own_images.remote.bucket import Bucket
from semisup.data.tables import check_columns, no_column, read_csv
from semisup.errors import UserError

COLUMNS = ("path", "label", "role")
FILE_NAME = "file_name"
"""What the metadata of an `imagefolder` of Hugging Face's `datasets` calls the path."""
PARQUET, LINES = frozenset({".parquet", ".pq"}), frozenset({".jsonl", ".ndjson"})
"""Extensions of manifests; all others are read as CSV."""


def read_manifest(file: Base, field: str, needed: Sequence[str] = ("path", "label")) -> pd.DataFrame:
    """Columns path, label and role as text without blanks around labels and roles, "" where there is nothing.

    Floats that are whole numbers are written as such, and so are texts that are all such floats: a column with gaps
    makes floats of whole numbers, and CSV texts of these.

    Raises:
        UserError: it cannot be read, lacks a needed column or has it twice, or has a row without a path, or none at
            all.
    """
    table = _read(file, field, COLUMNS)
    for column in needed:
        if column not in table:
            raise no_column(repr(column), list(map(str, table)), field)
    table = table.assign(**{column: "" for column in ("label", "role") if column not in table})[list(COLUMNS)]
    table = _as_text(table)
    if not len(table) or (table["path"].str.strip() == "").any():
        raise UserError(
            f"{field} has {'a row without a path' if len(table) else 'no rows'}; it needs one row for each file"
        )
    return table.assign(label=_whole_numbers(table["label"].str.strip()), role=table["role"].str.strip())


def group_column(file: Base, field: str, column: str) -> pd.DataFrame:
    """Columns path and group, as text, "" where there is nothing, of a manifest that :func:`read_manifest` takes.

    Raises:
        UserError: there is no such column.
    """
    names = ("path", column)
    table = _read(file, field, names)
    if column not in table or column == "path":
        others = [str(name) for name in table if name not in COLUMNS]
        raise no_column(repr(column), others, f"{field}: data.group")
    table = _as_text(table[list(names)])
    return pd.DataFrame({"path": table["path"], "group": _whole_numbers(table[column].str.strip())})


def _read(file: Base, field: str, columns: Sequence[str]) -> pd.DataFrame:
    """A table in any of the formats, on the disk or at a URL.

    Raises:
        UserError: it is not there, cannot be read, or has one of the `columns` twice.
    """
    table = _read_as_written(file, field, (*columns, FILE_NAME))
    return table if "path" in table else table.rename(columns={FILE_NAME: "path"})


def _read_as_written(file: Base, field: str, columns: Sequence[str]) -> pd.DataFrame:
    try:
        source = file if isinstance(file, Path) else _fetched(file, field)
        match suffix_of(str(file)):
            case extension if extension in PARQUET:
                return _read_parquet(source, field, columns)
            case extension if extension in LINES:
                return _read_lines(source, field, columns)
            case _:
                return read_csv(source, field, columns)
    except FileNotFoundError:
        raise UserError(f"{field} does not exist; name a CSV, Parquet or JSON Lines file") from None
    except UserError:
        raise
    except (OSError, ValueError) as error:  # pandas' and pyarrow's own are ValueErrors
        raise UserError(f"{field} cannot be read: {' '.join(str(error).split())}; mend it") from None


def _fetched(url: str, field: str) -> io.BytesIO:
    bucket = Bucket.at(url, field)
    return io.BytesIO(bucket.read(bucket.base))


def _read_parquet(source: Path | io.BytesIO, field: str, columns: Sequence[str]) -> pd.DataFrame:
    with pq.ParquetFile(source) as opened:
        found = opened.read()
    check_columns(found.column_names, field, columns)
    table: pd.DataFrame = found.to_pandas(ignore_metadata=True)
    return _of_plain_values(table, field, columns)


def _read_lines(source: Path | io.BytesIO, field: str, columns: Sequence[str]) -> pd.DataFrame:
    """One JSON object a line."""
    content = source.read_bytes() if isinstance(source, Path) else source.getvalue()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{field} is no text in UTF-8; save it as JSON Lines in UTF-8") from None
    rows = []
    # Python's own lines end at U+2028 and the like, too, which may stand within JSON's strings.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{field}: line {number} is no JSON ({error}); write one object a line") from None
        if not isinstance(row, dict):
            raise UserError(f'{field}: line {number} is no object; write one a line, such as {{"path": "1.jpg"}}')
        rows.append(row)
    # Columns of objects: a number stays the number that it is where other rows have none.
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})
    return _of_plain_values(table, field, columns)


def _of_plain_values(table: pd.DataFrame, field: str, columns: Sequence[str]) -> pd.DataFrame:
    for column in columns:
        if column in table and (odd := table[column].map(type).isin([bytes, np.ndarray, dict, list])).any():
            kind = type(table.loc[odd, column].iloc[0]).__name__
            raise UserError(f"{field}: column {column!r} holds values of type {kind}; write text or numbers")
    return table


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    there = table.astype(object).where(table.notna(), "")
    return pd.DataFrame({name: there[name].map(_text).astype(str) for name in there})


def _text(value: object) -> str:
    return str(int(value) if isinstance(value, float | np.floating) and value.is_integer() else value)


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


def check_paths(table: pd.DataFrame, paths: Sequence[str], base: Base, field: str) -> None:
    """Make sure that a manifest names every image once, in a way that this system understands, and where it may lie.

    `paths` (N,) are those of its rows, written in one way.

    Raises:
        UserError: it does not.
    """
    _check_once(table, paths, field)
    for row, path in enumerate(table["path"], start=1):
        check_place(path, base, f"{field}, row {row}")


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
