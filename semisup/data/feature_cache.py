"""What a frozen network makes of images, kept on disk: computed once, mapped ever after, by every stage and round."""

import fcntl
import os
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from semisup.data.own_images.cache import FEATURES, Cache, builders_lock, disk_errors
from semisup.data.own_images.pack import BUILDING, LOCK
from semisup.data.rows import map_images
from semisup.errors import UserError

FILE = "features.f32"
BLOCK = 512
"""Images in one forward pass. Blocks are always the same, whichever stage asks first: so are the bits."""


def kept_features(
    cache: Cache,
    key: str,
    shape: tuple[int, int],
    compute: Callable[[slice], Tensor],
    say: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """float32 (N, D) of this `shape`, memory-mapped and not to be written to: row n is that of image n.

    `key` names everything that decides the features. `compute` gives those of a slice of images and is asked only for
    what no process has computed before; `say` is told how many of how many are done. What an earlier process had
    computed when it was killed is gone on from.

    Raises:
        UserError: they are more than the cache may hold, or it cannot be written, or the disk is full.
    """
    (count, width), folder = shape, cache.folder / FEATURES / key
    with disk_errors(cache.folder):
        found = _opened(folder, count, width)
        if found is not None:
            return found
        needed = 4 * count * width
        if needed > cache.limit:
            raise UserError(
                f"data.cache_limit={cache.limit / 1e9:g} GB, but the features of {count:,} images take "
                f"{needed / 1e9:.3g} GB; raise it, or use model.train: all"
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = folder.with_name(f"{BUILDING}{key}")
        with FileLock(builders_lock(aside)):  # whoever waited for it may find them made
            found = _opened(folder, count, width)
            if found is None:
                there = (aside / FILE).stat().st_size if (aside / FILE).exists() else 0
                cache.make_room(max(needed - there, 0))
                _build(aside, folder, shape, compute, say)
                found = _opened(folder, count, width)
        assert found is not None, "it was built a moment ago"
        return found


def _opened(folder: Path, count: int, width: int) -> Tensor | None:
    """The features of a whole folder, which nobody deletes while the tensor lives; None: there is none."""
    if not count:
        return torch.empty(0, width)
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return None
    fcntl.flock(lock, fcntl.LOCK_SH)
    try:
        os.utime(folder / LOCK)  # says when it was last used
        whole = (folder / FILE).stat().st_size == 4 * count * width
        features = map_images(folder / FILE, (count, 4 * width)).view(torch.float32) if whole else None
    except FileNotFoundError:  # deleted at this moment
        features = None
    if features is None:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)  # damaged: it is computed anew
        return None
    weakref.finalize(features, os.close, lock)
    return features


def _build(
    aside: Path,
    folder: Path,
    shape: tuple[int, int],
    compute: Callable[[slice], Tensor],
    say: Callable[[int, int], None],
) -> None:
    count, width = shape
    aside.mkdir(exist_ok=True)
    row, block = 4 * width, 4 * width * BLOCK
    with (aside / FILE).open("ab") as file:
        # The last whole block may not have reached the disk before a power cut; one block less is no loss.
        done = max(file.seek(0, os.SEEK_END) // block - 1, 0) * BLOCK
        file.truncate(done * row)
        while done < count:
            rows = slice(done, min(done + BLOCK, count))
            features = compute(rows)
            assert features.shape == (rows.stop - rows.start, width)
            file.write(np.ascontiguousarray(features.float().cpu().numpy()).data)
            file.flush()
            os.fsync(file.fileno())
            done = rows.stop
            say(done, count)
    (aside / LOCK).touch()
    aside.rename(folder)
