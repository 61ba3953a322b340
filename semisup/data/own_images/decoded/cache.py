"""The folder with all packs: every file is decoded once, whoever asks, and later read as memory-mapped uint8.

A pack is shared by all whose files are the same. Where files are added, a new pack is made of the old one's images and
of the new files'.
"""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from filelock import FileLock
from numpy.typing import NDArray

from semisup.data.listing import Listing
from semisup.data.own_images.decoded.building import Progress, build, new_building, read_hash
from semisup.data.own_images.decoded.checksums import DamagedError
from semisup.data.own_images.decoded.pack import BUILDING, LOCK, POOL, TEST, InTest, Pack, pack_name, settings_key
from semisup.data.own_images.decoded.seen import known_hashes
from semisup.data.own_images.reading.decode import Target
from semisup.errors import NO_SPACE, UserError
from semisup.system.own_files import MARK, delete, followed, is_marked, mark, place_within
from semisup.system.user_cache import EMPTY_TABLES, user_cache
from semisup.wording import counted

FEATURES, FETCHED = "features", "fetched"
"""Where features lie, and what is kept of buckets, beside the folders of packs."""
SUBFOLDER = "semisup-cache"
SETTINGS = re.compile(r"[0-9a-f]{16}")
"""How the folder of all packs is called that were decoded alike."""
OF_A_KEY, BEGUN = re.compile(r"[0-9a-f]{32}"), re.compile(rf"{BUILDING}(\d+-\d+|[0-9a-f]{{32}})")
"""How packs, features and shards are called, and what there is of them."""
OLD_COPIES = re.compile(r"copies-\d+\.npy")
OLD_COLUMNS = frozenset(
    {"path", "size", "changed", "sha", "test", "row", "width", "height", "mode", "animated", "reason"}
)
KEPT_VERSIONS, KEPT_SPEEDS = "code_versions.json", "engines.json"
"""Versions of our code, which lie in the user's folder as well, and how fast engines were."""
OF_OLD = frozenset({POOL, TEST, "files.parquet", LOCK})
"""The files of a pack of an earlier version, which had no marks and no checksums."""
ABANDONED_AFTER = 7 * 24 * 3600
"""Seconds after which nobody is expected to go on with what a killed process began."""


def cache_folder(configured: Path | None) -> Path:
    """The configured folder, of one that holds anything foreign a subfolder, or else `semisup` in the user's cache."""
    if configured is None:
        return followed(user_cache())
    return place_within(configured.expanduser(), SUBFOLDER, _only_ours)


@dataclass(frozen=True)
class Cache:
    """The folder with all packs, and how large it may become in bytes."""

    folder: Path
    limit: int

    def pack(self, listing: Listing, target: Target, in_test: InTest, say: Progress) -> Pack:
        """The decoded images of a listing.

        Raises:
            UserError: the images are more than the cache may hold, or it cannot be written, or the disk is full.
        """
        settings, notes = self.folder / settings_key(target), list[str]()
        with disk_errors(self.folder):
            found = self._find(settings, listing, target, in_test, notes)
            if found is not None:
                return found
            self._check_room(listing, target)
            self.claim()
            settings.mkdir(exist_ok=True)
            with FileLock(builders_lock(settings / BUILDING)):  # whoever waited for it may find the pack made
                notes.clear()
                found = self._find(settings, listing, target, in_test, notes, put_aside=True)
                if found is None:
                    self.make_room(len(listing) * int(np.prod(target.shape)))
                    notes += self._outdated(settings)
                    known = known_hashes(settings, listing, [])
                    name, is_new = build(settings, listing, known, target, in_test, say=say)
                    found = Pack.open(settings / name, target, notes, just_written=is_new)
            self.make_room(0)  # what was copied from may be deleted now
            return found

    def claim(self) -> None:
        """Make the folder, and mark it as ours.

        Raises:
            UserError: it holds what is not ours.
        """
        if not is_marked(self.folder) and self.folder.is_dir() and not _only_ours(self.folder):
            raise UserError(f"data.cache={self.folder} holds files that semisup did not write; name another folder")
        mark(self.folder)

    def _find(
        self,
        settings: Path,
        listing: Listing,
        target: Target,
        in_test: InTest,
        notes: list[str],
        *,
        put_aside: bool = False,
    ) -> Pack | None:
        """The pack, if it is there and whole. What is damaged is noted, and may be put aside, to be copied from."""
        damaged: list[str] = []
        hashes = _hashes(settings, listing, damaged)
        notes += [f"data.cache: {what}; the files are read again" for what in damaged]
        if hashes is None:
            return None
        folder = settings / pack_name(listing, hashes, in_test)
        try:
            return Pack.open(folder, target, notes)
        except FileNotFoundError:  # there is none, or it was deleted at this moment
            return None
        except DamagedError as error:
            notes.append(f"data.cache: {error}; what is damaged is decoded anew")
            if put_aside:
                folder.rename(new_building(settings))
            return None

    def _outdated(self, settings: Path) -> list[str]:
        """A line, where all that there is comes from a version without checksums."""
        if any(settings.glob(f"*/{LOCK}")) or not any(map(_is_old, self.folder.glob("*/*/"))):
            return []
        return [f"data.cache={self.folder}: what an earlier version decoded has no checksums, and is decoded anew"]

    def _check_room(self, listing: Listing, target: Target) -> None:
        needed = len(listing) * int(np.prod(target.shape))
        if needed > self.limit:
            raise UserError(
                f"data.cache_limit={self.limit / 1e9:g} GB, but {counted(len(listing), 'image')} of {target.height} × "
                f"{target.width} take {needed / 1e9:.3g} GB; raise it, or use a smaller data.size"
            )

    def make_room(self, needed: int) -> None:
        """Delete packs, features and shards until there is room for so many bytes: those unused for longest first.

        What a killed process began to build counts as well, for it may be gone on with; where nobody has done so for
        ABANDONED_AFTER it is deleted though there is room.
        """
        parts = [part for folder in self.folder.glob("*/*/") if (part := Part.of(folder)) is not None]
        total = sum(part.size for part in parts)
        abandoned = time.time() - ABANDONED_AFTER
        for part in sorted(parts, key=lambda part: part.used):
            forgotten = _is_begun(part.folder) and part.used < abandoned
            if (forgotten or total + needed > self.limit) and part.delete():
                total -= part.size


@dataclass(frozen=True)
class Part:
    """A folder of the cache: a pack, features, what is kept of a bucket, or what there is of them."""

    folder: Path
    lock: Path
    """Locked by whoever uses the folder or builds it."""
    used: float
    """When it was last used or written to, in seconds since 1970."""
    size: int
    """In bytes."""

    @classmethod
    def of(cls, folder: Path) -> "Part | None":
        """As it is at this moment; None: it is none of ours, or somebody deletes it."""
        if not _is_ours(folder):
            return None
        lock = builders_lock(folder) if _is_begun(folder) else folder / LOCK
        try:
            files = [file.stat() for file in folder.iterdir()]
            used = max(file.st_mtime for file in (folder.stat(), *files)) if _is_begun(folder) else lock.stat().st_mtime
        except FileNotFoundError:
            return None
        return cls(folder, lock, used, sum(file.st_size for file in files))

    def delete(self) -> bool:
        """Unless somebody has it open."""
        try:
            lock = os.open(self.lock, os.O_RDONLY | (os.O_CREAT if _is_begun(self.folder) else 0))
        except FileNotFoundError:
            return True  # somebody else has deleted it
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not delete(self.folder):
                _delete_old(self.folder)
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
        return True


def _is_ours(folder: Path) -> bool:
    """By its place, its name and its mark; or one of an earlier version, by what is in it."""
    of_features = folder.parent.name in {FEATURES, FETCHED}
    if not (of_features or SETTINGS.fullmatch(folder.parent.name)) or folder.parent.is_symlink():
        return False
    if not (OF_A_KEY.fullmatch(folder.name) or BEGUN.fullmatch(folder.name)):
        return False
    return is_marked(folder) or (not of_features and _is_old(folder))


def _is_old(folder: Path) -> bool:
    """Is it a pack of an earlier version, and nothing else?"""
    if folder.is_symlink() or not OF_A_KEY.fullmatch(folder.name) or not SETTINGS.fullmatch(folder.parent.name):
        return False
    with suppress(OSError, ValueError):  # Arrow's own are ValueErrors
        names = {path.name for path in folder.iterdir() if not OLD_COPIES.fullmatch(path.name)}
        return names == OF_OLD and set(pq.read_schema(folder / "files.parquet").names) >= OLD_COLUMNS
    return False


def _delete_old(folder: Path) -> None:
    """File by file, all of which are known."""
    if _is_old(folder):
        for path in folder.iterdir():
            path.unlink(missing_ok=True)
        folder.rmdir()


def _only_ours(folder: Path) -> bool:
    """Is there nothing in a folder but what the cache of any version leaves there?"""
    return all(
        path.name in {FEATURES, FETCHED, MARK, KEPT_VERSIONS, KEPT_SPEEDS}
        or path.name.startswith(".")
        or SETTINGS.fullmatch(path.name)
        or EMPTY_TABLES.fullmatch(path.name)
        for path in folder.iterdir()
    )


def builders_lock(folder: Path) -> Path:
    """What the process has locked that builds features in a folder or fetches a shard, or builds any pack beside it."""
    if folder.parent.name in {FEATURES, FETCHED}:
        return folder.with_name(f"{folder.name.removeprefix(BUILDING)}.building")
    return folder.with_name("building.lock")


def _is_begun(folder: Path) -> bool:
    return folder.name.startswith(BUILDING)


def _hashes(settings: Path, listing: Listing, damaged: list[str]) -> NDArray[np.bytes_] | None:
    """The content's hash of every file (N,), b"" of what cannot be read; None where most would have to be read,
    or any from afar: they would be read again to be decoded."""
    hashes = known_hashes(settings, listing, damaged)
    unknown = np.flatnonzero((hashes == b"") & (listing.sizes >= 0))  # what is not there has no content
    if 2 * len(unknown) > len(hashes) or (len(unknown) and listing.contents.distant):
        return None
    for number in unknown:
        hashes[number] = read_hash(listing.contents, int(number))
    return hashes


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """What goes wrong with the cache's disk, in words for people."""
    try:
        yield
    except OSError as error:
        what = "is full" if error.errno in NO_SPACE else f"cannot be used: {error.strerror}"
        raise UserError(
            f"data.cache={folder} {what}; name another folder, or make room (what was decoded so far is kept)"
        ) from error
