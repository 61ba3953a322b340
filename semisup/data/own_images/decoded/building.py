"""Making a pack: threads read, hash and decode, one thread writes in the order of the listing.

A building that is killed leaves its folder, and the next one copies from there what is done, as it does from older
packs with files of the same contents.
"""

import fcntl
import hashlib
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from semisup.data.listing import Contents, Listing
from semisup.data.own_images.decoded.checksums import DamagedError, checksum, remember_verified
from semisup.data.own_images.decoded.pack import (
    BUILDING,
    COLUMNS,
    FILES,
    LOCK,
    POOL,
    TEST,
    InTest,
    Pack,
    is_test,
    mapped,
    pack_name,
    read_files,
)
from semisup.data.own_images.decoded.seen import PARTS, ROOT, hashes_of, read_parts, remember, write_sealed
from semisup.data.own_images.reading.decode import JPEG_EXTENSIONS, BrokenImageError, Target, decode
from semisup.data.own_images.reading.threads import worked_ahead
from semisup.system.own_files import delete, mark

FILES_PER_TASK = 128
OBJECTS_PER_TASK, WAITING = 16, 16
"""Where every read waits for a network: images of a task, and how many tasks wait at once."""
FILES_PER_PART = 4096
SMALL = 8192
"""Bytes of a JPEG file below which one thread decodes: half of the files are smaller."""
BUFFER = 2**20
"""Bytes that are written at once: small images would be a call of the system each."""
Progress = Callable[[int, int, str], None]
"""Is told how many of how many files are done, and what was done to them."""


@dataclass(frozen=True)
class Done:
    """What became of one file."""

    sha: str
    pixels: NDArray[np.uint8] | None
    width: int = 0
    height: int = 0
    mode: str = ""
    animated: bool = False
    reason: str = ""
    low: float = math.nan
    high: float = math.nan
    flat: bool = False
    copied: bool = False

    @cached_property
    def checksum(self) -> int:
        """Of the pixels, 0 where there are none."""
        return 0 if self.pixels is None else checksum(np.ascontiguousarray(self.pixels).data.cast("B"))

    @property
    def columns(self) -> tuple[object, ...]:
        """What a pack's table says of the file itself."""
        return self.width, self.height, self.mode, self.animated, self.reason, self.low, self.high, self.flat


@dataclass(frozen=True)
class Sources:
    """Older packs that were decoded alike, whole or not: where the image of a content's hash is."""

    target: Target
    columns: list[dict[str, NDArray[np.object_]]] = field(default_factory=list)
    pixels: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    place: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """Hash → (number of the source, row of its table)."""
    locks: list[IO[bytes]] = field(default_factory=list)

    @classmethod
    def within(cls, settings: Path, target: Target) -> "Sources":
        """All that there are; nobody deletes them before `close`. What is damaged is passed over."""
        sources = cls(target)
        for lock in settings.glob(f"*/{LOCK}"):
            with suppress(DamagedError, FileNotFoundError):
                handle = lock.open("rb")
                fcntl.flock(handle, fcntl.LOCK_SH)
                sources.locks.append(handle)
                sources._add(lock.parent, read_files(lock.parent))
        for root in settings.glob(f"*/{ROOT}"):
            if (table := read_parts(root.parent)) is not None:
                with suppress(FileNotFoundError):
                    sources._add(root.parent, table)
        return sources

    def close(self) -> None:
        """They may be deleted now."""
        for handle in self.locks:
            handle.close()

    def find(self, sha: bytes) -> Done | None:
        """What was made of a file with this content; None where it is not known, or no longer what it was."""
        found = self.place.get(sha)
        if found is None:
            return None
        number, at = found
        columns = self.columns[number]
        row, test = int(columns["row"][at]), bool(columns["test"][at])
        done = Done(
            sha.decode(),
            self.pixels[number][test][row].numpy() if row >= 0 else None,
            int(columns["width"][at]),
            int(columns["height"][at]),
            str(columns["mode"][at]),
            bool(columns["animated"][at]),
            str(columns["reason"][at]),
            float(columns["low"][at]),
            float(columns["high"][at]),
            bool(columns["flat"][at]),
            copied=True,
        )
        return done if done.checksum == int(columns["checksum"][at]) else None

    def _add(self, folder: Path, table: pd.DataFrame) -> None:
        number = len(self.columns)
        counts = [int(((table["row"] >= 0) & (table["test"] == test)).sum()) for test in (False, True)]
        size = int(np.prod(self.target.shape))
        for name, count in zip((POOL, TEST), counts, strict=True):
            if (folder / name).stat().st_size < count * size:
                return  # cut short
        pool, test = (
            mapped(folder / name, count, self.target) for name, count in zip((POOL, TEST), counts, strict=True)
        )
        self.pixels.append((pool, test))
        self.columns.append({name: table[name].to_numpy() for name in COLUMNS})
        for row, sha in enumerate(hashes_of(table).tolist()):
            if sha:
                self.place.setdefault(sha, (number, row))


def build(
    settings: Path, listing: Listing, known: NDArray[np.bytes_], target: Target, in_test: InTest, *, say: Progress
) -> tuple[str, bool]:
    """Make the pack of a listing, whose contents may be `known` (N,). One process at a time may do so.

    Its name, and whether it is new: one of the same images may have been there.
    """
    sources, unfinished = Sources.within(settings, target), list(settings.glob(f"{BUILDING}*/"))
    folder = new_building(settings)
    mark(folder)
    (folder / ROOT).write_text(listing.place, encoding="utf-8")
    began = time.time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of files that it reads all the same
        table = _write(folder, listing, in_order(listing, known, sources, target), in_test, say)
    write_sealed(table, folder / FILES)
    name = pack_name(listing, hashes_of(table), in_test)
    for part in (*folder.glob(PARTS), folder / ROOT):
        part.unlink()
    remember_verified(folder, Pack(folder, table, target).blocks())
    (folder / LOCK).touch()
    if is_new := not (settings / name).exists():
        folder.rename(settings / name)
    remember(settings, listing.place, table, began)
    sources.close()
    for rest in (folder, *unfinished):
        delete(rest)
    return name, is_new


def new_building(settings: Path) -> Path:
    """Where to build a pack, or to leave a damaged one to be copied from."""
    return settings / f"{BUILDING}{os.getpid()}-{time.time_ns()}"


def _write(
    folder: Path, listing: Listing, results: Iterator[list[Done]], in_test: InTest, say: Progress
) -> pd.DataFrame:
    """All that was done as a table; pixels are on the disk before the part of it that names them."""
    counts, decoded, parts = {False: 0, True: 0}, 0, []
    rows: list[tuple[object, ...]] = []
    written = 0
    with (folder / POOL).open("wb", BUFFER) as pool, (folder / TEST).open("wb", BUFFER) as test:
        for task in results:
            for number, done in enumerate(task, start=written):
                side, row = is_test(listing.roles[number], done.sha, in_test), -1
                if done.pixels is not None:
                    row = counts[side]
                    counts[side] += 1
                    (test if side else pool).write(np.ascontiguousarray(done.pixels).data)
                stamp = (listing.paths[number], listing.sizes[number], listing.changed[number], done.sha)
                rows.append((*stamp, side, row, done.checksum, *done.columns))
                decoded += not done.copied
            written += len(task)
            if len(rows) >= FILES_PER_PART or written == len(listing):
                for file in (pool, test):
                    file.flush()
                    os.fsync(file.fileno())
                parts.append(pd.DataFrame(rows, columns=list(COLUMNS)))
                rows = []
                write_sealed(parts[-1], folder / f"part-{len(parts):06}")
            say(written, len(listing), f"images read, {decoded:,} of them decoded")
    return pd.concat(parts, ignore_index=True)


def in_order(listing: Listing, known: NDArray[np.bytes_], sources: Sources, target: Target) -> Iterator[list[Done]]:
    """What became of the files, some at a time in the order of the listing, while threads work ahead."""
    contents = listing.contents

    per_task = OBJECTS_PER_TASK if contents.distant else FILES_PER_TASK

    def work(first: int) -> list[Done]:
        numbers = range(first, min(first + per_task, len(listing)))
        return [_one(contents, n, bytes(known[n]), sources, target) for n in numbers]

    return worked_ahead(work, range(0, len(listing), per_task), _workers(listing))


def _workers(listing: Listing) -> int | None:
    """One for small JPEG files: two threads, which hand Python's lock to and fro, took longer than one.

    None, as many as there are cores, for others: a drawing of a few kilobytes may be work for milliseconds. Many, where
    they wait for a network.
    """
    if listing.contents.distant:
        return WAITING
    jpegs = sum(path.lower().endswith(tuple(JPEG_EXTENSIONS)) for path in listing.paths)
    return 1 if 2 * jpegs > len(listing) and np.median(listing.sizes) < SMALL else None


def read_hash(contents: Contents, number: int) -> bytes:
    """32 hexadecimal digits of the SHA-256 of an image's bytes, b"" where they cannot be read."""
    try:
        return hashlib.sha256(contents.read(number)).hexdigest()[:32].encode()
    except OSError:
        return b""


def _one(contents: Contents, number: int, known: bytes, sources: Sources, target: Target) -> Done:
    if known and (found := sources.find(known)) is not None:
        return found
    try:
        content = contents.read(number)
    except OSError as error:
        return Done("", None, reason=f"cannot be read: {error.strerror or error}")
    sha = hashlib.sha256(content).hexdigest()[:32]
    if (found := sources.find(sha.encode())) is not None:
        return found
    try:
        image = decode(content, target)
    except BrokenImageError as error:
        return Done(sha, None, reason=str(error))
    low, high = image.extent or (math.nan, math.nan)
    done = Done(
        sha,
        image.pixels,
        image.width,
        image.height,
        image.mode,
        image.animated,
        low=low,
        high=high,
        flat=image.flat,
    )
    _ = done.checksum  # here, in one of the threads
    return done
