"""Tar files of images, as WebDataset has them: `000017.jpg` and beside it its label, `000017.cls` or `000017.json`.

Tars without a single label are packed folders: then the names of members say classes and roles, as those of files do.
Members are read where they lie, in any order; nothing is unpacked. From a bucket a shard is fetched once, looked
through, and kept in the cache while there is room; what it holds is known from then on.
"""

import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from semisup.config import DataConfig
from semisup.data.listing import Listing
from semisup.data.own_images.containers.files import existing_root, files_within, objects_of, objects_within
from semisup.data.own_images.containers.found import Found, label_text, role_in
from semisup.data.own_images.folders.roles import Given, role_of
from semisup.data.own_images.reading.decode import EXTENSIONS
from semisup.data.own_images.remote.bucket import Object
from semisup.data.own_images.remote.kept import Kept
from semisup.errors import UserError

TARS = frozenset({".tar"})
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
LABELS, FACTS = frozenset({".cls", ".class"}), ".json"
LABEL_KEYS = ("label", "cls", "class", "class_name")
NAMES = ("classnames.txt", "classes.txt")
"""Files beside the shards that name the classes, one a line, in the order of their numbers."""
MOST_LABEL = 2**20
"""Bytes of a member that says a label."""


Ranges: TypeAlias = Callable[[int, int], bytes]
"""Start and size of a piece of a file → its bytes; an OSError where they cannot be read."""


@dataclass(frozen=True, slots=True)
class Member:
    """One image in a shard."""

    shard: int
    offset: int
    size: int


@dataclass
class Members:
    """Images in tar files."""

    shards: list[Ranges]
    members: list[Member] = field(default_factory=list)
    distant: bool = False
    """As in `Contents`."""

    def read(self, number: int) -> bytes:
        """As in `Contents`."""
        member = self.members[number]
        return self.shards[member.shard](member.offset, member.size)

    def file(self, number: int) -> None:
        """As in `Contents`: tars hold many."""


@dataclass
class Shard:
    """What a tar file holds, before it is known whose label is whose."""

    where: str
    """As errors name it."""
    images: list[tuple[str, int, int]] = field(default_factory=list)
    """(name, offset, size)."""
    labels: dict[str, Any] = field(default_factory=dict)
    """Member without its extension → what it says."""
    others: int = 0
    """Members that are neither."""

    @classmethod
    def read(cls, path: Path, where: str) -> "Shard":
        """Its headers, and the contents of members that say labels.

        Raises:
            UserError: it is no tar file, compressed, damaged, or a label in it cannot be read.
        """
        shard, last = cls(where), "its start"
        with path.open("rb") as file:
            if file.read(6).startswith(COMPRESSED):
                raise UserError(f"{where} is compressed, so nothing in it can be found; unpack it to a plain .tar")
            file.seek(0)
            try:
                with tarfile.open(fileobj=file, mode="r:") as opened:
                    for member in opened:
                        shard._take(opened, member)
                        last = repr(member.name)
            except (tarfile.TarError, EOFError) as error:
                raise UserError(f"{where} is damaged behind {last} ({error}); write it anew") from None
        return shard

    def _take(self, opened: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        base = member.name.rpartition("/")[2]
        if not member.isfile() or base.startswith(".") or member.issparse():
            return
        stem, extension = os.path.splitext(member.name)
        extension = extension.lower()
        if extension in EXTENSIONS:
            self.images.append((member.name.removeprefix("./"), member.offset_data, member.size))
        elif extension in LABELS or extension == FACTS:
            content = opened.extractfile(member)
            assert content is not None, "it is a file"
            try:
                text = content.read(MOST_LABEL).decode()
                self.labels.setdefault(
                    stem.removeprefix("./"), text if extension in LABELS else _said(json.loads(text))
                )
            except ValueError as error:
                raise UserError(f"{self.where}, member {member.name!r} cannot be read: {error}; mend it") from None
        else:
            self.others += 1

    def label_of(self, image: str) -> Any:
        """What lies beside an image: of its own name, or of WebDataset's key, its name up to the first dot."""
        own = os.path.splitext(image)[0]
        return self.labels[own] if own in self.labels else self.labels.get(key_of(image))


def key_of(name: str) -> str:
    """What WebDataset takes for the name of a sample: a path up to the first dot of its last part."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def list_tars(data: DataConfig) -> Listing:
    """The images of all tars below `data.root` or `data.url`.

    Raises:
        UserError: there are none, one is damaged, or a label is none of the named classes.
    """
    found, tars = _on_disk(data) if data.url is None else _in_bucket(data)
    shards = [tar.shard for tar in tars]
    if others := sum(shard.others for shard in shards):
        found.passed_over["members of tars that are neither images nor labels"] += others
    contents = Members([tar.ranges for tar in tars], distant=not all(tar.near for tar in tars))
    packed_folder = not any(shard.labels for shard in shards)
    twice = {
        name for name, count in Counter(name for shard in shards for name, *_ in shard.images).items() if count > 1
    }
    folders = _Folders.of(shards) if packed_folder else None
    for number, tar in enumerate(tars):
        shard, role = tar.shard, role_in(tar.name)
        for name, offset, size in shard.images:
            try:
                said = (
                    (role, label_text(shard.label_of(name), tar.class_names))
                    if folders is None
                    else folders.said(name, role)
                )
            except LookupError as error:
                raise UserError(f"{shard.where}, member {name!r} has {error}; mend it") from None
            path = f"{tar.name}/{name}" if name in twice else name
            if found.add(path, said[1], said[0], size=size, changed=tar.changed):
                contents.members.append(Member(number, offset, size))
    found.notes += _told_apart(shards)
    return found.listing(contents)


class _Tar(NamedTuple):
    """A shard, and where it lies."""

    name: str
    """Relative to the root."""
    shard: Shard
    changed: int
    """As in `Listing`."""
    ranges: Ranges
    class_names: Sequence[str]
    near: bool
    """Is it on the disk?"""


def _on_disk(data: DataConfig) -> tuple[Found, list[_Tar]]:
    root = existing_root(data)
    base = root if root.is_dir() else root.parent
    names = next((_lines((base / name).read_bytes(), base / name) for name in NAMES if (base / name).is_file()), [])
    tars = [
        _Tar(
            path.relative_to(base).as_posix(),
            Shard.read(path, f"data.root: {path}"),
            path.stat().st_mtime_ns,
            partial(_pread, os.path.realpath(path)),
            names,
            near=True,
        )
        for path in files_within(root, TARS, "tar files")
    ]
    return Found.below(root), tars


def _lines(content: bytes, where: object) -> list[str]:
    try:
        return content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is no UTF-8: {error}; save it as UTF-8") from None


def _pread(path: str, start: int, size: int) -> bytes:
    with open(path, "rb") as file:
        content = os.pread(file.fileno(), size, start)
    if len(content) < size:
        raise OSError(f"{path} ends before it does")
    return content


def _in_bucket(data: DataConfig) -> tuple[Found, list[_Tar]]:
    bucket, objects = objects_within(data, TARS, "tar files")
    kept = Kept.of(bucket, data)
    shards = objects_of(objects, TARS)
    naming = [of for name in NAMES for of in objects if of.path == name][:1]
    (names,) = kept.told(naming, "names", lambda of: _lines(bucket.read(of.key), of.path)) or [[]]

    def look(of: Object) -> dict[str, Any]:
        where = f"data.url: {bucket.url}/{of.path}"
        said: dict[str, Any] = kept.looked_into(of, lambda path: asdict(Shard.read(path, where)))
        return said

    tars = [
        _Tar(of.path, Shard(**said), of.changed, partial(kept.read, of), names, near=kept.is_here(of))
        for of, said in zip(shards, kept.told(shards, "tars", look), strict=True)
    ]
    return Found.in_bucket(bucket), tars


@dataclass(frozen=True)
class _Folders:
    """Of packed folders: how many parts of a member's name come before those that say something."""

    above: int
    roles: bool

    @classmethod
    def of(cls, shards: list[Shard]) -> "_Folders":
        parts = [name.split("/")[:-1] for shard in shards for name, *_ in shard.images]
        above = _shared(parts)
        while above and any(len(of_one) <= above for of_one in parts):
            above -= 1  # the last common part is a class or a role of its own
        firsts = {of_one[above] for of_one in parts if len(of_one) > above}
        return cls(above, any(role_of(first) is not None for first in firsts))

    def said(self, name: str, role: Given) -> tuple[Given, str | None]:
        """(role, class) of a member whose shard says a role, or none."""
        parts = name.split("/")[:-1][self.above :]
        if self.roles and parts and (own := role_of(parts[0])) is not None:
            role, parts = own, parts[1:]
        return role, parts[0].strip() if parts and role != "unlabeled" else None


def _shared(parts: list[list[str]]) -> int:
    """How many leading parts all have in common."""
    levels = (len(set(level)) == 1 for level in zip(*parts, strict=False))
    return sum(1 for _ in takewhile(bool, levels))


def _said(facts: Any) -> Any:
    """The label in a member of JSON: the value itself, or that of a usual key."""
    if not isinstance(facts, dict):
        return facts if isinstance(facts, str | int | float) else None
    return next((facts[key] for key in LABEL_KEYS if key in facts), None)


def _told_apart(shards: list[Shard]) -> Iterator[str]:
    """A line, where WebDataset itself would read several images as one sample."""
    for shard in shards:
        name = shard.where.rpartition("/")[2]
        for key, count in Counter(key_of(name) for name, *_ in shard.images).items():
            if count > 1:
                yield (
                    f"{name}: {count} images are called {key.rpartition('/')[2]}.…, which WebDataset itself "
                    "reads as one sample, for it cuts names at the first dot; here each counts for itself"
                )
                return
