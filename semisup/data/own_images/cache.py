"""The folder with all packs: every file is decoded once, whoever asks, and later read as memory-mapped uint8.

A pack is shared by all whose files are the same. Where files are added, a new pack is made of the old one's images and
of the new files'.
"""

import fcntl
import os
import shutil
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
from semisup.data.own_images.pack import LOCK, InTest, Pack, pack_name, settings_key
from semisup.data.own_images.seen import known_hashes
from semisup.errors import NO_SPACE, UserError


def cache_folder(configured: Path | None) -> Path:
    """The configured folder, or else `semisup` in the user's cache folder."""
    if configured is not None:
        return configured.expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "semisup"


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
            with FileLock(settings / "building.lock"):  # whoever waited for it may find the pack made
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
        """Delete packs and features until there is room for so many bytes: the longest unused first, none in use."""
        packs = [lock.parent for lock in self.folder.glob(f"*/*/{LOCK}")]
        sizes = {pack: sum(file.stat().st_size for file in pack.iterdir()) for pack in packs}
        total = sum(sizes.values())
        for pack in sorted(packs, key=lambda pack: (pack / LOCK).stat().st_mtime):
            if total + needed <= self.limit:
                return
            with (pack / LOCK).open("rb") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue  # somebody has it open
                shutil.rmtree(pack, ignore_errors=True)
                total -= sizes[pack]


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
