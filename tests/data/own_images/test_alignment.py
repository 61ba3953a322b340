"""Pictures that were moved, zoomed or partly covered are copies in folders of any size; what shows little never is."""

from functools import cache
from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor
from torch.nn import functional as F

from semisup.data.own_images.reading import alignment
from semisup.data.own_images.reading.alignment import aligned_pairs
from semisup.data.own_images.reading.duplicates import find_groups
from tests.data.corpus import encoded
from tests.data.own_images.test_duplicates import detailed, reopened, stacked

TILE, COUNT = 210, 32


@cache
def tiles() -> Tensor:
    """The eight parts of two photographs that show most, none over another, each in four of its mirror images, uint8
    (32, 3, 210, 210)."""
    found = []
    for photograph in load_sample_images().images:
        whole = torch.from_numpy(photograph.copy()).permute(2, 0, 1)
        found += [whole[:, top : top + TILE, left : left + TILE] for top in (0, 215) for left in (0, 215, 430)]
    detail = [float(gray(small(tile[None])).diff(dim=2).abs().mean()) for tile in found]
    best = torch.stack([found[number] for number in np.argsort(detail)[-8:]])
    return torch.cat([best, best.flip(2), best.flip(3), best.transpose(2, 3)])


def small(images: Tensor) -> Tensor:
    return F.interpolate(images.float(), (32, 32), mode="area").round().byte()


def frame(images: Tensor, top: int, left: int, side: int) -> Tensor:
    return small(images[:, :, top : top + side, left : left + side])


def covered(images: Tensor) -> Tensor:
    result = small(images)
    result[:, :, 12:24, 5:17] = 128
    return result


FRAMES = {
    "panned by 3 of 32 pixels": lambda images: (frame(images, 0, 0, 192), frame(images, 0, 18, 192)),
    "panned both ways": lambda images: (frame(images, 0, 0, 196), frame(images, 14, 14, 196)),
    "zoomed by 5 %": lambda images: (small(images), frame(images, 5, 5, 200)),
    "stretched": lambda images: (small(images), small(images[:, :, 10:200, :])),
    "a seventh covered": lambda images: (small(images), covered(images)),
    "darker and moved": lambda images: (frame(images, 0, 0, 196), (frame(images, 7, 7, 196) * 0.5 + 20).byte()),
}


def grouped(images: Tensor, **options: bool) -> np.ndarray:
    return find_groups([images], [str(number) for number in range(len(images))], **options)


@cache
def others() -> Tensor:
    """4,000 more pictures with detail of all sizes, none a copy of another."""
    generator = torch.Generator().manual_seed(0)
    layers = [torch.rand(4000, 3, side, side, generator=generator) for side in (3, 6, 12, 24)]
    grown = [F.interpolate(layer, (32, 32), mode="bicubic") / 2**number for number, layer in enumerate(layers)]
    return (torch.stack(grown).sum(dim=0) / 1.875 * 255).clamp(0, 255).byte()


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_of_a_photograph_are_copies_and_other_photographs_are_none(kind):
    ones, twos = FRAMES[kind](tiles())
    groups = grouped(torch.cat([ones, twos]))
    assert (groups[:COUNT] == groups[COUNT:]).mean() >= 0.6
    assert len(set(groups[:COUNT])) == COUNT


def test_a_pair_is_a_copy_in_a_folder_of_any_size_or_in_none():
    pairs = [pictures(tiles()[number::8]) for number, pictures in enumerate(FRAMES.values())]
    ones, twos = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
    called = {}
    for size in (64, 256, 1000, 4000):
        first, second = aligned_pairs(gray(torch.cat([ones, twos, others()])[:size]))
        called[size] = {(int(i), int(j)) for i, j in zip(first, second, strict=True) if j < len(ones) * 2}
    assert len(called[64]) >= 14
    assert called[64] == called[256] == called[1000] == called[4000]


def test_the_order_of_images_decides_nothing():
    ones, twos = FRAMES["panned both ways"](tiles())
    pictures = gray(torch.cat([ones, twos]))
    order = torch.from_numpy(np.random.default_rng(0).permutation(2 * COUNT))
    first, second = aligned_pairs(pictures)
    turned = np.sort(order.numpy()[np.stack(aligned_pairs(pictures[order]))], axis=0)
    assert {*zip(first.tolist(), second.tolist(), strict=True)} == {*zip(*turned.tolist(), strict=True)}
    assert len(first) >= 18


def test_the_order_of_a_folder_decides_nothing_even_in_a_crowd():
    """Forms that were filled in are all candidates of each other, and more than are fitted."""
    forms = stacked([form(number) for number in range(24)])
    images = torch.cat([small(forms), *FRAMES["zoomed by 5 %"](tiles())])
    contents = [sha256(image.numpy().tobytes()).hexdigest() for image in images]
    order = np.random.default_rng(1).permutation(len(images))
    groups = find_groups([images], contents)
    turned = find_groups([images[torch.from_numpy(order)]], [contents[row] for row in order])
    assert {*zip(groups[order], turned, strict=True)} == {*dict(zip(groups[order], turned, strict=True)).items()}
    assert len(set(groups)) == len(set(turned)) < len(images)


def test_many_equal_files_of_a_picture_do_not_hide_its_moved_copy():
    ones, twos = FRAMES["zoomed by 5 %"](tiles())
    for copies in (1, 20):
        images = torch.cat([ones.repeat(copies, 1, 1, 1), twos])
        contents = [f"one {row % COUNT}" for row in range(copies * COUNT)] + [f"two {row}" for row in range(COUNT)]
        groups = find_groups([images], contents)
        found = groups[:COUNT] == groups[-COUNT:]
        assert found.mean() >= 0.6, copies


def gray(images: Tensor) -> Tensor:
    return images.float().mean(dim=1)


def test_all_recompressed_copies_in_a_small_folder_are_found_and_nothing_else():
    pictures = [detailed(seed) for seed in range(100)]
    copies = [reopened(encoded(picture, "JPEG", quality=50)) for picture in pictures[:20]]
    groups = grouped(stacked([*pictures, *copies]))
    assert np.array_equal(groups[100:], groups[:20])
    assert len(set(groups[:100])) == 100


@pytest.mark.parametrize("kind", FRAMES)
def test_what_the_hash_alone_calls_copies_stays_together(kind):
    images = torch.cat(FRAMES[kind](tiles()))
    by_hash, groups = grouped(images, moved=False), grouped(images)
    assert len(set(by_hash)) > len(set(groups))
    for group in set(by_hash):
        assert len(set(groups[by_hash == group])) == 1


def test_digits_are_not_laid_onto_each_other_at_any_size():
    count = 256
    digits = torch.from_numpy((load_digits().images[:count] * 15).astype(np.uint8))[:, None]
    assert len(set(grouped(digits))) == count
    for side in (16, 32):
        images = F.interpolate(digits.float(), (side, side), mode="bicubic").clamp(0, 255).round().byte()
        first, second = aligned_pairs(gray(F.interpolate(images.float(), (32, 32), mode="bilinear")))
        assert len({*first.tolist(), *second.tolist()}) <= 0.005 * count


def bars(number: int) -> np.ndarray:
    """A logo: one of a few shapes in one color on white, somewhere else a little."""
    picture = np.full((64, 64, 3), 255, dtype=np.uint8)
    top, left = 18 + number % 5, 16 + number // 5 % 5
    picture[top : top + 26, left : left + 30] = (200, 30, 30)
    picture[top + 8 : top + 18, left + 8 + number % 3 : left + 22] = 255
    return picture


def test_what_shows_little_is_no_copy():
    blank = [np.full((64, 64, 3), 10 * number, dtype=np.uint8) for number in range(20)]
    slopes = [np.asarray(Image.linear_gradient("L").resize((64, 64)).rotate(9 * k).convert("RGB")) for k in range(20)]
    logos = [bars(number) for number in range(50)]
    first, second = aligned_pairs(gray(small(stacked([*blank, *slopes, *logos]))))
    assert (len(first), len(second)) == (0, 0)


def form(number: int) -> np.ndarray:
    """One form, filled in by another person each."""
    generator = np.random.default_rng(number)
    picture = Image.new("RGB", (256, 256), (250, 250, 250))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((16, 12, 240, 36), outline=0, width=2)
    for line, name in enumerate(("Name", "Street", "City", "Date", "Phone", "Sum", "Code", "Sign")):
        draw.line((16, 68 + 24 * line, 240, 68 + 24 * line), fill=(60, 60, 60))
        draw.text((16, 52 + 24 * line), name, fill=0)
        letters = generator.integers(65, 91, generator.integers(4, 20))
        draw.text((80, 52 + 24 * line), "".join(map(chr, letters)), fill=(20, 20, 20))
    return np.asarray(picture.resize((64, 64), Image.Resampling.BICUBIC))


def test_filled_in_forms_are_alike_and_no_copies_of_each_other():
    forms = stacked([form(number) for number in range(40)])
    assert len(aligned_pairs(gray(small(forms[:2])))[0]) == 1  # two by themselves agree on as much as copies do
    assert len(aligned_pairs(gray(small(forms)))[0]) == 0


def test_noise_agrees_with_nothing():
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (500, 3, 32, 32), dtype=np.uint8))
    assert len(aligned_pairs(gray(noise))[0]) == 0


def test_of_more_images_than_are_compared_so_none_is(monkeypatch):
    ones, twos = FRAMES["zoomed by 5 %"](tiles())
    pictures = gray(torch.cat([ones, twos]))
    monkeypatch.setattr(alignment, "MOST_IMAGES", 2 * COUNT - 1)
    assert len(aligned_pairs(pictures)[0]) == 0
    monkeypatch.setattr(alignment, "MOST_IMAGES", 2 * COUNT)
    assert len(aligned_pairs(pictures)[0]) > 0


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_have_no_pairs(count):
    first, second = aligned_pairs(torch.zeros(count, 32, 32))
    assert (first.shape, second.shape) == ((0,), (0,))
