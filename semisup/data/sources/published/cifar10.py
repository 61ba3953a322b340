"""CIFAR-10: 60,000 color photographs of 32×32, 10,000 of them for the test."""

from semisup.data.published.by_torchvision import read_cifar10
from semisup.data.published.files import images_of
from semisup.data.source import Source

CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

SOURCE = Source(
    photographs=True,
    pool=images_of(read_cifar10, "train", CIFAR10_NAMES),
    test=images_of(read_cifar10, "test", CIFAR10_NAMES),
)
