"""Images as one uint8 array: what is known of a data set, where its files are looked for, and how they are read.

Every data set has a pool, from which labelled, validation and unlabelled images are drawn, and a test split. An image
is known by its id for ever: ids name a split and a position in the official order, never a position after shuffling.
"""

import gzip
import hashlib
import http.client
import json
import os
import struct
import zlib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semisup.errors import UserError

UNLABELED = -1  # "no label known here"; it never reaches a loss
ROOT_VARIABLE = "SEMISUP_DATA_ROOT"
DATASETS = ("digits", "mnist", "fashion_mnist", "kmnist", "cifar10", "svhn")

Split = Literal["train", "test"]

DIGIT_NAMES = tuple("0123456789")
KMNIST_NAMES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
FASHION_NAMES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# The folder and the class in torchvision.datasets that go with each family of idx files, and its class names.
IDX_FAMILIES = {
    "mnist": ("MNIST", DIGIT_NAMES),
    "fashion_mnist": ("FashionMNIST", FASHION_NAMES),
    "kmnist": ("KMNIST", KMNIST_NAMES),
}
IDX_PREFIX: dict[Split, str] = {"train": "train", "test": "t10k"}

DIGITS_TEST_PER_CLASS = 50
DIGITS_TEST_SEED = 20240  # Of its own: no config can move an image between pool and test split.


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images that lie in memory together, with what is known of each; compare two by their `digest`.

    Attributes:
        images: uint8 (N, C, H, W), contiguous, 0..255.
        labels: int64 (N,), a class's position in `class_names`, or UNLABELED.
        ids: one stable name per image, such as "train/00017".
        class_names: in the order of the labels.
        pixel_digest: what decides the pixels, where that is known without a look at them; "" where it is not.
    """

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    pixel_digest: str = ""

    def __post_init__(self) -> None:
        assert self.images.dtype == torch.uint8
        assert self.images.dim() == 4
        assert self.images.is_contiguous()
        assert self.labels.dtype == torch.int64
        assert self.labels.shape == (len(self.images),)
        assert len(set(self.ids)) == len(self.ids) == len(self.images)
        assert ((self.labels >= UNLABELED) & (self.labels < self.num_classes)).all()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width


def load_pool(name: str, root: Path | None = None, download: bool = False) -> ImageSet:
    """The training images with their true labels, in the official order.

    Args:
        name: one of DATASETS.
        root: the folder with the files, or None for the one in the environment's SEMISUP_DATA_ROOT. `digits` comes
            with scikit-learn and needs none.
        download: fetch what is missing into `root`, through torchvision.

    Raises:
        UserError: an unknown name; no such folder; a file that is missing, damaged or cannot be downloaded.
    """
    return _load(name, "train", root, download)


def load_test(name: str, root: Path | None = None, download: bool = False) -> ImageSet:
    """The test images with their labels; arguments and errors as in `load_pool`.

    `digits` has no official test split: 50 images of each class are it, the same ones for ever.
    """
    return _load(name, "test", root, download)


def list_test_ids(name: str, root: Path | None = None, download: bool = False) -> tuple[str, ...]:
    """The ids of the test images, in the order of `load_test`, without a look at a test label.

    Arguments and errors as in `load_pool`. Two exceptions to "without a look": the test split of `digits` is balanced
    by its labels, and torchvision reads those of cifar10 and svhn along with the images; none is kept.
    """
    if name in IDX_FAMILIES:
        images_file = _find_idx_file(
            name, f"{IDX_PREFIX['test']}-images-idx3-ubyte", _data_root(root, download), download
        )
        return _numbered("test", len(_read_idx(images_file, dims=3)))
    return _load(name, "test", root, download).ids


def digest(images: ImageSet) -> str:
    """SHA-256, in hex, of all that an ImageSet holds: equal exactly when shape, pixels, labels, names and ids are.

    Pixels with a `pixel_digest` are taken at its word.
    """
    header = {"shape": list(images.images.shape), "class_names": images.class_names}
    if images.pixel_digest:  # there may be a million ids: one after the other, not in one text
        sha = hashlib.sha256(json.dumps(header | {"pixels": images.pixel_digest}).encode())
        for name in images.ids:
            sha.update(json.dumps(name).encode())
    else:
        sha = hashlib.sha256(json.dumps(header | {"ids": images.ids}).encode())
        sha.update(images.images.cpu().numpy().data)
    sha.update(images.labels.cpu().numpy().astype("<i8").data)  # the same bytes on every machine
    return sha.hexdigest()


def _load(name: str, split: Split, root: Path | None, download: bool) -> ImageSet:
    match name:
        case "digits":
            return _load_digits(split)
        case "mnist" | "fashion_mnist" | "kmnist":
            return _load_idx(name, split, _data_root(root, download), download)
        case "cifar10":
            return _load_cifar10(split, _data_root(root, download), download)
        case "svhn":
            return _load_svhn(split, _data_root(root, download), download)
        case _:
            nearest = get_close_matches(name, DATASETS, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"use one of {', '.join(DATASETS)}"
            raise UserError(f"data.name={name!r} is not a known data set; {hint}")


def _image_set(
    split: Split, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer], names: tuple[str, ...]
) -> ImageSet:
    return ImageSet(
        images=torch.from_numpy(np.ascontiguousarray(images)),
        labels=torch.from_numpy(labels.astype(np.int64)),
        ids=_numbered(split, len(images)),
        class_names=names,
    )


def _numbered(split: Split, count: int) -> tuple[str, ...]:
    return tuple(f"{split}/{position:05d}" for position in range(count))


def _data_root(root: Path | None, download: bool) -> Path:
    """The folder that holds the data, known to be one; made when it is to be downloaded into."""
    field = "data.root"
    if root is None:
        field, from_environment = ROOT_VARIABLE, os.environ.get(ROOT_VARIABLE)
        if not from_environment:
            raise UserError(f"data.root is not set, nor is {ROOT_VARIABLE}; set one to the folder with the data files")
        root = Path(from_environment)
    root = root.expanduser()
    if root.exists() and not root.is_dir():
        raise UserError(f"{field}={root} is a file; it must be the folder that holds the data files")
    if not root.exists() and not download:
        raise UserError(
            f"{field}={root} does not exist; name the folder with the data files, or set data.download: true"
        )
    return root


# --- digits -----------------------------------------------------------------------------------------------------------


def _load_digits(split: Split) -> ImageSet:
    """scikit-learn's 1,797 grey images of 8×8, their values 0..16 stretched to 0..255."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    ids = [f"digits/{position:04d}" for position in range(len(labels))]
    in_test = _digits_test_positions(ids, labels)
    chosen = [position for position in range(len(ids)) if (position in in_test) == (split == "test")]
    return ImageSet(
        images=torch.from_numpy(images[chosen]),
        labels=torch.from_numpy(labels[chosen]),
        ids=tuple(ids[position] for position in chosen),
        class_names=DIGIT_NAMES,
    )


def _digits_test_positions(ids: list[str], labels: npt.NDArray[np.int64]) -> set[int]:
    """Fifty positions of each class, drawn by a hash: no library's random numbers promise to stay as they are."""

    def draw(position: int) -> bytes:
        return hashlib.sha256(f"{DIGITS_TEST_SEED}/{ids[position]}".encode()).digest()

    chosen: set[int] = set()
    for label in range(len(DIGIT_NAMES)):
        chosen.update(sorted(np.flatnonzero(labels == label).tolist(), key=draw)[:DIGITS_TEST_PER_CLASS])
    return chosen


# --- MNIST and its likes: idx files -----------------------------------------------------------------------------------


def _load_idx(name: str, split: Split, root: Path, download: bool) -> ImageSet:
    images_file = _find_idx_file(name, f"{IDX_PREFIX[split]}-images-idx3-ubyte", root, download)
    labels_file = _find_idx_file(name, f"{IDX_PREFIX[split]}-labels-idx1-ubyte", root, download)
    images, labels = _read_idx(images_file, dims=3), _read_idx(labels_file, dims=1)
    names = IDX_FAMILIES[name][1]
    if len(images) != len(labels):
        raise _damaged(labels_file, f"it has {len(labels)} labels for the {len(images)} images of {images_file.name}")
    if len(labels) > 0 and labels.max() >= len(names):
        raise _damaged(labels_file, f"it holds label {labels.max()}, but {name} has {len(names)} classes")
    return _image_set(split, images[:, None], labels, names)


def _find_idx_file(name: str, file: str, root: Path, download: bool) -> Path:
    """The file, plain or gzipped, wherever people keep it below `root`; downloaded where that is allowed."""
    family = IDX_FAMILIES[name][0]
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
        raise _download_failed(family, root, error) from error


def _read_idx(path: Path, dims: int) -> npt.NDArray[np.uint8]:
    """The array in an idx file of bytes: two zeros, type 8, the number of dims, their big-endian sizes, the bytes."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, f"it cannot be unpacked: {error}") from error
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}; make it readable, or set another data.root"
        ) from error
    start = 4 + 4 * dims
    if content[:4] != bytes([0, 0, 8, dims]):
        raise _damaged(
            path, f"it begins with {content[:4].hex() or 'nothing'}, not with {bytes([0, 0, 8, dims]).hex()}"
        )
    if len(content) < start:
        raise _damaged(path, f"it ends after {len(content)} bytes, within its header")
    shape = struct.unpack(f">{dims}I", content[4:start])
    expected = start + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise _damaged(path, f"it holds {len(content)} bytes, but its header announces {expected}")
    # A copy: torch refuses memory that it must not write to.
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()


# --- CIFAR-10 and SVHN: torchvision checks their MD5 sums ---------------------------------------------------------


def _load_cifar10(split: Split, root: Path, download: bool) -> ImageSet:
    import torchvision

    folder = _folder_of("cifar-10-batches-py", root, "cifar10")
    try:
        loaded = torchvision.datasets.CIFAR10(folder, train=split == "train", download=download)
    except (RuntimeError, OSError, http.client.HTTPException) as error:
        raise _torchvision_failed("cifar10", folder / "cifar-10-batches-py", root, download, error) from error
    return _image_set(split, loaded.data.transpose(0, 3, 1, 2), np.asarray(loaded.targets), CIFAR10_NAMES)


def _load_svhn(split: Split, root: Path, download: bool) -> ImageSet:
    import torchvision

    file = f"{split}_32x32.mat"
    folder = _folder_of(file, root, "svhn")
    try:
        loaded = torchvision.datasets.SVHN(folder, split=split, download=download)
    except (RuntimeError, OSError, http.client.HTTPException) as error:
        raise _torchvision_failed("svhn", folder / file, root, download, error) from error
    return _image_set(split, loaded.data, loaded.labels, DIGIT_NAMES)


def _folder_of(entry: str, root: Path, name: str) -> Path:
    return root / name if (root / name / entry).exists() else root


# --- errors -----------------------------------------------------------------------------------------------------------


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path} is damaged: {why}; delete it and download it again (data.download: true)")


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be read: {error.strerror}; make it readable, or set another data.root")


def _download_failed(name: str, root: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())  # torchvision's own words run over several lines
    return UserError(
        f"data.download=true: {name} could not be downloaded into {root} ({reason}); "
        "check the network, or fetch the files elsewhere and set data.root to their folder"
    )


def _torchvision_failed(name: str, wanted: Path, root: Path, download: bool, error: Exception) -> UserError:
    if download:
        return _download_failed(name, root, error)
    if isinstance(error, OSError):
        return _unreadable(wanted, error)
    if wanted.exists():
        return _damaged(wanted, "its MD5 sum is not the published one")
    return UserError(
        f"data.root={root} lacks {wanted.name} of {name}, looked for in {root} and {root / name}; "
        "set data.download: true, or data.root to the folder that holds it"
    )
