"""MNIST: 70,000 gray images of 28×28, 10,000 of them for the test."""

from semisup.data.published.files import DIGIT_NAMES
from semisup.data.published.idx import idx_source

SOURCE = idx_source("mnist", DIGIT_NAMES, mirrored_is_another=True)
