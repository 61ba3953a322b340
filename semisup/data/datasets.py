"""Images as one uint8 array: what is known of a data set, where its files are looked for, and how they are read.

Every data set has a pool, from which labelled, validation and unlabelled images are drawn, and a test split. An image
is known by its id for ever: ids name a split and a position in the official order, never a position after shuffling.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semisup.data.published import Arrays, Split, numbered
from semisup.data.published.by_torchvision import read_cifar10, read_svhn
from semisup.data.published.digits import read_digits
from semisup.data.published.idx import IDX_FAMILIES, count_images, read_idx
from semisup.errors import UserError

UNLABELED = -1  # "no label known here"; it never reaches a loss
ROOT_VARIABLE = "SEMISUP_DATA_ROOT"
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

CLASS_NAMES = {
    "digits": DIGIT_NAMES,
    "mnist": DIGIT_NAMES,
    "fashion_mnist": FASHION_NAMES,
    "kmnist": KMNIST_NAMES,
    "cifar10": CIFAR10_NAMES,
    "svhn": DIGIT_NAMES,
}
DATASETS = tuple(CLASS_NAMES)


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
        return numbered("test", count_images(name, "test", _data_root(root, download), download))
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
    if name not in DATASETS:
        nearest = get_close_matches(name, DATASETS, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"use one of {', '.join(DATASETS)}"
        raise UserError(f"data.name={name!r} is not a known data set; {hint}")
    images, labels, ids = _read(name, split, root, download)
    return ImageSet(
        images=torch.from_numpy(np.ascontiguousarray(images)),
        labels=torch.from_numpy(labels.astype(np.int64)),
        ids=ids,
        class_names=CLASS_NAMES[name],
    )


def _read(name: str, split: Split, root: Path | None, download: bool) -> Arrays:
    if name == "digits":
        return read_digits(split)
    folder = _data_root(root, download)
    match name:
        case "cifar10":
            return read_cifar10(split, folder, download)
        case "svhn":
            return read_svhn(split, folder, download)
        case _:
            return read_idx(name, len(CLASS_NAMES[name]), split, folder, download)


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
