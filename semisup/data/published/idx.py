"""MNIST and its likes: idx files, plain or gzipped."""

import gzip
import http.client
import struct
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semisup.config import DataConfig
from semisup.data.published import Arrays, Split, numbered
from semisup.data.published.errors import damaged, download_failed, unreadable
from semisup.data.published.files import data_root, images_of
from semisup.data.source import Source
from semisup.errors import UserError

IDX_FAMILIES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
"""Name → class in torchvision.datasets, which is also the folder's name."""
PREFIX: dict[Split, str] = {"train": "train", "test": "t10k"}


def read_idx(name: str, classes: int, split: Split, root: Path, download: bool) -> Arrays:
    """The images and labels of one of IDX_FAMILIES, whose labels are below `classes`."""
    images_file = _find_file(name, f"{PREFIX[split]}-images-idx3-ubyte", root, download)
    labels_file = _find_file(name, f"{PREFIX[split]}-labels-idx1-ubyte", root, download)
    images, labels = _array_in(images_file, dims=3), _array_in(labels_file, dims=1)
    if len(images) != len(labels):
        raise damaged(labels_file, f"it has {len(labels)} labels for the {len(images)} images of {images_file.name}")
    if len(labels) > 0 and labels.max() >= classes:
        raise damaged(labels_file, f"it holds label {labels.max()}, but {name} has {classes} classes")
    return Arrays(images[:, None], labels, numbered(split, len(images)))


def count_images(name: str, split: Split, root: Path, download: bool) -> int:
    """How many there are, without a look at a label."""
    return len(_array_in(_find_file(name, f"{PREFIX[split]}-images-idx3-ubyte", root, download), dims=3))


def _find_file(name: str, file: str, root: Path, download: bool) -> Path:
    """The file, plain or gzipped, wherever people keep it below `root`; downloaded where that is allowed."""
    family = IDX_FAMILIES[name]
    folders = (root, root / family / "raw", root / name)
    found = _first_file(folders, file)
    if found is None and download:
        _download_idx(family, root)
        found = _first_file(folders, file)
    if found is None:
        places = ", ".join(str(folder) for folder in folders)
        raise UserError(
            f"data.root={root} lacks {file} (or {file}.gz), looked for in {places}; "
            f"set data.download: true, or data.root to the folder with {name}'s files"
        )
    return found


def _first_file(folders: tuple[Path, ...], file: str) -> Path | None:
    candidates = (folder / f"{file}{suffix}" for folder in folders for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _download_idx(family: str, root: Path) -> None:
    import torchvision

    try:
        getattr(torchvision.datasets, family)(root, download=True)
    except (RuntimeError, OSError, http.client.HTTPException) as error:
        raise download_failed(family, root, error) from error


def _array_in(path: Path, dims: int) -> NDArray[np.uint8]:
    """The array in an idx file of bytes: two zeros, type 8, the number of dims, their big-endian sizes, the bytes."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, f"it cannot be unpacked: {error}") from error
    except OSError as error:
        raise unreadable(path, error) from error
    start = 4 + 4 * dims
    if content[:4] != bytes([0, 0, 8, dims]):
        raise damaged(path, f"it begins with {content[:4].hex() or 'nothing'}, not with {bytes([0, 0, 8, dims]).hex()}")
    if len(content) < start:
        raise damaged(path, f"it ends after {len(content)} bytes, within its header")
    shape = struct.unpack(f">{dims}I", content[4:start])
    expected = start + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise damaged(path, f"it holds {len(content)} bytes, but its header announces {expected}")
    # A copy: torch refuses memory that it must not write to.
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()


def idx_source(name: str, class_names: Sequence[str], *, mirrored_is_another: bool) -> Source:
    """One of IDX_FAMILIES as a source of images."""
    read = partial(read_idx, name, len(class_names))

    def test_ids(data: DataConfig) -> tuple[str, ...]:
        return numbered("test", count_images(name, "test", data_root(data.root, data.download), data.download))

    return Source(
        mirrored_is_another=mirrored_is_another,
        pool=images_of(read, "train", class_names),
        test=images_of(read, "test", class_names),
        test_ids=test_ids,
    )
