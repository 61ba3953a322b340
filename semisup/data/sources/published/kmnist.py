"""Kuzushiji-MNIST: 70,000 gray images of 28×28, 10,000 of them for the test."""

from semisup.data.published.idx import idx_source

KMNIST_NAMES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")

SOURCE = idx_source("kmnist", KMNIST_NAMES, mirrored_is_another=True)
