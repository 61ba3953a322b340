"""Which implementation makes which part of a view, and that no part is done twice."""

import math

import pytest
import torch
from torch import Tensor

from semisup.config import AugmentConfig
from semisup.data.augmentation.augment import augment
from semisup.data.augmentation.randaugment import randaugment, weak
from semisup.training.batches import View, augmented

GRAY = 127


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(7))


IMAGES = noise(24, 3, 10, 12)
NOTHING = {"rotation": 0.0, "shift": 0.0, "scale": 0.0, "shear": 0.0, "horizontal_flip": False, "cutout": 0.0}


def view(images: Tensor = IMAGES, **keys) -> Tensor:
    return augmented(images, AugmentConfig(**keys), generator())


def test_a_config_that_asks_for_nothing_gives_the_images_and_draws_nothing():
    rng = generator()
    before = rng.get_state()
    out = augmented(IMAGES, AugmentConfig(), rng)
    assert out.dtype == torch.float32
    assert torch.equal(out, IMAGES.float())
    assert torch.equal(rng.get_state(), before)


def test_a_plain_config_is_the_interpolating_augmentation_with_all_its_amounts():
    keys = {"rotation": 9, "shift": 0.1, "scale": 0.2, "shear": 0.1, "horizontal_flip": True, "cutout": 0.3}
    keys |= {"elastic": 0.7, "paste": 0.4}
    assert torch.equal(view(**keys), augment(IMAGES, **keys, generator=generator()))


@pytest.mark.parametrize("flip", [True, False])
def test_a_reflected_shift_is_the_weak_view_of_bytes_whose_flip_is_not_done_again(flip):
    expected = weak(IMAGES, shift=0.2, horizontal_flip=flip, generator=generator()).float()
    assert torch.equal(view(reflect=True, shift=0.2, horizontal_flip=flip), expected)


def test_a_reflected_shift_brings_in_no_zeros_and_another_one_does():
    bright = torch.full((50, 1, 10, 10), 200, dtype=torch.uint8)
    assert (view(bright, reflect=True, shift=0.4) == 200).all()
    assert (view(bright, shift=0.4) < 1).any()


def test_randaugment_gets_its_operations_magnitude_and_a_gray_hole():
    keys = {"magnitude": 0.6, "cutout": 0.4}
    expected = randaugment(IMAGES, operations=3, generator=generator(), **keys).float()
    assert torch.equal(view(randaugment=3, **keys), expected)


@pytest.mark.parametrize(("keys", "hole"), [({"randaugment": 1, "magnitude": 0.0}, GRAY), ({}, 0)])
def test_there_is_one_hole_gray_behind_randaugment_and_black_without(keys, hole):
    # Geometric operations of no magnitude, and every other one, leave an image of one color of one color.
    flat = torch.full((400, 1, 20, 20), 60, dtype=torch.uint8)
    out = view(flat, cutout=0.25, **keys)[:, 0].flatten(1)
    background = out.mode(dim=1).values
    holed = out[(background - hole).abs() > 2]
    background = holed.mode(dim=1).values[:, None]
    assert ((holed == background) | ((holed - hole).abs() <= 1)).all()
    sizes = (holed != background).sum(dim=1)
    assert sizes.max() == 5 * 5  # of two holes some image would have more
    assert (sizes > 0).all()


def test_all_at_once_are_the_weak_view_then_randaugment_then_what_interpolates():
    rng = generator()
    expected = weak(IMAGES, shift=0.2, horizontal_flip=True, generator=rng)
    expected = randaugment(expected, operations=2, magnitude=1.0, cutout=0.5, generator=rng)
    moves = NOTHING | {"rotation": 5.0, "elastic": 0.5, "paste": 0.3}
    expected = augment(expected, **moves, generator=rng)
    keys = {"reflect": True, "shift": 0.2, "horizontal_flip": True, "randaugment": 2, "cutout": 0.5}
    assert torch.equal(view(**keys, rotation=5.0, elastic=0.5, paste=0.3), expected)


def test_half_of_the_images_are_mirrored_however_they_are_shifted():
    ramp = torch.arange(8, dtype=torch.uint8).mul(30).view(1, 1, 1, 8).expand(1000, 1, 4, 8)
    for keys in ({}, {"reflect": True}):
        out = view(ramp, horizontal_flip=True, **keys)
        mirrored = int((out[:, 0, 0, 0] > out[:, 0, 0, 7]).sum())
        assert abs(mirrored - 500) < 5 * math.sqrt(1000 / 4)


@pytest.mark.parametrize(
    "keys",
    [
        {"elastic": 0.5},
        {"paste": 0.5},
        {"reflect": True, "shift": 0.2},
        {"reflect": True, "horizontal_flip": True},
        {"randaugment": 1},
        {"randaugment": 2, "magnitude": 0.5},
        {"cutout": 0.3},
    ],
    ids="+".join,
)
def test_each_key_reaches_the_view_and_a_restored_view_goes_on_with_the_same_draws(keys):
    ours, again = (View(IMAGES, AugmentConfig(**keys), seed=1, purpose="teacher") for _ in range(2))
    indices = torch.arange(24)
    assert not torch.equal(ours(indices), IMAGES.float())
    again.restore(ours.state())
    assert torch.equal(ours(indices), again(indices))
    other = View(IMAGES, AugmentConfig(**keys), seed=1, purpose="unlabeled")
    assert not torch.equal(View(IMAGES, AugmentConfig(**keys), seed=1, purpose="teacher")(indices), other(indices))
