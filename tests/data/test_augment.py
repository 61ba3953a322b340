"""Augmentation against scipy's resampling, against exact moves of pixels, and against what it promises of its draws."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from semisup.data.augmentation.augment import (
    KNOTS,
    PARAMETERS_PER_IMAGE,
    affine_matrices,
    affine_sample,
    augment,
    cut_holes,
    displacements,
    paste_boxes,
)

NOTHING = {"rotation": 0.0, "shift": 0.0, "scale": 0.0, "shear": 0.0, "horizontal_flip": False, "cutout": 0.0}
EVERYTHING = {"rotation": 15.0, "shift": 0.1, "scale": 0.1, "shear": 0.1, "horizontal_flip": True, "cutout": 0.25}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 7) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(seed))


def matrices(batch: int = 1, *, angle=0.0, shift_x=0.0, shift_y=0.0, zoom=1.0, shear=0.0, flip=False) -> Tensor:
    numbers = {"angle": angle, "shift_x": shift_x, "shift_y": shift_y, "zoom": zoom, "shear": shear}
    return affine_matrices(**{k: torch.full((batch,), v) for k, v in numbers.items()}, flip=torch.full((batch,), flip))


def shifted_with_zeros(images: Tensor, right: int, down: int) -> Tensor:
    moved = torch.roll(images, (down, right), dims=(2, 3))
    height, width = images.shape[-2:]
    from_column, from_row = torch.arange(width) - right, torch.arange(height) - down
    inside = ((from_row >= 0) & (from_row < height))[:, None] & ((from_column >= 0) & (from_column < width))
    return moved * inside


def test_all_amounts_zero_leave_the_images_bit_for_bit_and_draw_nothing():
    images, rng = noise(3, 2, 5, 8), generator()
    before = rng.get_state()
    out = augment(images, **NOTHING, generator=rng)
    assert out.dtype == torch.float32
    assert torch.equal(out, images.float())
    assert torch.equal(rng.get_state(), before)


@pytest.mark.parametrize(("right", "down"), [(0, 0), (3, 0), (0, -2), (-4, 5), (20, 0)])
def test_a_shift_by_whole_pixels_moves_them_and_fills_with_zeros(right, down):
    images = noise(2, 3, 9, 14).float()
    out = affine_sample(images, matrices(2, shift_x=right, shift_y=down))
    torch.testing.assert_close(out, shifted_with_zeros(images, right, down), atol=2e-3, rtol=0)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("side", [6, 7])
def test_a_quarter_turn_of_a_square_image_is_rot90(quarters, side):
    images = noise(2, 1, side, side).float()
    out = affine_sample(images, matrices(2, angle=quarters * math.pi / 2))
    # rot90 counts anticlockwise on the screen, the matrices clockwise.
    torch.testing.assert_close(out, torch.rot90(images, -quarters, dims=(2, 3)), atol=2e-3, rtol=0)


def test_a_quarter_turn_of_an_oblong_image_keeps_its_square_middle_undistorted():
    images = noise(1, 1, 6, 12).float()
    out = affine_sample(images, matrices(angle=math.pi / 2))
    middle = slice(3, 9)
    expected = torch.rot90(images[..., middle], -1, dims=(2, 3))
    torch.testing.assert_close(out[..., middle], expected, atol=2e-3, rtol=0)
    assert out[..., :3].abs().max() < 2e-3
    assert out[..., 9:].abs().max() < 2e-3


def test_a_flip_mirrors_left_and_right():
    images = noise(2, 3, 5, 8).float()
    torch.testing.assert_close(affine_sample(images, matrices(2, flip=True)), images.flip(-1), atol=2e-3, rtol=0)


def test_a_zoom_of_two_doubles_the_distance_of_a_pixel_from_the_center():
    images = torch.zeros(1, 1, 9, 9)
    images[0, 0, 4 + 1, 4 - 2] = 100.0
    out = affine_sample(images, matrices(zoom=2.0))
    assert out[0, 0, 4 + 2, 4 - 4].item() == pytest.approx(100.0, abs=1e-3)


def test_a_shear_moves_pixels_sideways_in_proportion_to_their_height():
    images = torch.zeros(1, 1, 7, 13)
    images[0, 0, :, 6] = 100.0
    out = affine_sample(images, matrices(shear=1.0))
    expected = torch.zeros(7, 13)
    expected[torch.arange(7), torch.arange(7) + 3] = 100.0
    torch.testing.assert_close(out[0, 0], expected, atol=2e-3, rtol=0)


AMOUNT = st.floats(-1, 1, allow_nan=False, width=32)


@settings(max_examples=60, deadline=None)
@given(
    angle=AMOUNT, right=AMOUNT, down=AMOUNT, log_zoom=AMOUNT, shear=AMOUNT, flip=st.booleans(), seed=st.integers(0, 99)
)
def test_any_map_agrees_with_scipy_resampling_the_forward_map_turned_around(
    *, angle, right, down, log_zoom, shear, flip, seed
):
    height, width = 11, 17
    images = noise(1, 1, height, width, seed=seed).float()
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    forward = turn @ np.array([[1, shear], [0, 1]]) @ (math.exp(log_zoom) * np.diag([-1.0 if flip else 1.0, 1.0]))
    back = np.linalg.inv(forward)[::-1, ::-1]  # scipy counts rows before columns
    center, offset = np.array([(height - 1) / 2, (width - 1) / 2]), np.array([4 * down, 4 * right])
    expected = ndimage.affine_transform(
        images[0, 0].numpy().astype(np.float64), back, center - back @ (center + offset), order=1, mode="grid-constant"
    )
    maps = matrices(angle=angle, shift_x=4 * right, shift_y=4 * down, zoom=math.exp(log_zoom), shear=shear, flip=flip)
    # A slope of up to 255 gray levels per pixel, and coordinates that float32 keeps to a few 1e-6 pixels.
    np.testing.assert_allclose(affine_sample(images, maps)[0, 0].numpy(), expected, atol=2e-2)


def test_images_of_one_batch_get_different_parameters():
    same = noise(1, 1, 12, 12).expand(16, -1, -1, -1)
    out = augment(same, **EVERYTHING, generator=generator())
    assert len({image.numpy().tobytes() for image in out}) == 16


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    images = noise(8, 3, 10, 10)
    first, second, other = (augment(images, **EVERYTHING, generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_what_becomes_of_an_image_does_not_depend_on_the_other_images():
    images, others = noise(8, 3, 10, 10), noise(8, 3, 10, 10, seed=8)
    others[5] = images[5]
    out, out_of_others = (augment(batch, **EVERYTHING, generator=generator(3)) for batch in (images, others))
    assert torch.equal(out[5], out_of_others[5])


def test_the_draws_of_one_amount_do_not_depend_on_the_other_amounts():
    images = torch.full((64, 1, 16, 16), 255, dtype=torch.uint8)
    alone = augment(images, **{**NOTHING, "cutout": 0.5}, generator=generator())
    flipped_too = augment(images, **{**NOTHING, "cutout": 0.5, "horizontal_flip": True}, generator=generator())
    assert torch.equal(alone == 0, flipped_too < 1)


def test_the_images_handed_in_are_left_alone():
    images = noise(4, 1, 9, 9)
    before = images.clone()
    augment(images, **EVERYTHING, generator=generator())
    assert torch.equal(images, before)


def test_half_of_the_images_are_flipped_when_asked_and_none_otherwise():
    ramp = torch.arange(8, dtype=torch.uint8).mul(30).view(1, 1, 1, 8).expand(2000, 1, 4, 8)
    asked = augment(ramp, **{**NOTHING, "horizontal_flip": True}, generator=generator())
    flipped = asked[:, 0, 0, 0] > asked[:, 0, 0, 7]
    assert abs(int(flipped.sum()) - 1000) < 5 * math.sqrt(2000 / 4)
    torch.testing.assert_close(asked[flipped], ramp[flipped].float().flip(-1), atol=2e-3, rtol=0)
    not_asked = augment(ramp, **{**NOTHING, "scale": 0.01}, generator=generator())
    assert (not_asked[:, 0, 0, 0] < not_asked[:, 0, 0, 6]).all()


def test_drawn_shifts_fill_their_range_on_each_axis_and_do_not_leave_it():
    images = torch.zeros(2000, 1, 21, 41, dtype=torch.uint8)
    images[:, :, 10, 20] = 255
    out = augment(images, **{**NOTHING, "shift": 0.2}, generator=generator())[:, 0] / 255
    # The center of mass of a shifted point is the shift itself, since bilinear weights are linear in it.
    right = (out.sum(dim=1) * (torch.arange(41) - 20)).sum(dim=1)
    down = (out.sum(dim=2) * (torch.arange(21) - 10)).sum(dim=1)
    for shifts, bound in ((right, 0.2 * 41), (down, 0.2 * 21)):
        assert shifts.abs().max() <= bound + 1e-3
        assert shifts.max() > 0.98 * bound
        assert shifts.min() < -0.98 * bound
        # Uniform on ±bound has standard deviation bound / √3.
        assert abs(shifts.mean()) < 5 * bound / math.sqrt(3 * 2000)
        assert shifts.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize("side", [1, 4, 5])
def test_a_hole_inside_the_image_is_side_by_side_pixels_in_every_channel(side):
    out = cut_holes(torch.ones(1, 3, 12, 15), torch.tensor([[7, 6]]), side)
    holes = out == 0
    assert holes.sum(dim=(2, 3)).tolist() == [[side * side] * 3]
    assert holes[0, :, 6, 7].all()


def test_a_hole_at_the_corner_is_cut_off_by_the_edge():
    out = cut_holes(torch.ones(1, 1, 10, 10), torch.tensor([[0, 9]]), 5)
    expected = torch.ones(10, 10)
    expected[7:, :3] = 0
    assert torch.equal(out[0, 0], expected)


def test_drawn_holes_have_the_asked_side_and_are_centred_on_every_pixel_alike():
    images = torch.full((4000, 1, 8, 12), 200, dtype=torch.uint8)
    out = augment(images, **{**NOTHING, "cutout": 1 / 8}, generator=generator())
    holes = (out == 0).squeeze(1)
    assert (holes.sum(dim=(1, 2)) == 1).all()  # 1/8 of the shorter side is one pixel
    expected = 4000 / 96
    assert (holes.sum(dim=0) - expected).abs().max() < 5 * math.sqrt(expected)


# --- elastic ----------------------------------------------------------------------------------------------------------


def test_without_elastic_and_paste_nothing_but_one_row_of_numbers_for_each_image_is_drawn():
    """As before there was elastic and paste: trainings without them keep their bits."""
    ours, expected = generator(), generator()
    augment(noise(5, 1, 9, 9), **EVERYTHING, elastic=0.0, paste=0.0, generator=ours)
    torch.rand(5, PARAMETERS_PER_IMAGE, generator=expected)
    assert torch.equal(ours.get_state(), expected.get_state())


def knots_of(batch: int, seed: int = 3) -> Tensor:
    return torch.randn(batch, 2, KNOTS, KNOTS, generator=generator(seed))


@pytest.mark.parametrize(("height", "width"), [(11, 16), (6, 26), (31, 11)])
def test_a_displacement_at_a_knot_is_the_knots_own_value_and_the_corners_are_knots(height, width):
    knots = knots_of(2)
    field = displacements(knots, height, width)
    assert field.shape == (2, 2, height, width)
    at_knots = field[:, :, :: (height - 1) // (KNOTS - 1), :: (width - 1) // (KNOTS - 1)]
    torch.testing.assert_close(at_knots, knots, atol=1e-5, rtol=0)


def test_displacements_are_linear_in_the_knots():
    first, second = knots_of(2, seed=3), knots_of(2, seed=4)
    sums = displacements(2 * first - 0.7 * second, 13, 9)
    torch.testing.assert_close(sums, 2 * displacements(first, 13, 9) - 0.7 * displacements(second, 13, 9))
    equal = torch.full((1, 2, KNOTS, KNOTS), 1.5)
    torch.testing.assert_close(displacements(equal, 13, 9), torch.full((1, 2, 13, 9), 1.5))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (13, 40)])
def test_displacements_between_knots_are_the_bicubic_interpolation_of_torch(height, width):
    knots = knots_of(3)
    expected = F.interpolate(knots, (height, width), mode="bicubic", align_corners=True)
    torch.testing.assert_close(displacements(knots, height, width), expected, atol=1e-5, rtol=1e-5)


def test_a_bend_says_how_far_to_the_right_and_down_each_pixel_looks():
    images = noise(1, 1, 7, 9).float()
    bend = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 7, 9)
    out = affine_sample(images, matrices(), bend)
    torch.testing.assert_close(out, shifted_with_zeros(images, -2, 1), atol=2e-3, rtol=0)


def bends(axis: int, elastic: float, **amounts) -> Tensor:
    """Displacements along x (axis 3) or y (axis 2) in pixels at the 4×4 inner knots of 2,000 images of 16×16."""
    ramp = torch.arange(16, dtype=torch.uint8) * 10
    images = (ramp.view(1, 1, 1, 16) if axis == 3 else ramp.view(1, 1, 16, 1)).expand(2000, 1, 16, 16)
    out = augment(images, **{**NOTHING, **amounts}, elastic=elastic, generator=generator())
    # A ramp rises by 10 a pixel, so that what it holds tells where it was looked up; knots are three pixels apart.
    return ((out - images) / 10)[:, 0, 3:13:3, 3:13:3]


@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("elastic", [0.2, 0.5])
def test_drawn_displacements_at_the_knots_have_mean_zero_and_the_asked_deviation_and_are_independent(axis, elastic):
    drawn = bends(axis, elastic).flatten(1)
    assert drawn.mean().abs() < 5 * elastic / math.sqrt(drawn.numel())
    assert drawn.std().item() == pytest.approx(elastic, rel=0.03)
    correlations = torch.corrcoef(drawn.T) - torch.eye(16)
    assert correlations.abs().max() < 5 / math.sqrt(2000)


def test_twice_the_elastic_amount_displaces_twice_as_far_from_the_same_draws():
    torch.testing.assert_close(bends(3, 0.4), 2 * bends(3, 0.2), atol=1e-3, rtol=1e-3)


# --- paste ------------------------------------------------------------------------------------------------------------


def test_inside_its_box_an_image_gets_the_brighter_pixel_and_outside_it_stays_as_it_is():
    images, others = noise(4, 3, 9, 12).float(), noise(4, 3, 9, 12, seed=8).float()
    corners = torch.tensor([[2, 3], [-2, -1], [10, 7], [4, 4]])
    sides = torch.tensor([[4, 5], [5, 3], [9, 9], [0, 0]])
    out = paste_boxes(images, others, corners, sides)
    for index, ((left, top), (width, height)) in enumerate(zip(corners.tolist(), sides.tolist(), strict=True)):
        for row in range(9):
            for column in range(12):
                inside = left <= column < left + width and top <= row < top + height
                mine, other = images[index, :, row, column], others[index, :, row, column]
                assert torch.equal(out[index, :, row, column], torch.maximum(mine, other) if inside else mine)


def pasted(images: Tensor, share: float, seed: int = 0, **amounts) -> Tensor:
    return augment(images, **{**NOTHING, **amounts}, paste=share, generator=generator(seed))


def test_a_paste_never_darkens_and_each_change_comes_from_one_other_image_in_a_box_within_the_asked_side():
    images, largest = noise(60, 2, 14, 20), round(0.5 * 14)
    out = pasted(images, 0.5)
    assert (out >= images).all()
    changed = 0
    for image, result in zip(images.float(), out, strict=True):
        rows, columns = (torch.nonzero((image != result).any(dim=0).any(dim=axis)).flatten() for axis in (1, 0))
        if not len(rows):
            continue
        changed += 1
        box = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        assert max(len(range(*part.indices(20))) for part in box[1:]) <= largest
        assert any(torch.equal(result[box], torch.maximum(image, other)[box]) for other in images.float())
    assert changed > 10


def test_about_half_of_the_images_are_changed():
    images = noise(2000, 1, 16, 16)
    changed = (pasted(images, 1.0) != images).any(dim=3).any(dim=2).sum()
    # One in two gets a box; its sides are uniform up to 16, rounded, so that one in 32 on either axis is none at all,
    # and few are so small that nothing in them is brighter.
    assert changed < 1000 + 5 * math.sqrt(2000 / 4)
    assert changed > 1000 * (31 / 32) ** 2 * 0.95 - 5 * math.sqrt(2000 / 4)


def test_a_paste_of_no_size_changes_nothing():
    images = noise(20, 1, 10, 10)
    assert torch.equal(pasted(images, 0.04), images.float())  # rounds to no pixel
    alone = noise(1, 1, 10, 10)
    assert torch.equal(pasted(alone, 1.0), alone.float())  # an image has nobody but itself to paste from


@pytest.mark.parametrize("other", [{"elastic": 1.0}, {"paste": 0.5}, {"elastic": 1.0, "paste": 0.5}])
def test_elastic_and_paste_leave_the_draws_of_all_other_amounts_as_they_were(other):
    images = torch.full((64, 1, 16, 16), 255, dtype=torch.uint8)
    holes = augment(images, **{**NOTHING, "cutout": 0.5}, generator=generator())[:, :, 4:12, 4:12]
    with_others = augment(images, **{**NOTHING, "cutout": 0.5}, **other, generator=generator())[:, :, 4:12, 4:12]
    assert torch.equal(holes == 0, with_others < 1)  # in the middle, where no bend reaches the zeros outside
    points = torch.zeros(64, 1, 21, 21, dtype=torch.uint8)
    points[:, :, 10, 10] = 255
    shifted, bent = (
        augment(points, **{**NOTHING, "shift": 0.2}, **amounts, generator=generator()).flatten(1).argmax(dim=1)
        for amounts in ({}, {"elastic": 1e-4})
    )
    assert torch.equal(shifted, bent)


def test_the_boxes_do_not_depend_on_the_other_amounts_nor_on_how_far_elastic_bends():
    images = noise(64, 1, 16, 16)
    boxes = pasted(images, 0.5) != images
    flat = torch.full((64, 1, 16, 16), 100, dtype=torch.uint8)
    flat[torch.arange(64) % 2 == 0] = 200
    for moved in ({"rotation": 1e-6}, {"cutout": 1e-6}):
        assert torch.equal((pasted(images, 0.5, **moved) - images).abs() > 0.5, boxes)
    slight, less = (pasted(flat, 0.5, elastic=amount) for amount in (1e-5, 2e-5))
    torch.testing.assert_close(slight, less, atol=0.1, rtol=0)


def test_everything_at_once_gives_the_same_bits_for_the_same_seed_and_leaves_the_images():
    images = noise(8, 3, 10, 10)
    before = images.clone()
    first, second, other = (
        augment(images, **EVERYTHING, elastic=1.0, paste=0.5, generator=generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)


# --- on a GPU ---------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_what_the_cpu_gives_from_the_same_generator():
    images = noise(16, 3, 10, 14)
    everything = EVERYTHING | {"elastic": 1.0, "paste": 0.5}
    on_gpu = augment(images.cuda(), **everything, generator=generator()).cpu()
    torch.testing.assert_close(on_gpu, augment(images, **everything, generator=generator()), atol=2e-2, rtol=0)
