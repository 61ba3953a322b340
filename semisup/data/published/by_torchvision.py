"""CIFAR-10 and SVHN: torchvision reads them, and checks their MD5 sums."""

import http.client
from pathlib import Path

import numpy as np

from semisup.data.published import Arrays, Split, numbered
from semisup.data.published.errors import damaged, download_failed, unreadable
from semisup.errors import UserError


def read_cifar10(split: Split, root: Path, download: bool) -> Arrays:
    """3×32×32."""
    import torchvision

    folder = _folder_of("cifar-10-batches-py", root, "cifar10")
    try:
        loaded = torchvision.datasets.CIFAR10(folder, train=split == "train", download=download)
    except (RuntimeError, OSError, http.client.HTTPException) as error:
        raise _torchvision_failed("cifar10", folder / "cifar-10-batches-py", root, download, error) from error
    return Arrays(loaded.data.transpose(0, 3, 1, 2), np.asarray(loaded.targets), numbered(split, len(loaded.data)))


def read_svhn(split: Split, root: Path, download: bool) -> Arrays:
    """3×32×32, the cropped digits."""
    import torchvision

    file = f"{split}_32x32.mat"
    folder = _folder_of(file, root, "svhn")
    try:
        loaded = torchvision.datasets.SVHN(folder, split=split, download=download)
    except (RuntimeError, OSError, http.client.HTTPException) as error:
        raise _torchvision_failed("svhn", folder / file, root, download, error) from error
    return Arrays(loaded.data, loaded.labels, numbered(split, len(loaded.data)))


def _folder_of(entry: str, root: Path, name: str) -> Path:
    return root / name if (root / name / entry).exists() else root


def _torchvision_failed(name: str, wanted: Path, root: Path, download: bool, error: Exception) -> UserError:
    if download:
        return download_failed(name, root, error)
    if isinstance(error, OSError):
        return unreadable(wanted, error)
    if wanted.exists():
        return damaged(wanted, "its MD5 sum is not the published one")
    return UserError(
        f"data.root={root} lacks {wanted.name} of {name}, looked for in {root} and {root / name}; "
        "set data.download: true, or data.root to the folder that holds it"
    )
