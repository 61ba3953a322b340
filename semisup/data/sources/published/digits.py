"""scikit-learn's digits: 1,797 gray images of 8×8, which come with the library."""

from semisup.data.published.digits import read_digits
from semisup.data.published.files import DIGIT_NAMES, image_set
from semisup.data.source import Source

SOURCE = Source(
    embedded=True,
    mirrored_is_another=True,
    pool=lambda data: image_set(read_digits("train"), DIGIT_NAMES),
    test=lambda data: image_set(read_digits("test"), DIGIT_NAMES),
)
"""There is no official test split: 50 images of each class are it, the same ones for ever."""
