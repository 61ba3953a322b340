"""Where the images come from."""

import os
from pathlib import Path
from typing import Literal

from semisup.config.base import Section

WITHOUT_MIRROR_SYMMETRY = frozenset({"digits", "mnist", "kmnist", "svhn"})


class DataConfig(Section):
    """Where the images come from."""

    name: Literal["digits", "mnist", "fashion_mnist", "kmnist", "cifar10", "svhn"] = "digits"
    """Data set. `digits` is embedded; the others are read from `root`."""
    root: Path | None = None
    """Folder of the data files; unset: the environment variable SEMISUP_DATA_ROOT."""
    download: bool = False
    """Fetch missing files into `root`. Nothing is ever downloaded without it."""


def resolve_data_root(data: DataConfig) -> Path | None:
    """`data.root`, or else the environment variable SEMISUP_DATA_ROOT, or None."""
    from_environment = os.environ.get("SEMISUP_DATA_ROOT")
    return data.root or (Path(from_environment) if from_environment else None)
