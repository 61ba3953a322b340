"""Published data sets as images: where their files are looked for, and what they hold as an `ImageSet`."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from semisup.config import DataConfig
from semisup.data.datasets import ImageSet
from semisup.data.published import Arrays, Split
from semisup.errors import UserError

ROOT_VARIABLE = "SEMISUP_DATA_ROOT"
DIGIT_NAMES = tuple("0123456789")
Read = Callable[[Split, Path, bool], Arrays]
"""(split, folder with the files, whether missing ones may be downloaded into it) → what they hold."""


def images_of(read: Read, split: Split, class_names: Sequence[str]) -> Callable[[DataConfig], ImageSet]:
    """What reads one split of a data set whose files are in `data.root`."""
    return lambda data: image_set(read(split, data_root(data.root, data.download), data.download), class_names)


def image_set(arrays: Arrays, class_names: Sequence[str]) -> ImageSet:
    """The arrays as one set."""
    return ImageSet(
        images=torch.from_numpy(np.ascontiguousarray(arrays.images)),
        labels=torch.from_numpy(arrays.labels.astype(np.int64)),
        ids=arrays.ids,
        class_names=tuple(class_names),
    )


def data_root(root: Path | None, download: bool) -> Path:
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
