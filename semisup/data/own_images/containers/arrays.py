"""Arrays of NumPy: one `.npz`, or a folder of `.npy` files, as MNIST-like sets, MedMNIST and notebooks leave them.

`images` and `labels`, or several parts, each of which says its role in its name: `x_train`, `y_train`, `x_test`,
`unlabeled_images`, `val_images` …
"""

import io
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semisup.config import DataConfig
from semisup.data.listing import Listing
from semisup.data.own_images.containers.found import Found, SeveralClassesError, existing_root, label_text
from semisup.data.own_images.folders.roles import Given, role_of
from semisup.errors import UserError

ARRAYS = frozenset({".npz", ".npy"})
PIXELS = frozenset({"images", "image", "x", "pixels", "data"})
TRUTHS = frozenset({"labels", "label", "y", "targets", "target"})
NAMES = frozenset({"classes", "class_names", "label_names"})
CHANNELS = (1, 3)


@dataclass
class Pictures:
    """Images in arrays, handed out as files that hold exactly their pixels."""

    at: list[tuple[NDArray[np.uint8], int]] = field(default_factory=list)
    """(images (N, H, W) or (N, H, W, 3), row)."""
    distant: ClassVar[bool] = False

    def read(self, number: int) -> bytes:
        """As in `Contents`: a BMP, which is the pixels behind a short header, the same for ever."""
        images, row = self.at[number]
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(images[row])).save(buffer, "BMP")
        return buffer.getvalue()

    def file(self, number: int) -> None:
        """As in `Contents`: arrays hold many."""


@dataclass
class Part:
    """What belongs together: the arrays of one role."""

    role: Given
    images: tuple[str, NDArray[Any]] | None = None
    labels: tuple[str, NDArray[Any]] | None = None


def list_arrays(data: DataConfig) -> Listing:
    """The images of the arrays in `data.root`.

    Raises:
        UserError: there are none, they cannot be read, are of another type or shape, or labels are not one for each.
    """
    root = existing_root(data)
    arrays, stamps = _arrays(root)
    names = next((list(map(str, arrays[key].ravel())) for key in arrays if key in NAMES), [])
    found, contents = Found.below(root), Pictures()
    for word, part in _parts(root, arrays).items():
        if part.images is None:
            assert part.labels is not None, "a part has one of them"
            raise UserError(f"data.root={root}: {part.labels[0]!r} has no images beside it; name them alike")
        key, images = part.images[0], _pictures(root, *part.images)
        labels = _labels(root, part, len(images))
        width = len(str(max(len(images) - 1, 0)))
        for row, label in enumerate(labels):
            try:
                text = label_text(label, names)
            except SeveralClassesError:
                found.pass_over_several()
                continue
            except LookupError as error:
                raise UserError(f"data.root={root}: {key!r}, row {row} has {error}; mend it") from None
            path = f"{word or 'images'}/{row:0{width}}"
            if found.add(path, text, part.role, size=stamps[key][0], changed=stamps[key][1]):
                contents.at.append((images, row))
    return found.listing(contents)


def _arrays(root: Path) -> tuple[dict[str, NDArray[Any]], dict[str, tuple[int, int]]]:
    """Every array by its name, and of the file it is in the size and when it was changed."""
    files = [root] if root.is_file() else sorted([*root.glob("*.npy"), *root.glob("*.npz")])
    arrays: dict[str, NDArray[Any]] = {}
    stamps: dict[str, tuple[int, int]] = {}
    for file in files:
        before = set(arrays)
        try:
            if file.suffix == ".npy":
                arrays[file.stem] = np.load(file, mmap_mode="r", allow_pickle=False)
            else:
                with file.open("rb") as opened, np.load(opened, allow_pickle=False) as loaded:
                    arrays |= dict(loaded)
        except (OSError, ValueError, TypeError, zipfile.BadZipFile, EOFError) as error:
            raise UserError(
                f"data.root: {file} cannot be read: {' '.join(str(error).split())}; write it anew"
            ) from None
        stat = file.stat()
        stamps |= dict.fromkeys(arrays.keys() - before, (stat.st_size, stat.st_mtime_ns))
    if not arrays:
        raise UserError(f"data.root={root} holds no arrays (.npz, .npy); name another file or folder")
    return arrays, stamps


def _parts(root: Path, arrays: dict[str, NDArray[Any]]) -> dict[str, Part]:
    """By the word that says the role, "" where none does."""
    parts: dict[str, Part] = {}
    for key, array in arrays.items():
        words = [word for word in re.split(r"[\W_]+", key.casefold()) if word]
        kinds, rest = [w for w in words if w in PIXELS | TRUTHS], [w for w in words if w not in PIXELS | TRUTHS]
        role = role_of("".join(rest)) if rest else ""
        if key in NAMES or len(kinds) != 1 or role is None:
            continue
        part = parts.setdefault("_".join(rest), Part(role))
        if kinds[0] in PIXELS:
            part.images = key, array
        else:
            part.labels = key, array
    if not parts:
        raise UserError(
            f"data.root={root}: of its arrays ({', '.join(arrays)}) none is called images, labels, x_train or such"
        )
    return parts


def _pictures(root: Path, key: str, array: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 (N, H, W) or (N, H, W, 3)."""
    where = f"data.root={root}: {key!r}"
    if array.dtype != np.uint8:
        raise UserError(f"{where} is of type {array.dtype}; images are uint8, from 0 to 255")
    if array.ndim == 4 and array.shape[-1] not in CHANNELS and array.shape[1] in CHANNELS:
        array = array.transpose(0, 2, 3, 1)
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3 and not (array.ndim == 4 and array.shape[-1] == 3):
        raise UserError(
            f"{where} is {array.shape}; images are (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels"
        )
    return array


def _labels(root: Path, part: Part, count: int) -> list[Any]:
    if part.labels is None:
        return [None] * count
    key, labels = part.labels
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1 or len(labels) != count:
        raise UserError(f"data.root={root}: {key!r} is {labels.shape} for {count:,} images; one label each is needed")
    return list(labels.tolist())
