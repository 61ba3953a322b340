"""Images as one uint8 array, with what is known of each.

Every data set has a pool, from which labeled, validation and unlabeled images are drawn, and a test split. An image
is known by its id for ever: ids name a split and a position in the official order, never a position after shuffling.
"""

import hashlib
import json
from dataclasses import dataclass

import torch
from torch import Tensor

UNLABELED = -1  # "no label known here"; it never reaches a loss


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images that lie in memory together, with what is known of each; compare two by their `digest`.

    Attributes:
        images: uint8 (N, C, H, W), contiguous, 0..255.
        labels: int64 (N,), a class's position in `class_names`, or UNLABELED.
        ids: one stable name per image, such as "train/00017".
        class_names: in the order of the labels.
        pixel_digest: what decides the pixels, where that is known without a look at them; "" where it is not.
        group_digest: which images belong together, of images with a `pixel_digest`; "" where nobody said so.
    """

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    pixel_digest: str = ""
    group_digest: str = ""

    def __post_init__(self) -> None:
        assert self.images.dtype == torch.uint8
        assert self.images.dim() == 4
        assert self.images.is_contiguous()
        assert self.labels.dtype == torch.int64
        assert self.labels.shape == (len(self.images),)
        assert len(set(self.ids)) == len(self.ids) == len(self.images)
        assert ((self.labels >= UNLABELED) & (self.labels < self.num_classes)).all()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width


def digest(images: ImageSet) -> str:
    """SHA-256, in hex, of all that an ImageSet holds: equal exactly when shape, pixels, groups, labels, names, ids are.

    Pixels with a `pixel_digest` are taken at its word.
    """
    header = {"shape": list(images.images.shape), "class_names": images.class_names}
    if images.pixel_digest:  # there may be a million ids: one after the other, not in one text
        pixels = "/".join(filter(None, (images.pixel_digest, images.group_digest)))
        sha = hashlib.sha256(json.dumps(header | {"pixels": pixels}).encode())
        for name in images.ids:
            sha.update(json.dumps(name).encode())
    else:
        sha = hashlib.sha256(json.dumps(header | {"ids": images.ids}).encode())
        sha.update(images.images.cpu().numpy().data)
    sha.update(images.labels.cpu().numpy().astype("<i8").data)  # the same bytes on every machine
    return sha.hexdigest()
