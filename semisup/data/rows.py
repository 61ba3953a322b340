"""Some images of a larger array, without a copy: what lies on disk is read where it is looked at, and let go again."""

import mmap
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

IMAGES_AT_A_TIME = 4096
MOST_MAPPED = 2**26
"""Bytes of files that a process keeps mapped. They are the system's cache and no memory of its own, but they count as
such where a process is watched or limited."""
STATM = Path("/proc/self/statm")
ON_A_CPU, ON_A_GPU = (128, 128 * 3 * 64 * 64), (1024, 1024 * 3 * 96 * 96)
"""Images, and numbers in them (pixels times channels), that go through a network at once."""


class _Mapping(mmap.mmap):
    """A file in memory, read-only."""

    others = 0
    """Bytes of other files, such as libraries, that are mapped as well."""


_mappings: WeakValueDictionary[int, _Mapping] = WeakValueDictionary()
"""By the address of their first byte."""


def map_images(file: Path, shape: tuple[int, ...]) -> Tensor:
    """uint8 images (N, ...) in a file, N above 0: nothing of it is read yet, and nothing can be written to it."""
    with file.open("rb") as opened:
        mapping = _Mapping(opened.fileno(), int(np.prod(shape)), prot=mmap.PROT_READ)
    mapping.others = _mapped_bytes()
    array = np.frombuffer(mapping, dtype=np.uint8).reshape(shape)
    with warnings.catch_warnings():
        # torch has no read-only tensors. Nothing writes to images, and the system would not let it.
        warnings.filterwarnings("ignore", message=".*not writable.*")
        images = torch.from_numpy(array)
    _mappings[images.data_ptr()] = mapping
    return images


def gather(images: Tensor, indices: Tensor) -> Tensor:
    """A copy of the images (N, ...) at int64 indices (B,); of mapped ones, no more than MOST_MAPPED stays mapped."""
    found = images.index_select(
        0, indices
    )  # row by row, eight times as fast as images[indices]: that goes byte by byte
    mapping = _mappings.get(images.data_ptr())
    if mapping is not None and _mapped_bytes() > mapping.others + MOST_MAPPED:
        mapping.madvise(mmap.MADV_DONTNEED)
        mapping.others = _mapped_bytes()
    return found


def _mapped_bytes() -> int:
    """Of all files, as the system counts them: it maps more around a byte that is looked at than one can foresee."""
    return int(STATM.read_text().split()[2]) * mmap.PAGESIZE if STATM.exists() else 0


class Images(Protocol):
    """What predictions and batches need of images (N, ...): a tensor is one, `Rows` are others."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, index: Tensor | slice, /) -> Tensor:
        """The images at int64 indices (B,), or in a slice."""

    @property
    def device(self) -> torch.device:
        """Where they are."""


def images_at_once(images: Images, device: torch.device) -> int:
    """How many of images (N, ...) go through a network on this device together, where nobody says.

    On a CPU a batch whose activations stay in the caches: 128 images take 0.6 of the time of 1,024 in a heavy network,
    as long in a light one, and of 224×224 pixels 1,024 would take gigabytes. A GPU is to have enough to do.
    """
    most, most_numbers = ON_A_CPU if device.type == "cpu" else ON_A_GPU
    return max(1, min(most, most_numbers // max(images[:1].numel(), 1)))


@dataclass(frozen=True, eq=False)
class Rows:
    """The images (N, ...) at int64 `indices` (n,) of `images`, gathered anew whenever they are looked at."""

    images: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Tensor | slice, /) -> Tensor:
        return gather(self.images, self.indices[index])

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.images.device


def on_device(images: Tensor, indices: Tensor, device: torch.device) -> Images:
    """The images at indices (n,): as they are on a CPU, copied to a GPU part by part, never through a whole copy."""
    if device.type == images.device.type:
        return Rows(images, indices)
    there = torch.empty((len(indices), *images.shape[1:]), dtype=images.dtype, device=device)
    for part in torch.arange(len(indices)).split(IMAGES_AT_A_TIME):
        there[part[0] : part[-1] + 1] = gather(images, indices[part]).to(device)
    return there
