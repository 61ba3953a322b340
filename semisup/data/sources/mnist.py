"""MNIST: 70,000 grey images of 28×28, 10,000 of them for the test."""

from functools import partial

from semisup.config import DataConfig
from semisup.data.published import numbered
from semisup.data.published.files import DIGIT_NAMES, data_root, images_of
from semisup.data.published.idx import count_images, read_idx
from semisup.data.source import Source

_read = partial(read_idx, "mnist", 10)


def _test_ids(data: DataConfig) -> tuple[str, ...]:
    return numbered("test", count_images("mnist", "test", data_root(data.root, data.download), data.download))


SOURCE = Source(
    mirrored_is_another=True,
    pool=images_of(_read, "train", DIGIT_NAMES),
    test=images_of(_read, "test", DIGIT_NAMES),
    test_ids=_test_ids,
)
