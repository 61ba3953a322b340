"""Files of rows and columns: Parquet in row groups, and Arrow, which `datasets` saves on the disk, as one group."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

ARROW = frozenset({".arrow"})
MAGIC = b"ARROW1"
"""Begins a file of Arrow that can be read from anywhere; a stream has none."""


class RowFile(Protocol):
    """An open file."""

    schema: pa.Schema
    groups: list[int]
    """Rows of each group."""

    def holds_bytes(self, image: str) -> list[bool]:
        """Has every row of a group the bytes of its image, as far as is known without a look at all?"""
        ...

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Of all rows; `a.b` is a part of a struct."""
        ...

    def group(self, number: int, name: str) -> pa.ChunkedArray:
        """One column of one group."""
        ...


@contextmanager
def open_rows(source: Any, name: str) -> Iterator[RowFile]:
    """Of what pyarrow can read from: a path, which is closed at the end, or a file that is open, which stays so.

    Columns that were read outlast it.

    Raises:
        pyarrow.ArrowException, OSError: it cannot be read.
    """
    if Path(name).suffix.lower() not in ARROW:
        with pq.ParquetFile(source) as parquet:
            yield Parquet(parquet)
    elif isinstance(source, Path):
        with pa.memory_map(str(source)) as mapped:
            yield Arrow(mapped)
    else:
        yield Arrow(pa.PythonFile(source, mode="r"))


def parts_of(column: pa.ChunkedArray) -> dict[str, pa.ChunkedArray]:
    """Of a column of structs, by their names; nothing is copied."""
    return dict(zip((field.name for field in column.type), column.flatten(), strict=True))


class Parquet:
    """Whose footer says where the groups are."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        self.schema = self._file.schema_arrow
        metadata = self._file.metadata
        self._groups = [metadata.row_group(number) for number in range(self._file.num_row_groups)]
        self.groups = [group.num_rows for group in self._groups]

    def holds_bytes(self, image: str) -> list[bool]:
        """As the groups' statistics say."""
        return [_holds_bytes(group, image) for group in self._groups]

    def columns(self, names: Sequence[str]) -> pa.Table:
        """As in `RowFile`."""
        return self._file.read(list(names))

    def group(self, number: int, name: str) -> pa.ChunkedArray:
        """As in `RowFile`."""
        return self._file.read_row_group(number, [name]).column(0)


class Arrow:
    """Mapped into memory where it lies on the disk; from elsewhere it is read as a whole."""

    def __init__(self, file: pa.NativeFile) -> None:
        is_file = file.read(len(MAGIC)) == MAGIC
        file.seek(0)
        self._table = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(file).read_all()
        self.schema = self._table.schema
        self.groups = [self._table.num_rows]

    def holds_bytes(self, image: str) -> list[bool]:
        """As in `RowFile`."""
        column = self._table[image]
        contents = parts_of(column)["bytes"] if pa.types.is_struct(column.type) else column
        return [contents.null_count == 0]

    def columns(self, names: Sequence[str]) -> pa.Table:
        """As in `RowFile`."""
        return self._table.select(list(dict.fromkeys(name.partition(".")[0] for name in names)))

    def group(self, number: int, name: str) -> pa.ChunkedArray:
        """As in `RowFile`."""
        return self._table[name]


def _holds_bytes(group: Any, image: str) -> bool:
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema in {image, f"{image}.bytes"}:
            known = column.statistics
            return known is not None and known.has_null_count and known.null_count == 0
    return False
