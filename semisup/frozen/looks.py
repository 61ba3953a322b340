"""What of an image a frozen network looks at: all of it, its mirror image, its center in more detail."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Looks:
    """The views of an image whose features are averaged.

    With neither there is one view, the image. A second one is its mirror image, its center, or with both the mirror
    image of its center, which shows more than either and costs no third pass through the network.

    Attributes:
        mirror: is the second view mirrored?
        center_crop: pixels of the shorter side that the network sees. All of the image is resized to it, and the
            center, of that size, is cut out as it is. None: the network sees the image as it is.
    """

    mirror: bool = False
    center_crop: int | None = None

    def __call__(self, images: Tensor) -> list[Tensor]:
        """One or two views of images (B, C, H, W), as (B, C, h, w) of :meth:`shape`, in the images' type."""
        _, height, width = self.shape((0, *images.shape[2:]))
        views = [images]
        if self.center_crop is not None:
            top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
            views = [_resized(images, height, width), images[:, :, top : top + height, left : left + width]]
        elif self.mirror:
            views = [images, images]
        return [*views[:-1], views[-1].flip(3)] if self.mirror else views

    def shape(self, image_shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(C, h, w) of a view of images (C, H, W)."""
        channels, height, width = image_shape
        if self.center_crop is None:
            return channels, height, width
        shorter = min(height, width)
        return channels, round(height * self.center_crop / shorter), round(width * self.center_crop / shorter)


def _resized(images: Tensor, height: int, width: int) -> Tensor:
    """All of the images (B, C, height, width), in their type; torchvision's function would load torch's compiler."""
    pixels = images if images.device.type == "cpu" else images.float()  # torch resizes bytes on a CPU alone
    seen = F.interpolate(pixels, (height, width), mode="bilinear", antialias=True)
    return seen if seen.dtype == images.dtype else seen.round().clamp(0, 255).to(images.dtype)


AS_THEY_ARE = Looks()
"""One view, of all of an image."""
