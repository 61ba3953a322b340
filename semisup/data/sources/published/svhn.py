"""SVHN: cropped house numbers, 99,289 color images of 32×32, 26,032 of them for the test."""

from semisup.data.published.by_torchvision import read_svhn
from semisup.data.published.files import DIGIT_NAMES, images_of
from semisup.data.source import Source

SOURCE = Source(
    photographs=True,
    mirrored_is_another=True,
    pool=images_of(read_svhn, "train", DIGIT_NAMES),
    test=images_of(read_svhn, "test", DIGIT_NAMES),
)
