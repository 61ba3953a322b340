"""RandAugment and the weak view, pixel by pixel against PIL image by image, and against what they promise of draws."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats
from torch import Tensor

from semisup.data.augmentation import pixel_operations as pixels
from semisup.data.augmentation.randaugment import OPERATIONS, apply_operation, draw, randaugment, weak

STRONG = {"operations": 2, "magnitude": 1.0, "cutout": 0.5}
SIZES = [(3, 32, 32), (1, 28, 28), (3, 17, 24), (1, 24, 17), (3, 2, 5), (3, 1, 1), (1, 3, 3)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 7) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(seed))


def all_sorts(channels: int, height: int, width: int) -> Tensor:
    """Noise, faint noise, three even images, one of a single color, black and white, few values, a ramp, a spike."""
    random = noise(7, channels, height, width)
    even = torch.tensor([0, 93, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, channels, height, width)
    one_color = random[1:2].clone()
    one_color[:, 1:] = 0
    ramp = torch.linspace(20, 235, height * width).to(torch.uint8).view(1, 1, height, width).expand(1, channels, -1, -1)
    spike = torch.full((1, channels, height, width), 200, dtype=torch.uint8)
    spike[..., height // 2, width // 2] = 7
    return torch.cat(
        [
            random[:1],
            100 + random[2:3] // 32,
            even,
            one_color,
            (random[3:4] > 127).to(torch.uint8) * 255,
            random[4:5] // 64 * 80,
            ramp,
            spike,
        ]
    )


def to_pil(image: Tensor) -> Image.Image:
    array = image.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def from_pil(image: Image.Image) -> Tensor:
    array = np.array(image)
    return torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).permute(2, 0, 1)


def affine(image: Image.Image, *numbers: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, numbers, resample=Image.Resampling.NEAREST)


BLENDS = [0.0, 0.05, 0.5, 0.95, 1.0, 1.3, 1.9]
SHEARS = [-0.3, -0.1, 0.0, 0.05, 0.3]
SHIFTS = [-9, -5, -1, 0, 1, 4, 9, 100]
BY_PIL = {
    "brightness": (BLENDS, lambda image, factor: ImageEnhance.Brightness(image).enhance(factor)),
    "color": (BLENDS, lambda image, factor: ImageEnhance.Color(image).enhance(factor)),
    "contrast": (BLENDS, lambda image, factor: ImageEnhance.Contrast(image).enhance(factor)),
    "sharpness": (BLENDS, lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor)),
    "posterize": (list(range(1, 9)), ImageOps.posterize),
    "solarize": ([0, 1, 77, 128, 255, 256], ImageOps.solarize),
    "rotate": ([-30.0, -7.5, 0.0, 0.01, 12.0, 30.0, 45.0, 90.0, 180.0, 270.0], Image.Image.rotate),
    "shear_x": (SHEARS, lambda image, tangent: affine(image, 1, tangent, 0, 0, 1, 0)),
    "shear_y": (SHEARS, lambda image, tangent: affine(image, 1, 0, 0, tangent, 1, 0)),
    "translate_x": (SHIFTS, lambda image, right: affine(image, 1, 0, -right, 0, 1, 0)),
    "translate_y": (SHIFTS, lambda image, down: affine(image, 1, 0, 0, 0, 1, -down)),
}
"""Name → (amounts, what PIL does with one image and one amount)."""
WITHOUT_AMOUNT = {"autocontrast": ImageOps.autocontrast, "equalize": ImageOps.equalize}
NO_CHANGE = {
    **dict.fromkeys(["brightness", "color", "contrast", "sharpness"], 1.0),
    **dict.fromkeys(["rotate", "shear_x", "shear_y"], 0.0),
    **dict.fromkeys(["translate_x", "translate_y"], 0),
    "posterize": 8,
    "solarize": 256,
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", BY_PIL)
def test_an_operation_with_an_amount_for_each_image_makes_the_pixels_that_pil_makes_of_each(name, size):
    amounts, by_pil = BY_PIL[name]
    images = all_sorts(*size)
    amounts_of_images = [amount for amount in amounts for _ in images]
    batch = images.repeat(len(amounts), 1, 1, 1)
    out = getattr(pixels, name)(batch, torch.tensor(amounts_of_images))
    exact = torch.tensor(amounts_of_images).tolist()  # 0.05 in float32 is not Python's 0.05
    expected = torch.stack([from_pil(by_pil(to_pil(i), a)) for i, a in zip(batch, exact, strict=True)])
    assert out.dtype == torch.uint8
    assert torch.equal(out, expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", WITHOUT_AMOUNT)
def test_an_operation_without_an_amount_makes_the_pixels_that_pil_makes_of_each_image(name, size):
    images = all_sorts(*size)
    expected = torch.stack([from_pil(WITHOUT_AMOUNT[name](to_pil(image))) for image in images])
    assert torch.equal(getattr(pixels, name)(images), expected)


@pytest.mark.parametrize("low", range(0, 256, 15))
def test_autocontrast_rounds_as_pil_whatever_the_darkest_and_brightest_value(low):
    """Every span from this darkest value: stretching in one rounding instead of two goes wrong for some of them."""
    batch = torch.stack([torch.linspace(low, high, 256).to(torch.uint8).view(1, 16, 16) for high in range(low, 256)])
    expected = torch.stack([from_pil(ImageOps.autocontrast(to_pil(image))) for image in batch])
    assert torch.equal(pixels.autocontrast(batch), expected)


@pytest.mark.parametrize("name", ["brightness", "color", "contrast", "sharpness", "rotate", "shear_x", "shear_y"])
def test_any_real_amount_within_the_range_makes_the_pixels_that_pil_makes(name):
    amounts, by_pil = BY_PIL[name]
    batch = noise(400, 3, 11, 14)
    spread = torch.rand(400, generator=generator(), dtype=torch.float64) * (max(amounts) - min(amounts)) + min(amounts)
    expected = torch.stack([from_pil(by_pil(to_pil(i), a)) for i, a in zip(batch, spread.tolist(), strict=True)])
    assert torch.equal(getattr(pixels, name)(batch, spread), expected)


@pytest.mark.parametrize("name", NO_CHANGE)
def test_the_amount_that_means_no_change_changes_nothing(name):
    images = all_sorts(3, 12, 15)
    assert torch.equal(getattr(pixels, name)(images, torch.full((len(images),), NO_CHANGE[name])), images)


def test_images_that_are_neither_gray_nor_rgb_have_no_grays():
    with pytest.raises(ValueError, match="images of 2 channels"):
        pixels.color(noise(1, 2, 4, 4), torch.ones(1))


@pytest.mark.parametrize("side", [1, 4, 5])
def test_a_hole_inside_the_image_is_gray_and_side_by_side_pixels_in_every_channel(side):
    out = pixels.cut_out(torch.zeros(1, 3, 12, 15, dtype=torch.uint8), torch.tensor([[7, 6]]), side)
    assert (out == 127).sum(dim=(2, 3)).tolist() == [[side * side] * 3]
    assert (out == 0).sum().item() == 3 * (12 * 15 - side * side)
    assert (out[0, :, 6, 7] == 127).all()


def test_a_hole_at_the_corner_is_cut_off_by_the_edge_and_the_rest_stays():
    images = noise(1, 1, 10, 10)
    out = pixels.cut_out(images, torch.tensor([[0, 9]]), 5)
    expected = images.clone()
    expected[..., 7:, :3] = 127
    assert torch.equal(out, expected)


# The strong view as a whole


def strong_by_pil(image: Image.Image, operation: str, level: float, sign: float) -> Image.Image:
    """FixMatch's table 12, its ranges run through from the mild end; pixels, bits, thresholds cut to whole numbers."""
    blends = {"brightness", "color", "contrast", "sharpness"}
    ranges = {
        **dict.fromkeys(blends, 0.95 - 0.9 * level),
        "posterize": int(8 - 4 * level),
        "solarize": 256 - int(256 * level),
        "rotate": 30 * sign * level,
        "shear_x": 0.3 * sign * level,
        "shear_y": 0.3 * sign * level,
        "translate_x": int(0.3 * sign * level * image.width),
        "translate_y": int(0.3 * sign * level * image.height),
    }
    if operation in ranges:
        return BY_PIL[operation][1](image, ranges[operation])
    return WITHOUT_AMOUNT.get(operation, lambda same: same)(image)


@pytest.mark.parametrize("magnitude", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("size", [(3, 32, 32), (1, 28, 28), (3, 21, 16)])
def test_the_strong_view_of_a_batch_is_what_pil_makes_of_each_image_with_the_same_draws(size, magnitude):
    images, (_, height, width) = noise(300, *size), size
    out = randaugment(images, operations=3, magnitude=magnitude, cutout=0.5, generator=generator(5))
    draws = draw(300, 3, magnitude, generator(5))
    for i, image in enumerate(images):
        expected = to_pil(image)
        for operation, level, sign in zip(*(d[i].tolist() for d in draws[:3]), strict=True):
            expected = strong_by_pil(expected, OPERATIONS[operation], level, sign)
        side = min(height, width) // 2
        x, y = int(draws.centers[i, 0] * width), int(draws.centers[i, 1] * height)
        left, top = x - side // 2, y - side // 2
        gray = 127 if size[0] == 1 else (127, 127, 127)
        expected.paste(gray, (left, top, left + side, top + side))
        assert torch.equal(out[i], from_pil(expected)), [OPERATIONS[operation] for operation in draws.operations[i]]


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_ends_of_fixmatchs_ranges_are_reached_at_levels_zero_and_one(operation, level, sign):
    images = noise(4, 3, 20, 30)
    of_each = torch.ones(4, dtype=torch.float64)
    out = apply_operation(operation, images, level * of_each, sign * of_each)
    expected = torch.stack([from_pil(strong_by_pil(to_pil(image), operation, level, sign)) for image in images])
    assert torch.equal(out, expected)


def test_operations_levels_signs_and_centres_are_uniform():
    draws = draw(20_000, 2, 0.7, generator())
    for which in draws.operations.T:
        assert stats.chisquare(torch.bincount(which, minlength=14).numpy()).pvalue > 1e-3
    pairs = torch.bincount(14 * draws.operations[:, 0] + draws.operations[:, 1], minlength=14 * 14)
    assert stats.chisquare(pairs.numpy()).pvalue > 1e-3
    for uniform in (*draws.levels.div(0.7).T, *draws.centers.T):
        assert stats.kstest(uniform.numpy(), "uniform").pvalue > 1e-3
    assert draws.signs.abs().eq(1).all()
    assert abs(int((draws.signs == 1).sum()) - 20_000) < 5 * math.sqrt(40_000 / 4)


def test_images_of_one_batch_get_different_parameters():
    same = noise(1, 3, 16, 16).expand(64, -1, -1, -1)
    out = randaugment(same, **STRONG, generator=generator())
    assert len({image.numpy().tobytes() for image in out}) == 64
    weakly = weak(same, shift=0.25, horizontal_flip=True, generator=generator())
    assert len({image.numpy().tobytes() for image in weakly}) > 64 / 2  # of 2 × 9 × 9 possible ones


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("view", ["weak", "strong"])
def test_type_and_shape_are_kept_and_the_images_handed_in_left_alone(view, channels):
    images = noise(20, channels, 9, 13)
    before = images.clone()
    out = either_view(view, images, generator())
    assert out.dtype == torch.uint8
    assert out.shape == images.shape
    assert torch.equal(images, before)


@pytest.mark.parametrize("view", ["weak", "strong"])
def test_an_empty_batch_gives_an_empty_batch(view):
    assert either_view(view, noise(0, 3, 9, 13), generator()).shape == (0, 3, 9, 13)


@pytest.mark.parametrize("view", ["weak", "strong"])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(view):
    images = noise(16, 3, 10, 10)
    first, second, other = (either_view(view, images, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("view", ["weak", "strong"])
def test_what_becomes_of_an_image_does_not_depend_on_the_other_images(view):
    images, others = noise(16, 3, 10, 10), noise(16, 3, 10, 10, seed=8)
    others[5] = images[5]
    out, out_of_others = (either_view(view, batch, generator(3)) for batch in (images, others))
    assert torch.equal(out[5], out_of_others[5])


@pytest.mark.parametrize("view", ["weak", "strong"])
def test_images_that_are_not_contiguous_become_what_their_copies_become(view):
    images = noise(16, 12, 10, 3).permute(0, 3, 1, 2)
    out, out_of_copy = (either_view(view, batch, generator()) for batch in (images, images.contiguous()))
    assert torch.equal(out, out_of_copy)


def test_the_hole_stays_where_it_is_when_the_magnitude_changes():
    images = torch.full((50, 1, 12, 12), 255, dtype=torch.uint8)
    mild, strong = (
        randaugment(images, operations=1, magnitude=m, cutout=0.5, generator=generator()) for m in (0.0, 1e-3)
    )
    assert torch.equal(mild == 127, strong == 127)


def test_no_operations_and_no_hole_leave_the_images_bit_for_bit():
    images = noise(4, 3, 9, 9)
    assert torch.equal(randaugment(images, operations=0, magnitude=1.0, cutout=0.0, generator=generator()), images)


# The weak view


def test_the_weak_view_without_shift_and_flip_is_the_image():
    images = noise(4, 3, 9, 12)
    assert torch.equal(weak(images, shift=0.0, horizontal_flip=False, generator=generator()), images)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("height", "width", "shift"), [(8, 8, 0.125), (9, 16, 0.25), (5, 3, 0.99)])
def test_a_weak_view_is_a_crop_of_the_reflected_image_and_every_crop_comes_up_alike(height, width, shift, flip):
    image, count = noise(1, 3, height, width), 6000
    furthest_down, furthest_right = int(shift * height), int(shift * width)
    out = weak(image.expand(count, -1, -1, -1), shift=shift, horizontal_flip=flip, generator=generator())
    ways: Counter[bytes] = Counter()
    for mirrored in [image[0], image[0].flip(-1)][: 1 + flip]:
        around = [(0, 0), (furthest_down, furthest_down), (furthest_right, furthest_right)]
        padded = np.pad(mirrored.numpy(), around, mode="reflect")
        for top in range(2 * furthest_down + 1):
            for left in range(2 * furthest_right + 1):
                ways[padded[:, top : top + height, left : left + width].tobytes()] += 1
    seen = Counter(view.numpy().tobytes() for view in out)
    assert seen.keys() <= ways.keys()
    # Reflection repeats itself: in a narrow image some crops come about in several ways.
    expected = [count * number / ways.total() for number in ways.values()]
    assert stats.chisquare([seen[crop] for crop in ways], expected).pvalue > 1e-3


def either_view(view: str, images: Tensor, rng: torch.Generator) -> Tensor:
    if view == "weak":
        return weak(images, shift=0.25, horizontal_flip=True, generator=rng)
    return randaugment(images, **STRONG, generator=rng)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("view", ["weak", "strong"])
def test_a_gpu_gives_the_bits_that_the_cpu_gives_from_the_same_generator(view):
    images = noise(600, 3, 17, 24)
    assert torch.equal(either_view(view, images.cuda(), generator()).cpu(), either_view(view, images, generator()))
