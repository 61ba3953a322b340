"""Where files lie that name images beside them: in a folder of the disk, or below a prefix in a bucket."""

import json
import os
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from semisup.config import DataConfig
from semisup.config.urls import suffix_of
from semisup.data.listing import Contents, Files
from semisup.data.own_images.containers.files import existing_root
from semisup.data.own_images.containers.found import Found
from semisup.data.own_images.folders.keys import Keys
from semisup.data.own_images.folders.tree import Stamps, Walk, stamps_below
from semisup.data.own_images.remote.bucket import Bucket, Object
from semisup.data.own_images.remote.kept import Kept
from semisup.errors import UserError

Said: TypeAlias = Any
"""What JSON can say."""
Look: TypeAlias = Callable[[dict[str, Any], str], Said]
"""(what a JSON file holds, how errors name it) → what is to be known of it."""


class Shelf(Protocol):
    """Files of which some name others. Paths are relative to it, with slashes."""

    found: Found
    named: str | None
    """The one JSON file that the config names itself."""

    def where(self, path: str) -> str:
        """How errors name a file."""
        ...

    def tables(self) -> list[str]:
        """All JSON files right here or one folder below, sorted."""
        ...

    def images(self, folder: str) -> list[str]:
        """All image files below a folder, sorted; hidden ones are left out."""
        ...

    def has(self, path: str) -> bool:
        """Is there such a file?"""
        ...

    def below(self, path: str) -> str | None:
        """The path without detours; None: it leads out of the shelf."""
        ...

    def looked_into(self, paths: Sequence[str], kind: str, look: Look) -> list[Said]:
        """What `look` says of JSON files.

        Raises:
            UserError: one is not there or cannot be read, or as `look` does.
        """
        ...

    def stamps(self, paths: Sequence[str]) -> Stamps:
        """Of files that may be gone, as in `Listing`."""
        ...

    def contents(self, paths: Sequence[str]) -> Contents:
        """Of the same files."""
        ...


def shelf_of(data: DataConfig) -> Shelf:
    """Of `data.root` or `data.url`, which may name a JSON file themselves.

    Raises:
        UserError: it is not there, must not be read or does not answer.
    """
    if data.url is None:
        root = existing_root(data)
        base = root if root.is_dir() else root.parent
        return OnDisk(Found.below(base), None if root.is_dir() else root.name, base)
    base_url, _, name = data.url.rpartition("/")
    one = suffix_of(data.url) == ".json"
    bucket = Bucket.at(base_url if one else data.url)
    found = Found.in_bucket(bucket)
    return InBucket(found, name if one else None, Keys(bucket), Kept.of(bucket, data))


@dataclass
class OnDisk:
    """A folder."""

    found: Found
    named: str | None
    base: Path

    def where(self, path: str) -> str:
        """As in `Shelf`."""
        return f"data.root: {self.base / path}"

    def tables(self) -> list[str]:
        """As in `Shelf`."""
        paths = (*self.base.glob("*.json"), *self.base.glob("*/*.json"))
        return sorted(path.relative_to(self.base).as_posix() for path in paths)

    def images(self, folder: str) -> list[str]:
        """As in `Shelf`."""
        walk = Walk(str(self.base))
        return [posixpath.join(folder, path) for path in walk.images(folder)] if (self.base / folder).is_dir() else []

    def has(self, path: str) -> bool:
        """As in `Shelf`."""
        return (self.base / path).is_file()

    def below(self, path: str) -> str | None:
        """As in `Shelf`."""
        try:
            return (self.base / path).resolve().relative_to(self.base.resolve()).as_posix()
        except ValueError:
            return None

    def looked_into(self, paths: Sequence[str], kind: str, look: Look) -> list[Said]:
        """As in `Shelf`."""
        return [look(self._read(path), self.where(path)) for path in paths]

    def _read(self, path: str) -> dict[str, Any]:
        try:
            return parsed((self.base / path).read_bytes(), self.where(path))
        except FileNotFoundError:
            raise UserError(f"{self.where(path)} does not exist; name the folder or file of the export") from None
        except OSError as error:
            raise UserError(f"{self.where(path)} cannot be read: {error}; export it anew") from None

    def stamps(self, paths: Sequence[str]) -> Stamps:
        """As in `Shelf`."""
        return stamps_below(str(self.base), paths)

    def contents(self, paths: Sequence[str]) -> Contents:
        """As in `Shelf`."""
        return Files(os.path.realpath(self.base), paths)


@dataclass
class InBucket:
    """What lies below a prefix. A JSON file is read once for each of its versions."""

    found: Found
    named: str | None
    keys: Keys
    kept: Kept

    def where(self, path: str) -> str:
        """As in `Shelf`."""
        return f"data.url: {self.keys.bucket.url}/{path}"

    def tables(self) -> list[str]:
        """As in `Shelf`."""
        return [path for path in self.keys.objects if path.endswith(".json") and path.count("/") <= 1]

    def images(self, folder: str) -> list[str]:
        """As in `Shelf`."""
        return [posixpath.join(folder, path) for path in self.keys.images(folder)]

    def has(self, path: str) -> bool:
        """As in `Shelf`."""
        return posixpath.normpath(path) in self.keys.objects

    def below(self, path: str) -> str | None:
        """As in `Shelf`."""
        short = posixpath.normpath(path)
        return None if short.startswith(("../", "/")) else short

    def looked_into(self, paths: Sequence[str], kind: str, look: Look) -> list[Said]:
        """As in `Shelf`."""
        objects = self.keys.objects
        for path in paths:
            if path not in objects:
                raise UserError(f"{self.where(path)} does not exist; name the prefix or the file of the export")

        def read(of: Object) -> Said:
            where = self.where(of.path)
            return look(parsed(self.keys.bucket.read(of.key), where), where)

        return self.kept.told([objects[path] for path in paths], kind, read)

    def stamps(self, paths: Sequence[str]) -> Stamps:
        """As in `Shelf`."""
        return self.keys.stamps(paths)

    def contents(self, paths: Sequence[str]) -> Contents:
        """As in `Shelf`."""
        return self.keys.contents(paths)


def parsed(content: bytes, where: str) -> dict[str, Any]:
    """The object in a JSON file; {} where it holds something else.

    Raises:
        UserError: it is no JSON.
    """
    try:
        said = json.loads(content)
    except ValueError as error:
        raise UserError(f"{where} cannot be read: {error}; export it anew") from None
    return said if isinstance(said, dict) else {}
