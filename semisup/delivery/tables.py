"""Tables written a part at a time, whole or not at all."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from semisup.data.tables import write_csv
from semisup.errors import UserError
from semisup.system.own_files import aside

SUFFIXES = (".csv", ".parquet")
MICROSECONDS = 1_000_000
"""In a second."""


def check_out(file: Path, *, force: bool) -> None:
    """Make sure that a table, or a folder, can be written there.

    Raises:
        UserError: something is there already (with `force`: that was not written here, or changed since), or its folder
            is not.
    """
    if file.exists() and not force:
        raise UserError(f"--out {file} is there already; name another one, or write over it with --force")
    _check_ours(file)
    if not file.absolute().parent.is_dir():
        raise UserError(f"--out {file}: its folder does not exist; make it, or name another one")


def _check_ours(file: Path) -> None:
    """Make sure that a table, where there is one, was written here, and is as it was then."""
    with suppress(OSError):
        if not file.is_file() or file.stat().st_mtime_ns // 1000 % MICROSECONDS == _microseconds(file):
            return
    raise UserError(
        f"--out {file} was not written by semisup, or was changed since, so --force does not replace it; move it away, "
        "or name another file"
    )


def _sign(file: Path) -> None:
    """Say that a table is ours as it is now: there is no place in a CSV file for that but its time of change."""
    second = file.stat().st_mtime_ns // 1000 // MICROSECONDS - 1  # never in the future
    with suppress(OSError):  # where times cannot be set, nothing is replaced
        os.utime(file, ns=(file.stat().st_atime_ns, (second * MICROSECONDS + _microseconds(file)) * 1000))


def _microseconds(file: Path) -> int:
    """Those of the time at which a table of ours was changed: a digest of its content."""
    with file.open("rb") as opened:
        return int(hashlib.file_digest(opened, "sha256").hexdigest(), 16) % MICROSECONDS


def check_suffix(file: Path) -> None:
    """Make sure that the kind of table can be told by the file's name.

    Raises:
        UserError: it cannot, or a folder has that name.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {file}: its name ends with neither {' nor '.join(SUFFIXES)}; name a table")
    if file.is_dir():
        raise UserError(f"--out {file} is a folder; name a file")


@dataclass
class _Table:
    """Appends to a file; CSV or Parquet, as `suffix` says."""

    file: Path
    types: Mapping[str, type]
    suffix: str
    rows: int = 0
    parquet: pq.ParquetWriter | None = field(default=None, repr=False)

    def append(self, part: pd.DataFrame) -> None:
        """Rows with the columns of the types."""
        part = part[list(self.types)]
        if self.suffix == ".csv":
            write_csv(part, self.file, mode="a", header=self.rows == 0)
        else:
            if self.parquet is None:
                self.parquet = pq.ParquetWriter(self.file, self._schema())
            self.parquet.write_table(pa.Table.from_pandas(part, self._schema(), preserve_index=False))
        self.rows += len(part)

    def _schema(self) -> pa.Schema:
        return pa.schema([(name, pa.string() if kind is str else pa.float32()) for name, kind in self.types.items()])

    def close(self) -> None:
        """All is on its way to the disk."""
        if self.parquet is not None:
            self.parquet.close()


@contextmanager
def table_written(file: Path, types: Mapping[str, type]) -> Iterator[_Table]:
    """A table to append to; its file has its name when the block ends well, and is not there when it does not.

    Raises:
        UserError: it cannot be written, or what was there has been changed meanwhile.
    """
    unfinished = aside(file)
    table = _Table(unfinished, types, file.suffix.lower())
    try:
        yield table
        table.close()
        _sign(unfinished)
        _check_ours(file)
        unfinished.replace(file)
    except OSError as error:
        raise UserError(f"--out {file} cannot be written: {error.strerror or error}; name another file") from error
    finally:
        unfinished.unlink(missing_ok=True)
