"""What a frozen network makes of images, kept on disk: computed once, mapped ever after, by every stage and round."""

import fcntl
import os
import weakref
from collections.abc import Callable
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

FILE, CHECKSUMS = "features.f32", "features.crc"
"""The second holds a uint32 for each block of the first."""
LAYOUT = 2
"""Of these files: another one has another number in its key."""
BLOCK = 512
"""Images in one forward pass. Blocks are always the same, whichever stage asks first: so are the bits."""


def kept_features(
    cache: Cache,
    key: str,
    shape: tuple[int, int],
    compute: Callable[[slice], Tensor],
    say: Callable[[int, int], None] = lambda done, total: None,
    *,
    warn: Callable[[str], None] = lambda line: None,
) -> Tensor:
    """float32 (N, D) of this `shape`, memory-mapped and not to be written to: row n is that of image n.

    `key` names everything that decides the features. `compute` gives those of a slice of images and is asked only for
    what no process has computed before; `say` is told how many of how many are done, and `warn` of what is damaged and
    so is computed anew. What an earlier process had computed when it was killed is gone on from.

    Raises:
        UserError: they are more than the cache may hold, or it cannot be written, or the disk is full.
    """
    (count, width), folder = shape, cache.folder / FEATURES / key
    with disk_errors(cache.folder):
        found = _opened(folder, count, width, warn)
        if found is not None:
            return found
        needed = 4 * count * width
        if needed > cache.limit:
            raise UserError(
                f"data.cache_limit={cache.limit / 1e9:g} GB, but the features of {count:,} images take "
                f"{needed / 1e9:.3g} GB; raise it, or use model.train: all"
            )
        cache.claim()
        folder.parent.mkdir(exist_ok=True)
        aside = folder.with_name(f"{BUILDING}{key}")
        with FileLock(builders_lock(aside)):  # whoever waited for it may find them made
            found = _opened(folder, count, width, warn)
            if found is None:
                there = (aside / FILE).stat().st_size if (aside / FILE).exists() else 0
                cache.make_room(max(needed - there, 0))
                _build(aside, folder, shape, compute, say)
                found = _opened(folder, count, width, warn)
        assert found is not None, "it was built a moment ago"
        return found


def _opened(folder: Path, count: int, width: int, warn: Callable[[str], None]) -> Tensor | None:
    """The features of a whole folder, which nobody deletes while the tensor lives; None: there is none."""
    if not count:
        return torch.empty(0, width)
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return None
    fcntl.flock(lock, fcntl.LOCK_SH)
    features = None
    try:
        os.utime(folder / LOCK)  # says when it was last used
        verify(folder, [_blocks(folder, count, width)])
        features = map_images(folder / FILE, (count, 4 * width)).view(torch.float32)
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


def _blocks(folder: Path, count: int, width: int) -> Blocks:
    try:
        checksums = np.fromfile(folder / CHECKSUMS, dtype=np.uint32)
    except FileNotFoundError:
        raise DamagedError(f"{folder / CHECKSUMS} is gone") from None
    if len(checksums) != -(-count // BLOCK):
        raise DamagedError(f"{folder / CHECKSUMS} is damaged")
    return Blocks(folder / FILE, 4 * width * BLOCK, 4 * count * width, checksums)


def _build(
    aside: Path,
    folder: Path,
    shape: tuple[int, int],
    compute: Callable[[slice], Tensor],
    say: Callable[[int, int], None],
) -> None:
    count, width = shape
    mark(aside)
    with (aside / FILE).open("ab") as file, (aside / CHECKSUMS).open("ab") as checksums:
        # The last whole block may not have reached the disk before a power cut; one block less is no loss.
        done = max(_whole_blocks(aside, 4 * width * BLOCK) - 1, 0) * BLOCK
        file.truncate(done * 4 * width)
        checksums.truncate(4 * (done // BLOCK))
        while done < count:
            rows = slice(done, min(done + BLOCK, count))
            features = compute(rows)
            assert features.shape == (rows.stop - rows.start, width)
            block = np.ascontiguousarray(features.float().cpu().numpy()).data.cast("B")
            for opened, content in ((file, block), (checksums, np.uint32(checksum(block)).tobytes())):
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            done = rows.stop
            say(done, count)
    remember_verified(aside, [_blocks(aside, count, width)])
    (aside / LOCK).touch()
    aside.rename(folder)


def _whole_blocks(aside: Path, size: int) -> int:
    """How many blocks, from the first one on, are what a killed process wrote."""
    checksums = np.fromfile(aside / CHECKSUMS, dtype=np.uint32)
    checksums = checksums[: (aside / FILE).stat().st_size // size]
    damaged = Blocks(aside / FILE, size, size * len(checksums), checksums).damaged()
    return len(checksums) if damaged is None else damaged
