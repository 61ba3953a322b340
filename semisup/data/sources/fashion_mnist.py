"""Fashion-MNIST: 70,000 grey images of 28×28, 10,000 of them for the test."""

from functools import partial

from semisup.config import DataConfig
from semisup.data.published import numbered
from semisup.data.published.files import data_root, images_of
from semisup.data.published.idx import count_images, read_idx
from semisup.data.source import Source

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

_read = partial(read_idx, "fashion_mnist", 10)


def _test_ids(data: DataConfig) -> tuple[str, ...]:
    return numbered("test", count_images("fashion_mnist", "test", data_root(data.root, data.download), data.download))


SOURCE = Source(
    pool=images_of(_read, "train", FASHION_NAMES), test=images_of(_read, "test", FASHION_NAMES), test_ids=_test_ids
)
