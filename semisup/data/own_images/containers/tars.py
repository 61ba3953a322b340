"""Tar files of images, as WebDataset has them: `000017.jpg` and beside it its label, `000017.cls` or `000017.json`.

Tars without a single label are packed folders: then the names of members say classes and roles, as those of files do.
Members are read where they lie, in any order; nothing is unpacked.
"""

import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from semisup.config import DataConfig
from semisup.data.listing import Listing
from semisup.data.own_images.containers.found import Found, existing_root, files_within, label_text, role_in
from semisup.data.own_images.folders.roles import Given, role_of
from semisup.data.own_images.reading.decode import EXTENSIONS
from semisup.errors import UserError

TARS = frozenset({".tar"})
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
LABELS, FACTS = frozenset({".cls", ".class"}), ".json"
LABEL_KEYS = ("label", "cls", "class", "class_name")
NAMES = ("classnames.txt", "classes.txt")
"""Files beside the shards that name the classes, one a line, in the order of their numbers."""
MOST_LABEL = 2**20
"""Bytes of a member that says a label."""


@dataclass(frozen=True, slots=True)
class Member:
    """One image in a shard."""

    shard: int
    offset: int
    size: int


@dataclass
class Members:
    """Images in tar files, read where they lie."""

    shards: list[str]
    members: list[Member] = field(default_factory=list)

    def read(self, number: int) -> bytes:
        """As in `Contents`."""
        member = self.members[number]
        with open(self.shards[member.shard], "rb") as file:
            content = os.pread(file.fileno(), member.size, member.offset)
        if len(content) < member.size:
            raise OSError(f"{self.shards[member.shard]} ends before it does")
        return content

    def file(self, number: int) -> None:
        """As in `Contents`: tars hold many."""


@dataclass
class Shard:
    """What a tar file holds, before it is known whose label is whose."""

    path: Path
    name: str
    """Relative to the root."""
    images: list[tuple[str, int, int]] = field(default_factory=list)
    """(name, offset, size)."""
    labels: dict[str, Any] = field(default_factory=dict)
    """Member without its extension → what it says."""

    @classmethod
    def read(cls, path: Path, name: str, passed_over: Counter[str]) -> "Shard":
        """Its headers, and the contents of members that say labels.

        Raises:
            UserError: it is no tar file, compressed, damaged, or a label in it cannot be read.
        """
        shard, last = cls(path, name), "its start"
        with path.open("rb") as file:
            if file.read(6).startswith(COMPRESSED):
                raise UserError(
                    f"data.root: {path} is compressed, so nothing in it can be found; unpack it to a plain .tar"
                )
            file.seek(0)
            try:
                with tarfile.open(fileobj=file, mode="r:") as opened:
                    for member in opened:
                        shard._take(opened, member, passed_over)
                        last = repr(member.name)
            except (tarfile.TarError, EOFError) as error:
                raise UserError(f"data.root: {path} is damaged behind {last} ({error}); write it anew") from None
        return shard

    def _take(self, opened: tarfile.TarFile, member: tarfile.TarInfo, passed_over: Counter[str]) -> None:
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
                raise UserError(
                    f"data.root: {self.path}, member {member.name!r} cannot be read: {error}; mend it"
                ) from None
        else:
            passed_over["members of tars that are neither images nor labels"] += 1

    def label_of(self, image: str) -> Any:
        """What lies beside an image: of its own name, or of WebDataset's key, its name up to the first dot."""
        own = os.path.splitext(image)[0]
        return self.labels[own] if own in self.labels else self.labels.get(key_of(image))


def key_of(name: str) -> str:
    """What WebDataset takes for the name of a sample: a path up to the first dot of its last part."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def list_tars(data: DataConfig) -> Listing:
    """The images of all tars below `data.root`.

    Raises:
        UserError: there are none, one is damaged, or a label is none of the named classes.
    """
    root = existing_root(data)
    found, paths = Found(root), files_within(root, TARS, "tar files")
    base = root if root.is_dir() else root.parent
    shards = [Shard.read(path, path.relative_to(base).as_posix(), found.passed_over) for path in paths]
    contents = Members([os.path.realpath(path) for path in paths])
    packed_folder = not any(shard.labels for shard in shards)
    names = _class_names(base)
    twice = {
        name for name, count in Counter(name for shard in shards for name, *_ in shard.images).items() if count > 1
    }
    folders = _Folders.of(shards) if packed_folder else None
    for number, shard in enumerate(shards):
        changed, role = shard.path.stat().st_mtime_ns, role_in(shard.name)
        for name, offset, size in shard.images:
            try:
                said = (role, label_text(shard.label_of(name), names)) if folders is None else folders.said(name, role)
            except LookupError as error:
                raise UserError(f"data.root: {shard.path}, member {name!r} has {error}; mend it") from None
            path = f"{shard.name}/{name}" if name in twice else name
            if found.add(path, said[1], said[0], size=size, changed=changed):
                contents.members.append(Member(number, offset, size))
    found.notes += _told_apart(shards)
    return found.listing(contents)


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


def _class_names(base: Path) -> list[str]:
    for name in NAMES:
        if (file := base / name).is_file():
            return file.read_text(encoding="utf-8").splitlines()
    return []


def _told_apart(shards: list[Shard]) -> Iterator[str]:
    """A line, where WebDataset itself would read several images as one sample."""
    for shard in shards:
        for key, count in Counter(key_of(name) for name, *_ in shard.images).items():
            if count > 1:
                yield (
                    f"{shard.path.name}: {count} images are called {key.rpartition('/')[2]}.…, which WebDataset itself "
                    "reads as one sample, for it cuts names at the first dot; here each counts for itself"
                )
                return
