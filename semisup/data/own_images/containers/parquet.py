"""Parquet files with a column of images, as Hugging Face's `datasets` writes them: bytes, or a path beside them."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from semisup.config import DataConfig
from semisup.data.listing import Listing
from semisup.data.own_images.containers.found import Found, existing_root, files_within, label_text, role_in
from semisup.data.own_images.folders.roles import role_of
from semisup.errors import UserError

PARQUET = frozenset({".parquet", ".pq"})
IMAGES = ("image", "img", "picture", "bytes", "content", "jpg", "png")
LABELS = ("label", "labels", "class", "fine_label", "target", "category")
ROLES = ("role", "split")
GROUPS_KEPT = 4
"""Row groups in memory: threads work ahead by some rows, and seldom across two borders."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column is what."""

    image: str
    label: str | None
    role: str | None
    names: tuple[str, ...]
    """Of the classes, where the file says them."""

    @classmethod
    def of(cls, schema: pa.Schema, path: Path) -> "Columns":
        """By what `datasets` wrote into the file, or else by types and usual names.

        Raises:
            UserError: there is no column of images, or there are several.
        """
        features = _features(schema)
        images = [name for name, kind in features.items() if kind.get("_type") == "Image"]
        images = images or [field.name for field in schema if _holds_images(field.type)]
        if len(images) > 1:
            images = [name for name in IMAGES if name in images][:1] or images
        if len(images) != 1:
            problem = f"several columns of images ({', '.join(images)})" if images else "no column of images"
            raise UserError(
                f"data.root: {path} has {problem} (its columns: {', '.join(schema.names)}); keep one, of bytes or of "
                "bytes and path"
            )
        labels = [name for name, kind in features.items() if kind.get("_type") == "ClassLabel"]
        label = next((name for name in (*LABELS, *labels) if name in schema.names), None)
        names = tuple(features.get(label or "", {}).get("names") or ())
        return cls(images[0], label, next((name for name in ROLES if name in schema.names), None), names)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """What `datasets` says of the columns; {} where another program wrote the file."""
    try:
        said = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {name: kind for name, kind in said.items() if isinstance(kind, dict)} if isinstance(said, dict) else {}


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return int(kind.get_field_index("bytes")) >= 0
    binary: bool = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return binary


@dataclass
class Rows:
    """Images in row groups, of which the last used ones are kept."""

    shards: list[Path]
    columns: list[Columns]
    at: list[tuple[int, int, int]] = field(default_factory=list)
    """(shard, row group, row within) of each image."""
    lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self._group = lru_cache(GROUPS_KEPT)(self._read_group)

    def read(self, number: int) -> bytes:
        """As in `Contents`."""
        shard, group, row = self.at[number]
        with self.lock:  # two threads that want one group would each read it
            column = self._group(shard, group)
        value = column[row].as_py()
        if isinstance(value, dict):
            content, path = value.get("bytes"), value.get("path")
            value = content if content is not None or path is None else _beside(self.shards[shard], path)
        if not isinstance(value, bytes):
            raise OSError("the row has neither bytes nor a path")
        return value

    def file(self, number: int) -> None:
        """As in `Contents`: Parquet files hold many."""

    def _read_group(self, shard: int, group: int) -> pa.ChunkedArray:
        try:
            with pq.ParquetFile(self.shards[shard]) as opened:
                return opened.read_row_group(group, [self.columns[shard].image]).column(0)
        except pa.ArrowException as error:
            raise OSError(f"{self.shards[shard].name}, row group {group}: {' '.join(str(error).split())}") from None


def _beside(shard: Path, path: str) -> bytes:
    """A file that a row names in place of bytes, relative to its shard."""
    return (shard.parent / path).read_bytes()


def list_parquet(data: DataConfig) -> Listing:
    """The rows of all Parquet files below `data.root`.

    Raises:
        UserError: there are none, one is damaged or has no images, or a label is none of the named classes.
    """
    root = existing_root(data)
    found, shards = Found(root), files_within(root, PARQUET, "Parquet files")
    base = root if root.is_dir() else root.parent
    read = [_read(shard) for shard in shards]
    contents = Rows(shards, [columns for columns, *_ in read])
    counts = Counter(path for _, _, paths, _ in read for path in paths)
    named = None not in counts and max(counts.values(), default=2) == 1
    for number, (shard, (columns, table, paths, groups)) in enumerate(zip(shards, read, strict=True)):
        name, stat = shard.relative_to(base).as_posix(), shard.stat()
        labels = table[columns.label] if columns.label else [None] * len(paths)
        roles = table[columns.role] if columns.role else [None] * len(paths)
        width = len(str(max(len(paths) - 1, 0)))
        rows = ((group, row) for group, count in enumerate(groups) for row in range(count))
        for place, (label, said, own, at) in enumerate(zip(labels, roles, paths, rows, strict=True)):
            try:
                text = label_text(label, columns.names)
            except LookupError as error:
                raise UserError(f"data.root: {shard}, row {place} has {error}; mend it") from None
            role = role_of(str(said)) if said not in {None, ""} else role_in(name)
            if role is None:
                raise UserError(
                    f"data.root: {shard}, row {place}: {columns.role}={said!r} is no role; "
                    "use labeled, unlabeled, validation or test"
                )
            path = own if named and own is not None else f"{name}/{place:0{width}}"
            if found.add(path, text, role, size=stat.st_size, changed=stat.st_mtime_ns):
                contents.at.append((number, *at))
    return found.listing(contents)


def _read(shard: Path) -> tuple[Columns, dict[str, Sequence[Any]], list[str | None], list[int]]:
    """Of a file: its columns, labels and roles, what its images are called, and rows of each row group."""
    try:
        with pq.ParquetFile(shard) as opened:
            schema = opened.schema_arrow
            columns = Columns.of(schema, shard)
            groups = [opened.metadata.row_group(number).num_rows for number in range(opened.num_row_groups)]
            wanted = [name for name in (columns.label, columns.role) if name is not None]
            kind = schema.field(columns.image).type
            has_path = pa.types.is_struct(kind) and kind.get_field_index("path") >= 0
            table = opened.read([*wanted, *([f"{columns.image}.path"] if has_path else [])])
            paths = (
                table[columns.image].combine_chunks().field("path").to_pylist() if has_path else [None] * sum(groups)
            )
            return columns, {name: table[name].to_pylist() for name in wanted}, paths, groups
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"data.root: {shard} cannot be read: {' '.join(str(error).split())}; write it anew") from None
