"""What a frozen network makes of images, kept on disk: computed once, mapped ever after, by every stage and round."""

import fcntl
import math
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from semisup.data.own_images.decoded.cache import FEATURES, Cache, builders_lock, disk_errors
from semisup.data.own_images.decoded.checksums import Blocks, DamagedError, checksum, remember_verified, verify
from semisup.data.own_images.decoded.pack import BUILDING, LOCK
from semisup.data.rows import map_images
from semisup.errors import UserError
from semisup.system.own_files import delete, mark
from semisup.wording import counted

CHECKSUMS = "features.crc"
"""A uint32 for each block of the table."""
LAYOUT = 2
"""Of these files: another one has another number in its key."""
BLOCK = 512
"""Images in one forward pass. Blocks are always the same, whichever stage asks first: so are the bits."""


@dataclass(frozen=True)
class Kept:
    """A table on disk: a row for each of N images.

    Attributes:
        shape: (N, ...).
        dtype: float32, or bfloat16 of a network that computes in it: half the size, and nothing is lost.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row(self) -> int:
        """Bytes of what is kept of one image."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return len(self) * self.row

    @property
    def file(self) -> str:
        """How it is called in its folder."""
        return "features.bf16" if self.dtype == torch.bfloat16 else "features.f32"


def kept_features(
    cache: Cache,
    key: str,
    kept: Kept,
    compute: Callable[[slice], Tensor],
    say: Callable[[int, int], None] = lambda done, total: None,
    *,
    warn: Callable[[str], None] = lambda line: None,
) -> Tensor:
    """The table, memory-mapped and not to be written to: row n is that of image n.

    `key` names everything that decides the features. `compute` gives those of a slice of images and is asked only for
    what no process has computed before; `say` is told how many of how many are done, and `warn` of what is damaged and
    so is computed anew. What an earlier process had computed when it was killed is gone on from.

    Raises:
        UserError: they are more than the cache may hold, or it cannot be written, or the disk is full.
    """
    folder = cache.folder / FEATURES / key
    with disk_errors(cache.folder):
        found = _opened(folder, kept, warn)
        if found is not None:
            return found
        if kept.size > cache.limit:
            raise UserError(
                f"data.cache_limit={cache.limit / 1e9:g} GB, but the features of {counted(len(kept), 'image')} take "
                f"{kept.size / 1e9:.3g} GB; raise it, use fewer model.kept_views, or model.train: all"
            )
        cache.claim()
        folder.parent.mkdir(exist_ok=True)
        aside = folder.with_name(f"{BUILDING}{key}")
        with FileLock(builders_lock(aside)):  # whoever waited for it may find them made
            found = _opened(folder, kept, warn)
            if found is None:
                there = (aside / kept.file).stat().st_size if (aside / kept.file).exists() else 0
                cache.make_room(max(kept.size - there, 0))
                _build(aside, folder, kept, compute, say)
                found = _opened(folder, kept, warn)
        assert found is not None, "it was built a moment ago"
        return found


def _opened(folder: Path, kept: Kept, warn: Callable[[str], None]) -> Tensor | None:
    """The table of a whole folder, which nobody deletes while the tensor lives; None: there is none."""
    if not len(kept):
        return torch.empty(kept.shape, dtype=kept.dtype)
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return None
    fcntl.flock(lock, fcntl.LOCK_SH)
    features = None
    try:
        os.utime(folder / LOCK)  # says when it was last used
        verify(folder, [_blocks(folder, kept)])
        features = map_images(folder / kept.file, (len(kept), kept.row)).view(kept.dtype).view(kept.shape)
    except DamagedError as error:
        warn(f"data.cache: {error}; these features are computed anew")
        delete(folder)
    except FileNotFoundError:
        pass  # deleted at this moment
    if features is None:
        os.close(lock)
        return None
    weakref.finalize(features, os.close, lock)
    return features


def _blocks(folder: Path, kept: Kept) -> Blocks:
    try:
        checksums = np.fromfile(folder / CHECKSUMS, dtype=np.uint32)
    except FileNotFoundError:
        raise DamagedError(f"{folder / CHECKSUMS} is gone") from None
    if len(checksums) != -(-len(kept) // BLOCK):
        raise DamagedError(f"{folder / CHECKSUMS} is damaged")
    return Blocks(folder / kept.file, kept.row * BLOCK, kept.size, checksums)


def _build(
    aside: Path,
    folder: Path,
    kept: Kept,
    compute: Callable[[slice], Tensor],
    say: Callable[[int, int], None],
) -> None:
    mark(aside)
    with (aside / kept.file).open("ab") as file, (aside / CHECKSUMS).open("ab") as checksums:
        # The last whole block may not have reached the disk before a power cut; one block less is no loss.
        done = max(_whole_blocks(aside / kept.file, kept.row * BLOCK) - 1, 0) * BLOCK
        file.truncate(done * kept.row)
        checksums.truncate(4 * (done // BLOCK))
        while done < len(kept):
            rows = slice(done, min(done + BLOCK, len(kept)))
            features = compute(rows)
            assert features.shape == (rows.stop - rows.start, *kept.shape[1:])
            table = features.to(kept.dtype).cpu().contiguous().flatten(1).view(torch.uint8)  # numpy has no bfloat16
            block = table.numpy().data.cast("B")
            for opened, content in ((file, block), (checksums, np.uint32(checksum(block)).tobytes())):
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            done = rows.stop
            say(done, len(kept))
    remember_verified(aside, [_blocks(aside, kept)])
    (aside / LOCK).touch()
    aside.rename(folder)


def _whole_blocks(file: Path, size: int) -> int:
    """How many blocks of a table, from the first one on, are what a killed process wrote."""
    checksums = np.fromfile(file.with_name(CHECKSUMS), dtype=np.uint32)
    checksums = checksums[: file.stat().st_size // size]
    damaged = Blocks(file, size, size * len(checksums), checksums).damaged()
    return len(checksums) if damaged is None else damaged
