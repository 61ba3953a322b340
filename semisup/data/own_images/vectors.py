"""Ready-made features of one's own images: one vector for each, from a table that somebody else's network made."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from semisup.config import DataConfig, resolve_base
from semisup.data.own_images.folders.manifest import read_manifest
from semisup.data.own_images.folders.places import base_of, written_alike
from semisup.errors import UserError, in_one_line
from semisup.wording import counted

PATH, VECTOR = "path", "vector"
ROWS_AT_A_TIME = 16_384


def read_vectors(data: DataConfig, ids: Sequence[str]) -> Tensor:
    """float32 (N, D): the vectors of the images with these ids, in their order, from the file `data.features`.

    A Parquet table has a row for each image: its `path`, as in ids, and its `vector`; or a column for each number. A
    .npy array (M, D) has the rows of `data.manifest`, in their order. Rows of other images are passed over.

    Raises:
        UserError: there is no such file, it cannot be read, is of another form, lacks an image, has one twice, or has
            a number that is none.
    """
    assert data.features is not None
    file = data.features.expanduser()
    field = f"data.features={file}"
    if not file.is_file():
        raise UserError(f"{field} {'is a folder' if file.is_dir() else 'does not exist'}; name a Parquet or .npy file")
    if file.suffix == ".npy":
        paths, table = _manifest_paths(data), _array(file, field)
        if len(table) != len(paths):
            raise UserError(
                f"{field} has {counted(len(table), 'row')}, and data.manifest={data.manifest} has {len(paths):,}; "
                "both need the same images in the same order, broken ones included"
            )
    else:
        paths, table = _parquet(file, field)
    rows = _rows_of(paths, [name.rpartition("@")[0] for name in ids], field)
    vectors = np.empty((len(rows), table.shape[1]), dtype=np.float32)
    with np.errstate(over="ignore"):  # too large for float32 is no number either, and said below
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            part = slice(start, start + ROWS_AT_A_TIME)
            vectors[part] = table[rows[part]]
    if len(odd := np.flatnonzero(~np.isfinite(vectors).all(axis=1))):
        more = f", and so have {len(odd) - 1:,} others" if len(odd) > 1 else ""
        raise UserError(
            f"{field}: the vector of {paths[rows[odd[0]]]!r} has NaN or infinity in it{more}; compute it anew, or take "
            "the image out"
        )
    return torch.from_numpy(vectors)


def order_digest(data: DataConfig) -> str:
    """What decides which row of a .npy array is whose: the manifest's paths in their order; "" of a table."""
    if data.features is None or data.features.suffix != ".npy":
        return ""
    return hashlib.sha256("\n".join(_manifest_paths(data)).encode()).hexdigest()


def _rows_of(paths: Sequence[str], wanted: Sequence[str], field: str) -> NDArray[np.int64]:
    """The row of each wanted path.

    Raises:
        UserError: one is missing or there twice.
    """
    index = pd.Index(paths)
    if index.has_duplicates:
        twice = str(index[index.duplicated()][0])
        raise UserError(f"{field} has two vectors of {twice!r}; keep one row for each image")
    rows = index.get_indexer(pd.Index(wanted, dtype=object))
    if missing := [path for path, row in zip(wanted, rows, strict=True) if row < 0]:
        more = f", nor of {len(missing) - 1:,} others" if len(missing) > 1 else ""
        theirs = f"; it has for example {paths[0]!r}: paths are relative to data.root" if len(paths) else ""
        raise UserError(
            f"{field} has no vector of {missing[0]!r}{more}{theirs if len(missing) == len(wanted) else ''}; add a row "
            "for each image, or take these out of the data set"
        )
    return rows.astype(np.int64)


def _manifest_paths(data: DataConfig) -> list[str]:
    """Those of the manifest's rows, in their order, written as in the ids of images."""
    assert data.manifest is not None, "the config says so"
    manifest = data.manifest if isinstance(data.manifest, str) else data.manifest.expanduser()
    table = read_manifest(manifest, f"data.manifest={manifest}")
    return written_alike(table[PATH], base_of(resolve_base(data), manifest))


def _array(file: Path, field: str) -> NDArray[np.floating]:
    """The array (M, D) in a .npy file, which stays on disk."""
    try:
        table = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{field} cannot be read: {in_one_line(error)}; save it with numpy.save") from None
    if table.ndim != 2 or not table.size or table.dtype.kind not in "fiu":
        shape = "×".join(map(str, table.shape)) or "single value"
        raise UserError(f"{field} is an array of {shape} {table.dtype}; it has to have a row of numbers for each image")
    found: NDArray[np.floating] = table
    return found


def _parquet(file: Path, field: str) -> tuple[list[str], NDArray[np.floating]]:
    """Paths (M,) and vectors (M, D) of a Parquet table."""
    try:
        with pq.ParquetFile(file) as opened:
            table = opened.read()
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        words = in_one_line(error, 200)
        raise UserError(f"{field} cannot be read as Parquet ({words}); write it with pandas' to_parquet") from None
    names = table.column_names
    if PATH not in names:
        raise UserError(f"{field} has no column {PATH!r}; it has {', '.join(map(repr, names[:5])) or 'none'}")
    if not table.num_rows:
        raise UserError(f"{field} has no rows; it needs one for each image")
    paths = [str(path).replace("\\", "/") for path in table[PATH].to_pylist()]
    if VECTOR in names:
        return paths, _lists(table[VECTOR].combine_chunks(), paths, field)
    columns = [name for name in names if name != PATH]
    odd = [name for name in columns if not _is_number(table.schema.field(name).type)]
    if odd or not columns:
        found = f"column {odd[0]!r} holds {table.schema.field(odd[0]).type}" if odd else "there is no other column"
        raise UserError(f"{field} has no column {VECTOR!r}, and {found}; write lists of numbers, or numbers alone")
    return paths, np.stack([table[name].to_numpy().astype(np.float64) for name in columns], axis=1)


def _lists(column: pa.Array, paths: Sequence[str], field: str) -> NDArray[np.floating]:
    """(M, D) of a column of lists, all of the same length."""
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise UserError(f"{field}: column {VECTOR!r} holds {kind}; it has to hold lists of numbers")
    if not _is_number(kind.value_type):
        raise UserError(f"{field}: column {VECTOR!r} holds lists of {kind.value_type}; they have to hold numbers")
    lengths = [0 if vector is None else len(vector) for vector in column]
    width = lengths[0]
    for path, length in zip(paths, lengths, strict=True):
        if length != width or not length:
            raise UserError(
                f"{field}: the vector of {path!r} has {length:,} numbers, and that of {paths[0]!r} has {width:,}; all "
                "need equally many, and at least one"
            )
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False), dtype=np.float64).reshape(len(paths), width)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))
