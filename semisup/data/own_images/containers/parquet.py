"""Parquet or Arrow files with a column of images, as Hugging Face's `datasets` writes them: bytes, or a path beside."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from semisup.config import DataConfig
from semisup.data.listing import NEVER_SURE, Listing
from semisup.data.own_images.containers.files import existing_root, files_within, objects_of, objects_within
from semisup.data.own_images.containers.found import Found, SeveralClassesError, label_text, role_in
from semisup.data.own_images.containers.row_files import ARROW, open_rows, parts_of
from semisup.data.own_images.folders.roles import role_of
from semisup.data.own_images.remote.bucket import Bucket
from semisup.data.own_images.remote.kept import Kept
from semisup.errors import UserError

PARQUET = frozenset({".parquet", ".pq"}) | ARROW
IMAGES = ("image", "img", "picture", "bytes", "content", "jpg", "png")
LABELS = ("label", "labels", "class", "fine_label", "target", "category")
ROLES = ("role", "split")
PLAIN = (str, int, float, list, dict, type(None))
"""Types of labels that JSON hands back as they were."""
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
    def of(cls, schema: pa.Schema, where: str) -> "Columns":
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
                f"{where} has {problem} (its columns: {', '.join(schema.names)}); it needs one, of bytes or of "
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


class Shard(NamedTuple):
    """A Parquet file, wherever it lies."""

    name: str
    """Relative to the root."""
    where: str
    """As errors name it."""
    size: int
    changed: int
    """As in `Listing`."""
    opened: Callable[[], Any]
    """What pyarrow can read from."""
    beside: Callable[[str], bytes]
    """Reads a file by its path relative to this one's folder, which a row may name in place of bytes."""


@dataclass
class Head:
    """What is known of a file's rows without a look at an image; JSON can say it all."""

    columns: Columns
    labels: list[Any] | None
    roles: list[Any] | None
    paths: list[str | None]
    """What its images are called."""
    groups: list[int]
    """Rows of each row group."""
    holds_bytes: list[bool]
    """Of each row group: has every row its image's bytes? Otherwise files beside it hold some, which may change."""

    @classmethod
    def read(cls, shard: Shard) -> "Head":
        """Its footer, labels and roles.

        Raises:
            UserError: it is damaged, or has no images.
        """
        try:
            with open_rows(shard.opened(), shard.name) as opened:
                columns = Columns.of(opened.schema, shard.where)
                groups, holds_bytes = opened.groups, opened.holds_bytes(columns.image)
                wanted = [name for name in (columns.label, columns.role) if name is not None]
                kind = opened.schema.field(columns.image).type
                has_path = pa.types.is_struct(kind) and kind.get_field_index("path") >= 0
                table = opened.columns([*wanted, *([f"{columns.image}.path"] if has_path else [])])
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{shard.where} cannot be read: {' '.join(str(error).split())}; write it anew") from None
        paths = parts_of(table[columns.image])["path"].to_pylist() if has_path else [None] * sum(groups)
        labels, roles = (None if name is None else table[name].to_pylist() for name in (columns.label, columns.role))
        return cls(columns, labels, roles, paths, groups, holds_bytes)

    @classmethod
    def told(cls, said: dict[str, Any]) -> "Head":
        """From what JSON kept of it."""
        columns = Columns(**said["columns"] | {"names": tuple(said["columns"]["names"])})
        return cls(**said | {"columns": columns})

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        labels = self.labels and [value if isinstance(value, PLAIN) else str(value) for value in self.labels]
        roles = self.roles and [None if value is None else str(value) for value in self.roles]
        return asdict(self) | {"labels": labels, "roles": roles}


@dataclass
class Rows:
    """Images in row groups, of which the last used ones are kept."""

    shards: list[Shard]
    columns: list[Columns]
    at: list[tuple[int, int, int]] = field(default_factory=list)
    """(shard, row group, row within) of each image."""
    lock: Lock = field(default_factory=Lock)
    distant: ClassVar[bool] = False
    """As in `Contents`: of a bucket, one read in hundreds waits."""

    def __post_init__(self) -> None:
        self._group = lru_cache(GROUPS_KEPT)(self._read_group)

    def read(self, number: int) -> bytes:
        """As in `Contents`."""
        shard, group, row = self.at[number]
        with self.lock:  # two threads that want one group would each read it
            contents, paths = self._group(shard, group)
        content = contents[row].as_py()
        if content is None and paths is not None and (path := paths[row].as_py()) is not None:
            content = self.shards[shard].beside(path)
        if not isinstance(content, bytes):
            raise OSError("the row has neither bytes nor a path")
        return content

    def file(self, number: int) -> None:
        """As in `Contents`: Parquet files hold many."""

    def _read_group(self, shard: int, group: int) -> tuple[pa.ChunkedArray, pa.ChunkedArray | None]:
        """Bytes and, where the file has them, paths of all rows: a struct made a dict of Python's takes longer."""
        try:
            with open_rows(self.shards[shard].opened(), self.shards[shard].name) as opened:
                column = opened.group(group, self.columns[shard].image)
            if not pa.types.is_struct(column.type):
                return column, None
            parts = parts_of(column)
            return parts["bytes"], parts.get("path")
        except pa.ArrowException as error:
            where = self.shards[shard].name.rpartition("/")[2]
            raise OSError(f"{where}, row group {group}: {' '.join(str(error).split())}") from None


def list_parquet(data: DataConfig) -> Listing:
    """The rows of all Parquet files below `data.root` or `data.url`.

    Raises:
        UserError: there are none, one is damaged or has no images, or a label is none of the named classes.
    """
    found, shards, heads = _on_disk(data) if data.url is None else _in_bucket(data)
    contents = Rows(shards, [head.columns for head in heads])
    counts = Counter(path for head in heads for path in head.paths)
    named = None not in counts and max(counts.values(), default=2) == 1
    for number, (shard, head) in enumerate(zip(shards, heads, strict=True)):
        nothing = [None] * len(head.paths)
        width = len(str(max(len(head.paths) - 1, 0)))
        rows = ((group, row) for group, count in enumerate(head.groups) for row in range(count))
        columns = zip(head.labels or nothing, head.roles or nothing, head.paths, rows, strict=True)
        for place, (label, said, own, at) in enumerate(columns):
            try:
                text = label_text(label, head.columns.names)
            except SeveralClassesError:
                found.pass_over_several()
                continue
            except LookupError as error:
                raise UserError(f"{shard.where}, row {place} has {error}; mend it") from None
            role = role_in(shard.name) if said is None or said == "" else role_of(str(said))
            if role is None:
                raise UserError(
                    f"{shard.where}, row {place}: {head.columns.role}={said!r} is no role; "
                    "use labeled, unlabeled, validation or test"
                )
            path = own if named and own is not None else f"{shard.name}/{place:0{width}}"
            changed = shard.changed if head.holds_bytes[at[0]] else NEVER_SURE
            if found.add(path, text, role, size=shard.size, changed=changed):
                contents.at.append((number, *at))
    return found.listing(contents)


def _on_disk(data: DataConfig) -> tuple[Found, list[Shard], list[Head]]:
    root = existing_root(data)
    base = root if root.is_dir() else root.parent
    shards = []
    features = data.features and data.features.expanduser().resolve()
    for path in files_within(root, PARQUET, "Parquet files"):
        if path.resolve() == features:
            continue
        stat = path.stat()
        shards.append(
            Shard(
                path.relative_to(base).as_posix(),
                f"data.root: {path}",
                stat.st_size,
                stat.st_mtime_ns,
                opened=partial(Path, path),
                beside=partial(_beside, path.parent),
            )
        )
    return Found.below(root), shards, [Head.read(shard) for shard in shards]


def _beside(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()


def _beside_key(bucket: Bucket, folder: str, name: str) -> bytes:
    return bucket.read(f"{folder}/{name}")


def _in_bucket(data: DataConfig) -> tuple[Found, list[Shard], list[Head]]:
    bucket, objects = objects_within(data, PARQUET, "Parquet files")
    wanted = objects_of(objects, PARQUET)
    shards = [
        Shard(
            of.path,
            f"data.url: {bucket.url}/{of.path}",
            of.size,
            of.changed,
            opened=partial(bucket.opened, of),
            beside=partial(_beside_key, bucket, of.key.rpartition("/")[0]),
        )
        for of in wanted
    ]
    place = {of: number for number, of in enumerate(wanted)}
    heads = Kept.of(bucket, data).told(wanted, "parquet", lambda of: Head.read(shards[place[of]]).plain())
    return Found.in_bucket(bucket), shards, list(map(Head.told, heads))
