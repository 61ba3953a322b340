"""One file per source of images, published ones and one's own; here they are found by name."""

from pathlib import Path

from semisup.config import DataConfig
from semisup.config.sources import SOURCES
from semisup.data.datasets import ImageSet
from semisup.data.source import Source
from semisup.errors import UserError, did_you_mean


def source(name: str) -> Source:
    """The source that `data.name` names.

    Raises:
        UserError: there is none, or an entry point names something else.
    """
    if name not in SOURCES:
        hint = did_you_mean(name, SOURCES.names(), f"use one of {', '.join(SOURCES.names())}")
        raise UserError(f"data.name={name!r} is not a known data set; {hint}")
    found = SOURCES[name]
    if not isinstance(found, Source):
        raise UserError(f"data.name={name!r}: its entry point has to name a Source")
    return found


def load_pool(name: str, root: Path | None = None, download: bool = False) -> ImageSet:
    """The training images of a published data set with their true labels, in the official order.

    Args:
        name: such as "digits".
        root: the folder with the files, or None for the one in the environment's SEMISUP_DATA_ROOT. `digits` comes
            with scikit-learn and needs none.
        download: fetch what is missing into `root`, through torchvision.

    Raises:
        UserError: an unknown name; no such folder; a file that is missing, damaged or cannot be downloaded.
    """
    return source(name).pool(_data(name, root, download))


def load_test(name: str, root: Path | None = None, download: bool = False) -> ImageSet:
    """The test images with their labels; arguments and errors as in `load_pool`."""
    return source(name).test(_data(name, root, download))


def list_test_ids(name: str, root: Path | None = None, download: bool = False) -> tuple[str, ...]:
    """The ids of the test images, in the order of `load_test`, without a look at a test label.

    Arguments and errors as in `load_pool`. Two exceptions to "without a look": the test split of `digits` is balanced
    by its labels, and torchvision reads those of cifar10 and svhn along with the images; none is kept.
    """
    return source(name).ids_for_test(_data(name, root, download))


def _data(name: str, root: Path | None, download: bool) -> DataConfig:
    source(name)  # says of an unknown one which is meant
    return DataConfig(name=name, root=root, download=download)
