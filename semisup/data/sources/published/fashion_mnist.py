"""Fashion-MNIST: 70,000 gray images of 28×28, 10,000 of them for the test."""

from semisup.data.published.idx import idx_source

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

SOURCE = idx_source("fashion_mnist", FASHION_NAMES, mirrored_is_another=False)
