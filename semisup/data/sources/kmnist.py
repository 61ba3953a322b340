"""Kuzushiji-MNIST: 70,000 grey images of 28×28, 10,000 of them for the test."""

from functools import partial

from semisup.config import DataConfig
from semisup.data.published import numbered
from semisup.data.published.files import data_root, images_of
from semisup.data.published.idx import count_images, read_idx
from semisup.data.source import Source

KMNIST_NAMES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")

_read = partial(read_idx, "kmnist", 10)


def _test_ids(data: DataConfig) -> tuple[str, ...]:
    return numbered("test", count_images("kmnist", "test", data_root(data.root, data.download), data.download))


SOURCE = Source(
    mirrored_is_another=True,
    pool=images_of(_read, "train", KMNIST_NAMES),
    test=images_of(_read, "test", KMNIST_NAMES),
    test_ids=_test_ids,
)
