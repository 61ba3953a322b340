"""CSV tables that people hand in or take away: faults are said in one line, and no spreadsheet runs a cell of ours."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from semisup.errors import UserError

RUN = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")
"""A cell that begins so is a formula to a spreadsheet, or one that is protected. review.js has the same rule."""
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def protected(cell: str) -> str:
    """The cell behind an apostrophe where a spreadsheet would run it; :func:`unprotected` undoes it. Numbers stay."""
    return f"'{cell}" if RUN.match(cell) and not NUMBER.fullmatch(cell) else cell


def unprotected(cell: str) -> str:
    """What :func:`protected` made this of."""
    return cell[1:] if cell.startswith("'") and RUN.match(cell) else cell


def write_csv(table: pd.DataFrame, file: Path, **options: Any) -> None:
    """Without the index, figures with six digits, texts and the names of columns :func:`protected`."""
    safe = table.map(lambda cell: protected(cell) if isinstance(cell, str) else cell)
    safe.rename(columns=protected).to_csv(file, index=False, float_format="%.6g", **options)


def read_csv(file: Path | BinaryIO, field: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """All of a table as text, "" where there is nothing; cells as they were before :func:`write_csv`.

    `field` begins every message; `columns` are those that are asked for, each of which may be there once.

    Raises:
        UserError: rows have more fields than the header, a column is there twice, or it is no text in UTF-8.
        OSError, ValueError: it cannot be read.
    """
    try:
        table = pd.read_csv(file, header=None, dtype=str, na_filter=False, encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{field} is no text in UTF-8; save it as a CSV file in UTF-8") from None
    except pd.errors.ParserError as error:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if found is None:
            raise
        expected, line, saw = found.groups()
        raise UserError(
            f"{field}: line {line} has {saw} fields, but the header {expected}; take away a comma at the end of lines, "
            "or put quotes around a field that holds one"
        ) from None
    names = [unprotected(name.strip()) for name in table.iloc[0]]
    check_columns(names, field, columns)
    table = table.iloc[1:].reset_index(drop=True).fillna("")
    table.columns = pd.Index(names)
    return table.map(unprotected)


def check_columns(names: Sequence[str], field: str, columns: Sequence[str]) -> None:
    """Make sure that none of the columns is among the names twice.

    Raises:
        UserError: one is.
    """
    if twice := [column for column in columns if list(names).count(column) > 1]:
        raise UserError(f"{field} has two columns {twice[0]!r}; keep one")


def no_column(lacks: str, names: Sequence[str], field: str) -> UserError:
    """A table lacks a column that it must have; `lacks` says which."""
    only = f"{field} has no column {lacks}, only {', '.join(map(repr, names))}"
    if len(names) == 1 and any(mark in names[0] for mark in ";\t"):
        return UserError(f"{only}; save it with commas between the columns")
    return UserError(f"{only}; name it so")
