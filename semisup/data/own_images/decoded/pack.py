"""A pack: the decoded images of one state of a data set, as memory-mapped uint8 and a table of its files.

A pack is a folder, immutable once it is whole: `pool.u8` and `test.u8` hold uint8 (N, C, H, W), `files-….parquet` says
which file is which row, or why it is none, and each image's checksum. Its name is a hash of the files' contents and
sides, and it lies in a folder named by how they were decoded.
"""

import fcntl
import hashlib
import json
import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from semisup.data.listing import Listing
from semisup.data.own_images.decoded.checksums import Blocks, DamagedError, is_intact, verify
from semisup.data.own_images.decoded.seen import in_parts
from semisup.data.own_images.reading.decode import DECODERS, Target
from semisup.data.rows import map_images

DECODER = 4
"""Raised when `decode` gives other pixels for the same bytes, or a pack holds other things."""
POOL, TEST, FILES, LOCK = "pool.u8", "test.u8", "files", "lock"
"""FILES begins the name of the table, which goes on with its checksum."""
BUILDING = "building-"
"""Begins the name of a folder that is not whole."""
COLUMNS = (
    *("path", "size", "changed", "sha", "test", "row", "checksum"),
    *("width", "height", "mode", "animated", "reason", "low", "high", "flat"),
)
InTest = Callable[[str], bool]
"""Tells a test image by the hash of its content, where no place tells it."""


@dataclass(frozen=True, eq=False)
class Pack:
    """The images of one state of a data set.

    `files` has a row for each file of the listing, in its order: `sha` (32 hexadecimal digits of the SHA-256 of its
    bytes, "" where it cannot be read), `test` (is it a test image?), `row` (in the pool or among the test images; -1
    where it is broken), `checksum` (uint32, of the image in the pack), `reason` ("" where it is not broken), and what
    the file itself was like: `low` and `high` are the darkest and brightest value of a file of more than 8 bits, NaN of
    others; `flat`: are all of its pixels alike?
    """

    folder: Path
    files: pd.DataFrame
    target: Target
    notes: tuple[str, ...] = ()
    """What had to be made anew so that it can be opened, one line each."""

    @classmethod
    def open(cls, folder: Path, target: Target, notes: Sequence[str] = (), *, just_written: bool = False) -> "Pack":
        """A whole pack, which nobody deletes while this object lives; what was `just_written` is not gone through.

        Raises:
            FileNotFoundError: there is none.
            DamagedError: it is not what was written there.
        """
        lock = os.open(folder / LOCK, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            os.utime(folder / LOCK)  # says when it was last used
            pack = cls(folder, read_files(folder), target, tuple(notes))
            if not just_written:
                verify(folder, pack.blocks())
        except (OSError, DamagedError):
            os.close(lock)
            raise
        weakref.finalize(pack, os.close, lock)
        return pack

    def blocks(self) -> list[Blocks]:
        """The checksums of its pixels, an image being a block."""
        size, found = int(np.prod(self.target.shape)), []
        for name, test in ((POOL, False), (TEST, True)):
            chosen = ((self.files["row"] >= 0) & (self.files["test"] == test)).to_numpy()
            checksums = self.files["checksum"].to_numpy(dtype=np.uint32)[chosen]
            found.append(Blocks(self.folder / name, size, size * len(checksums), checksums))
        return found

    def images(self, *, test: bool) -> Tensor:
        """uint8 (N, C, H, W), memory-mapped and not to be written to: only what is indexed is read."""
        count = int(((self.files["row"] >= 0) & (self.files["test"] == test)).sum())
        return mapped(self.folder / (TEST if test else POOL), count, self.target)


def read_files(folder: Path) -> pd.DataFrame:
    """The table of a pack.

    Raises:
        DamagedError: there is none that is whole.
    """
    for file in folder.glob(f"{FILES}-*.parquet"):
        if is_intact(file):
            return pd.read_parquet(file)
    raise DamagedError(f"the table in {folder} is damaged")


def mapped(file: Path, count: int, target: Target) -> Tensor:
    """The first `count` images of a file."""
    if not count:
        return torch.empty((0, *target.shape), dtype=torch.uint8)
    return map_images(file, (count, *target.shape))


def settings_key(target: Target) -> str:
    """Name of the folder of all packs that were decoded alike."""
    # What was decoded before gray was spelled so stays in use.
    channels = {"channels": "grey" if target.channels == "gray" else target.channels}
    settings = json.dumps(asdict(target) | channels | {"decoder": DECODER, "by": DECODERS}, sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()[:16]


def pack_name(listing: Listing, shas: NDArray[np.bytes_], in_test: InTest) -> str:
    """A hash of contents (N,), b"" of what cannot be read, and of sides, in order."""
    digest = hashlib.sha256()
    for rows in in_parts(len(listing)):
        for sha, role in zip(shas[rows].tolist(), listing.roles[rows], strict=True):
            digest.update(b"test " if is_test(role, sha.decode(), in_test) else b"pool ")
            digest.update(sha)
    return digest.hexdigest()[:32]


def is_test(role: str, sha: str, in_test: InTest) -> bool:
    """Is a file of this role and content a test image?"""
    return role == "test" or (role == "" and in_test(sha))
