"""FixMatch's weak and strong views of color images: a batch at once as we do it, and image by image as peers do it.

The weak view is a flip and a shift of up to an eighth, the strong one another such view with two of RandAugment's 14
operations at levels drawn uniformly, and a gray hole of half the side. PIL's side has our very policy, torchvision's
what it has ready. All sides take turns on the same images in one process with one thread, and measure that process's
own time on the processor, so that neighbors on the machine count for little. All sides begin with one uint8 batch and
end with two; loading, and normalizing as floats, is left out.
"""

import random
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tv

from benchmarks.output import publish
from semisup.data.augmentation.randaugment import OPERATIONS, Operation, randaugment, weak

BATCH = 512
SIDE = 32
TURNS = 15
BATCHES = 5
"""Ours in one turn, so that a turn lasts about as long as PIL's."""
SHIFT = 0.125
OURS = "ours, a batch at once"
AFFINE = Image.Transform.AFFINE


def main() -> None:
    """Print and save pairs per second and the ratios, turn by turn."""
    torch.set_num_threads(1)
    random.seed(0)
    torch.manual_seed(0)  # torchvision draws from torch's global generator
    generator = torch.Generator().manual_seed(0)
    # Blobs rather than noise: neighboring pixels of a photograph are alike.
    coarse = torch.randint(0, 256, (BATCH, 3, 6, 6), dtype=torch.uint8, generator=generator)
    images = tv.resize(coarse, [SIDE, SIDE], InterpolationMode.BICUBIC, antialias=True).contiguous()
    sides: dict[str, tuple[int, Callable[[], object]]] = {
        OURS: (BATCHES, lambda: ours(images, generator)),
        "PIL, image by image": (1, lambda: by_pil(images)),
        "torchvision v2, image by image": (1, lambda: by_torchvision(images)),
    }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(TURNS + 1):
        for side, (batches, views) in sides.items():
            started = time.process_time()
            for _ in range(batches):
                views()
            if turn:  # the first turn warms up
                seconds[side].append((time.process_time() - started) / batches)
    rows = []
    for side, times in seconds.items():
        ratios = [theirs / mine for theirs, mine in zip(times, seconds[OURS], strict=True)]
        rows.append(
            {
                "side": side,
                "pairs per second": BATCH / statistics.median(times),
                "ours is faster, times": statistics.median(ratios),
                "lowest": min(ratios),
                "highest": max(ratios),
            }
        )
    publish(
        "augmentation",
        rows,
        f"weak + strong view of {BATCH} images of 3×{SIDE}×{SIDE}, one thread, {TURNS} turns a side, processor time, "
        "ratios turn by turn; goal: 15,000 pairs per second",
    )


def ours(images: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Both views of all images."""
    weakly, other = (weak(images, shift=SHIFT, horizontal_flip=True, generator=generator) for _ in range(2))
    return weakly, randaugment(other, operations=2, magnitude=1.0, generator=generator, cutout=0.5)


def by_pil(images: torch.Tensor) -> list[torch.Tensor]:
    """Both views of all images, image by image."""
    pictures = [Image.fromarray(image) for image in images.permute(0, 2, 3, 1).contiguous().numpy()]
    pairs = [(weak_by_pil(picture), strong_by_pil(picture)) for picture in pictures]
    views = (np.stack([np.asarray(picture) for picture in view]) for view in zip(*pairs, strict=True))
    return [torch.from_numpy(view).permute(0, 3, 1, 2).contiguous() for view in views]


def by_torchvision(images: torch.Tensor) -> list[torch.Tensor]:
    """Both views of all images, image by image."""
    pairs = [(weak_by_torchvision(image), strong_by_torchvision(image)) for image in images]
    return [torch.stack(view) for view in zip(*pairs, strict=True)]


def weak_by_pil(image: Image.Image) -> Image.Image:
    """Flip and shift of one image, reflected by numpy: so does torchvision's RandomCrop, which peers use."""
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    width, height = image.size
    right, down = int(SHIFT * width), int(SHIFT * height)
    padded = np.pad(np.asarray(image), [(down, down), (right, right), (0, 0)], mode="reflect")
    top, left = random.randint(0, 2 * down), random.randint(0, 2 * right)
    return Image.fromarray(padded[top : top + height, left : left + width])


def strong_by_pil(image: Image.Image) -> Image.Image:
    """A weak view with two operations and a hole."""
    image = weak_by_pil(image)
    for operation in random.choices(OPERATIONS, k=2):
        image = operation_by_pil(operation, image, random.random(), random.choice([-1, 1]))
    width, height = image.size
    side = min(width, height) // 2
    left, top = random.randrange(width) - side // 2, random.randrange(height) - side // 2
    image = image.copy()
    image.paste((127, 127, 127), (left, top, left + side, top + side))
    return image


def operation_by_pil(  # noqa: PLR0911, PLR0912 -- fourteen operations, one line each
    operation: Operation, image: Image.Image, level: float, sign: int
) -> Image.Image:
    """One of the 14 on one image, ranges as in FixMatch's table 12."""
    factor, degrees, signed = 0.95 - 0.9 * level, 30 * sign * level, 0.3 * sign * level
    match operation:
        case "autocontrast":
            return ImageOps.autocontrast(image)
        case "brightness":
            return ImageEnhance.Brightness(image).enhance(factor)
        case "color":
            return ImageEnhance.Color(image).enhance(factor)
        case "contrast":
            return ImageEnhance.Contrast(image).enhance(factor)
        case "equalize":
            return ImageOps.equalize(image)
        case "identity":
            return image
        case "posterize":
            return ImageOps.posterize(image, int(8 - 4 * level))
        case "rotate":
            return image.rotate(degrees)
        case "sharpness":
            return ImageEnhance.Sharpness(image).enhance(factor)
        case "shear_x":
            return image.transform(image.size, AFFINE, (1, signed, 0, 0, 1, 0))
        case "shear_y":
            return image.transform(image.size, AFFINE, (1, 0, 0, signed, 1, 0))
        case "solarize":
            return ImageOps.solarize(image, 256 - int(256 * level))
        case "translate_x":
            return image.transform(image.size, AFFINE, (1, 0, int(signed * image.width), 0, 1, 0))
        case "translate_y":
            return image.transform(image.size, AFFINE, (1, 0, 0, 0, 1, int(signed * image.height)))


weak_by_torchvision = v2.Compose(
    [v2.RandomHorizontalFlip(), v2.RandomCrop(SIDE, padding=int(SHIFT * SIDE), padding_mode="reflect")]
)
strong_by_torchvision = v2.Compose(
    [
        weak_by_torchvision,
        v2.RandAugment(num_ops=2, magnitude=15),
        v2.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0), value=127),
    ]
)
"""Its own RandAugment: the same 14 operations, one level for all, other ranges; its hole never leaves the image."""


if __name__ == "__main__":
    main()
