"""The folder with all packs: every file is decoded once, whoever asks, and later read as memory-mapped uint8.

A pack is shared by all whose files are the same. Where files are added, a new pack is made of the old one's images and
of the new files'.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from semisup.data.own_images.building import Progress, build, read_hash
from semisup.data.own_images.decode import Target
from semisup.data.own_images.listing import Listing
from semisup.data.own_images.pack import BUILDING, LOCK, InTest, Pack, pack_name, settings_key
from semisup.data.own_images.seen import known_hashes
from semisup.errors import NO_SPACE, UserError
from semisup.user_cache import user_cache

FEATURES = "features"
"""Where features lie, beside the folders of packs."""
ABANDONED_AFTER = 7 * 24 * 3600
"""Seconds after which nobody is expected to go on with what a killed process began."""


def cache_folder(configured: Path | None) -> Path:
    """The configured folder, or else `semisup` in the user's cache folder."""
    return user_cache() if configured is None else configured.expanduser()


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
        settings = self.folder / settings_key(target)
        with disk_errors(self.folder):
            found = self._find(settings, listing, target, in_test)
            if found is not None:
                return found
            self._check_room(listing, target)
            settings.mkdir(parents=True, exist_ok=True)
            with FileLock(builders_lock(settings / BUILDING)):  # whoever waited for it may find the pack made
                found = self._find(settings, listing, target, in_test)
                if found is None:
                    self.make_room(len(listing) * int(np.prod(target.shape)))
                    known = known_hashes(settings, listing)
                    found = Pack.open(settings / build(settings, listing, known, target, in_test, say=say), target)
            self.make_room(0)  # what was copied from may be deleted now
            return found

    def _find(self, settings: Path, listing: Listing, target: Target, in_test: InTest) -> Pack | None:
        hashes = _hashes(settings, listing)
        if hashes is None:
            return None
        try:
            return Pack.open(settings / pack_name(listing, hashes, in_test), target)
        except FileNotFoundError:  # there is none, or it was deleted at this moment
            return None

    def _check_room(self, listing: Listing, target: Target) -> None:
        needed = len(listing) * int(np.prod(target.shape))
        if needed > self.limit:
            raise UserError(
                f"data.cache_limit={self.limit / 1e9:g} GB, but {len(listing):,} images of {target.height} × "
                f"{target.width} take {needed / 1e9:.3g} GB; raise it, or use a smaller data.size"
            )

    def make_room(self, needed: int) -> None:
        """Delete packs and features until there is room for so many bytes: the longest unused first, none in use.

        What a killed process began to build counts as well, for it may be gone on with; where nobody has done so for
        ABANDONED_AFTER it is deleted though there is room.
        """
        whole = [Part.of(lock.parent, lock) for lock in self.folder.glob(f"*/*/{LOCK}") if not _is_begun(lock.parent)]
        begun = [Part.of(folder, builders_lock(folder)) for folder in self.folder.glob(f"*/{BUILDING}*/")]
        parts = [part for part in (*whole, *begun) if part is not None]
        total = sum(part.size for part in parts)
        abandoned = time.time() - ABANDONED_AFTER
        for part in sorted(parts, key=lambda part: part.used):
            forgotten = _is_begun(part.folder) and part.used < abandoned
            if (forgotten or total + needed > self.limit) and part.delete():
                total -= part.size


@dataclass(frozen=True)
class Part:
    """A folder of the cache: a pack, features, or what there is of them."""

    folder: Path
    lock: Path
    """Locked by whoever uses the folder or builds it."""
    used: float
    """When it was last used or written to, in seconds since 1970."""
    size: int
    """In bytes."""

    @classmethod
    def of(cls, folder: Path, lock: Path) -> "Part | None":
        """As it is at this moment; None: somebody deletes it."""
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
            shutil.rmtree(self.folder, ignore_errors=True)
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
        return True


def builders_lock(folder: Path) -> Path:
    """What the process has locked that builds features in a folder, or any pack beside it."""
    if folder.parent.name == FEATURES:
        return folder.with_name(f"{folder.name.removeprefix(BUILDING)}.building")
    return folder.with_name("building.lock")


def _is_begun(folder: Path) -> bool:
    return folder.name.startswith(BUILDING)


def _hashes(settings: Path, listing: Listing) -> NDArray[np.bytes_] | None:
    """The content's hash of every file (N,), b"" of what cannot be read; None where most would have to be read."""
    hashes = known_hashes(settings, listing)
    unknown = np.flatnonzero(hashes == b"")
    if 2 * len(unknown) > len(hashes):
        return None
    for number in unknown:
        hashes[number] = read_hash(os.path.join(listing.root, listing.paths[number]))
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
