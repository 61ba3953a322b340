"""Arrays of NumPy: one `.npz`, or a folder of `.npy` files, as MNIST-like sets, MedMNIST and notebooks leave them.

`images` and `labels`, or several parts, each of which says its role in its name: `x_train`, `y_train`, `x_test`,
`unlabeled_images`, `val_images` …
"""

import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from semisup.config import DataConfig
from semisup.data.listing import Listing
from semisup.data.own_images.containers.files import existing_root, objects_of, objects_within
from semisup.data.own_images.containers.found import Found, SeveralClassesError, label_text
from semisup.data.own_images.folders.roles import Given, role_of
from semisup.data.own_images.remote.kept import Kept
from semisup.errors import UserError
from semisup.wording import counted

ARRAYS = frozenset({".npz", ".npy"})
PIXELS = frozenset({"images", "image", "x", "pixels", "data"})
TRUTHS = frozenset({"labels", "label", "y", "targets", "target"})
NAMES = frozenset({"classes", "class_names", "label_names"})
CHANNELS = (1, 3)
PLAIN_KINDS = "biufSU"
"""Kinds of values that labels and names of classes may be."""


@dataclass
class Head:
    """What is known of an array without its pixels; JSON can say it all."""

    shape: list[int]
    dtype: str
    values: list[Any] | None
    """Of labels and names of classes, as rows."""


class Array(NamedTuple):
    """An array, wherever it lies."""

    head: Head
    load: Callable[[], NDArray[Any]]
    size: int
    """Of the file that it is in, in bytes."""
    changed: int
    """As in `Listing`."""


@dataclass
class Pictures:
    """Images in arrays, handed out as files that hold exactly their pixels."""

    parts: list[Callable[[], NDArray[np.uint8]]] = field(default_factory=list)
    """What loads the images (N, H, W) or (N, H, W, C) of each part."""
    at: list[tuple[int, int]] = field(default_factory=list)
    """(part, row) of each image."""
    lock: Lock = field(default_factory=Lock)
    distant: ClassVar[bool] = False
    """As in `Contents`: of a bucket, one read in thousands waits."""

    def __post_init__(self) -> None:
        self._part = lru_cache(None)(lambda number: self.parts[number]())

    def read(self, number: int) -> bytes:
        """As in `Contents`: a BMP, or of many channels .npy: the pixels behind a short header, the same for ever."""
        part, row = self.at[number]
        with self.lock:  # two threads that want one part would each load it
            images = self._part(part)
        buffer, image = io.BytesIO(), np.ascontiguousarray(images[row])
        if image.ndim == 3 and image.shape[2] not in CHANNELS:
            np.save(buffer, image)
        else:
            Image.fromarray(image).save(buffer, "BMP")
        return buffer.getvalue()

    def file(self, number: int) -> None:
        """As in `Contents`: arrays hold many."""


@dataclass
class Part:
    """What belongs together: the arrays of one role."""

    role: Given
    images: str | None = None
    labels: str | None = None


def list_arrays(data: DataConfig) -> Listing:
    """The images of the arrays in `data.root` or `data.url`.

    Raises:
        UserError: there are none, they cannot be read, are of another type or shape, or labels are not one for each.
    """
    found, arrays = _on_disk(data) if data.url is None else _in_bucket(data)
    contents = Pictures()
    names = next(
        (list(map(str, np.ravel(array.head.values or []))) for key, array in arrays.items() if key in NAMES), []
    )
    for word, part in _parts(found.said, arrays).items():
        if part.images is None:
            raise UserError(f"{found.said}: {part.labels!r} has no images beside it; name them alike")
        images = arrays[part.images]
        contents.parts.append(_pictures(found.said, part.images, images, data.channels))
        labels = _labels(found.said, part, arrays, images.head.shape[0])
        width = len(str(max(len(labels) - 1, 0)))
        for row, label in enumerate(labels):
            try:
                text = label_text(label, names)
            except SeveralClassesError:
                found.pass_over_several()
                continue
            except LookupError as error:
                raise UserError(f"{found.said}: {part.images!r}, row {row} has {error}; mend it") from None
            path = f"{word or 'images'}/{row:0{width}}"
            if found.add(path, text, part.role, size=images.size, changed=images.changed):
                contents.at.append((len(contents.parts) - 1, row))
    return found.listing(contents)


def _on_disk(data: DataConfig) -> tuple[Found, dict[str, Array]]:
    root = existing_root(data)
    arrays: dict[str, Array] = {}
    for file in [root] if root.is_file() else sorted([*root.glob("*.npy"), *root.glob("*.npz")]):
        stat = file.stat()
        for key, head in _heads(file, file.name, f"data.root: {file}").items():
            arrays[key] = Array(head, partial(_loaded, file, file.name, key), stat.st_size, stat.st_mtime_ns)
    if not arrays:
        raise UserError(f"data.root={root} holds no arrays (.npz, .npy); name another file or folder")
    return Found.below(root), arrays


def _in_bucket(data: DataConfig) -> tuple[Found, dict[str, Array]]:
    bucket, objects = objects_within(data, ARRAYS, "arrays")
    kept, near = Kept.of(bucket, data), [of for of in objects_of(objects, ARRAYS) if "/" not in of.path]

    def look(of: Any) -> dict[str, Any]:
        where = f"data.url: {bucket.url}/{of.path}"
        heads: dict[str, Head] = kept.looked_into(of, lambda path: _heads(path, of.path, where))
        return {key: asdict(head) for key, head in heads.items()}

    arrays: dict[str, Array] = {}
    for of, heads in zip(near, kept.told(near, "arrays", look), strict=True):
        for key, head in heads.items():
            # What is mapped stays readable where the cache lets go of the file.
            load = partial(kept.looked_into, of, partial(_loaded, name=of.path, key=key))
            arrays[key] = Array(Head(**head), load, of.size, of.changed)
    return Found.in_bucket(bucket), arrays


def _heads(file: Path, name: str, where: str) -> dict[str, Head]:
    """Every array of a file, which is called `name` wherever it comes from, by the array's own name.

    Raises:
        UserError: it cannot be read.
    """
    try:
        if name.lower().endswith(".npy"):
            key = Path(name).stem
            with file.open("rb") as opened:
                return {key: _head(opened, key, lambda: _loaded(file, name, key))}
        with zipfile.ZipFile(file) as archive:
            heads = {}
            for member in archive.namelist():
                key = member.removesuffix(".npy")
                with archive.open(member) as opened:
                    heads[key] = _head(opened, key, partial(_loaded, file, name, key))
            return heads
    except (OSError, ValueError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{where} cannot be read: {' '.join(str(error).split())}; write it anew") from None


def _head(opened: Any, key: str, load: Callable[[], NDArray[Any]]) -> Head:
    version = npy.read_magic(opened)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(opened)
    if dtype.hasobject:
        raise ValueError(f"{key!r} holds objects of Python, which would be run as code")
    values = None
    if (key in NAMES or TRUTHS & set(_words(key))) and len(shape) <= 2:
        if dtype.kind not in PLAIN_KINDS:
            raise ValueError(f"{key!r} holds {dtype}, which is neither text nor numbers")
        array: Any = load()
        values = (np.char.decode(array, "utf-8") if dtype.kind == "S" else array).tolist()
    return Head(list(shape), str(dtype), values)


def _loaded(file: Path, name: str, key: str) -> NDArray[Any]:
    """One array of a file."""
    if name.lower().endswith(".npy"):
        mapped: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
        return mapped
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
        array: NDArray[Any] = archive[key]
        return array


def _words(key: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", key.casefold()) if word]


def _parts(said: str, arrays: dict[str, Array]) -> dict[str, Part]:
    """By the word that says the role, "" where none does."""
    parts: dict[str, Part] = {}
    for key in arrays:
        words = _words(key)
        kinds, rest = [w for w in words if w in PIXELS | TRUTHS], [w for w in words if w not in PIXELS | TRUTHS]
        role = role_of("".join(rest)) if rest else ""
        if key in NAMES or len(kinds) != 1 or role is None:
            continue
        part = parts.setdefault("_".join(rest), Part(role))
        if kinds[0] in PIXELS:
            part.images = key
        else:
            part.labels = key
    if not parts:
        raise UserError(f"{said}: of its arrays ({', '.join(arrays)}) none is called images, labels, x_train or such")
    return parts


def _pictures(
    said: str, key: str, array: Array, wanted: Literal["rgb", "gray"] | int
) -> Callable[[], NDArray[np.uint8]]:
    """What loads images (N, H, W) or (N, H, W, C), of any of the shapes in which arrays hold them."""
    where, shape = f"{said}: {key!r}", array.head.shape
    if array.head.dtype != "uint8":
        raise UserError(f"{where} is of type {array.head.dtype}; images are uint8, from 0 to 255")
    counts = (wanted,) if isinstance(wanted, int) else CHANNELS
    first = len(shape) == 4 and shape[-1] not in counts and shape[1] in counts
    if not (len(shape) == 3 and 1 in counts) and not (len(shape) == 4 and (first or shape[-1] in counts)):
        raise UserError(
            f"{where} is {tuple(shape)}; images are (N, H, W), (N, H, W, C) or (N, C, H, W) with "
            f"{' or '.join(map(str, counts))} channels, as data.channels={wanted} says"
        )

    def load() -> NDArray[np.uint8]:
        images: NDArray[np.uint8] = array.load()
        images = images.transpose(0, 2, 3, 1) if first else images
        return images[..., 0] if images.ndim == 4 and images.shape[-1] == 1 else images

    return load


def _labels(said: str, part: Part, arrays: dict[str, Array], count: int) -> list[Any]:
    if part.labels is None:
        return [None] * count
    head = arrays[part.labels].head
    if head.shape not in ([count], [count, 1]) or head.values is None:
        raise UserError(
            f"{said}: {part.labels!r} is {tuple(head.shape)} for {counted(count, 'image')}; one label each is needed"
        )
    return [row[0] for row in head.values] if len(head.shape) == 2 else list(head.values)
