"""Deskewing: what it leaves has no slant and its center of mass in the middle; what has neither is left alone."""

import pytest
import torch
from torch import Tensor, nn

from semisup.config import ViewsConfig
from semisup.data.augmentation.geometry import DESKEWED_AT_A_TIME, affine_sample, all_upright, deskew, upright
from semisup.data.rows import Rows
from semisup.networks.classifier import deskewed_once
from semisup.networks.models import build_model
from semisup.training.predict import predict_views


def moments(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(mean x, mean y, μ11/μ02) of each image, from the image's center, by summing over its pixels."""
    height, width = images.shape[-2:]
    mass = images.sum(dim=1).double()
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    total = mass.sum(dim=(1, 2))
    mean_x, mean_y = ((mass * axis).sum(dim=(1, 2)) / total for axis in (x, y))
    dx, dy = (x - mean_x[:, None, None], y - mean_y[:, None, None])
    return mean_x, mean_y, (mass * dx * dy).sum(dim=(1, 2)) / (mass * dy**2).sum(dim=(1, 2))


def stroke(channels: int = 1, side: int = 28) -> Tensor:
    """A soft upright bar, (1, C, side, side) on the 0..255 scale."""
    axis = torch.arange(side) - (side - 1) / 2
    bar = torch.exp(-((axis / 2) ** 2))[None, :] * torch.exp(-((axis / 5) ** 2))[:, None]
    return 255 * bar.expand(1, channels, side, side).clone()


def slanted(slope: float, shift: tuple[float, float] = (0, 0), channels: int = 1) -> Tensor:
    """The bar, its rows moved by `slope` pixels per row, and all of it shifted to the right and down."""
    matrix = torch.tensor([[[1, -slope, -shift[0] + slope * shift[1]], [0, 1, -shift[1]]]])
    return affine_sample(stroke(channels), matrix)


@pytest.mark.parametrize("slope", [-0.6, -0.2, 0.3, 0.7])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.0, -3.0)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_slanted_stroke_becomes_the_upright_one_in_the_middle(slope, shift, channels):
    image = slanted(slope, shift, channels)
    assert float(moments(image)[2]) == pytest.approx(slope, abs=0.02)
    upright = deskew(image)
    for moment in moments(upright):
        assert float(moment) == pytest.approx(0, abs=0.02)
    assert (upright - stroke(channels)).abs().mean() < 1.5  # of 255: what resampling twice blurs


def test_every_image_of_a_batch_is_sheared_by_its_own_slope():
    images = torch.cat([slanted(slope) for slope in (-0.5, 0.0, 0.5)])
    together, alone = deskew(images), torch.cat([deskew(image[None]) for image in images])
    torch.testing.assert_close(together, alone)


def test_an_upright_image_in_the_middle_stays_as_it_is():
    torch.testing.assert_close(deskew(stroke()), stroke(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("image", [torch.zeros(1, 1, 8, 8), torch.zeros(0, 1, 8, 8)])
def test_darkness_and_nothing_stay_what_they_are(image):
    assert torch.equal(deskew(image), image)


def test_brightness_in_a_single_row_is_moved_and_not_sheared():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 2, 3:6] = 200
    expected = torch.zeros(1, 1, 9, 9)
    expected[0, 0, 4, 3:6] = 200
    torch.testing.assert_close(deskew(image), expected, atol=0.01, rtol=0)


def test_bytes_and_floats_are_deskewed_alike():
    image = slanted(0.4).round()
    assert torch.equal(deskew(image.to(torch.uint8)), deskew(image))


def test_a_model_deskews_what_it_answers_for():
    plain, deskewing = models()
    for images in (slanted(0.5), slanted(0.5).round().to(torch.uint8)):
        assert torch.equal(deskewing(images), plain(upright(images)))


def test_views_of_an_image_that_was_deskewed_once_reach_the_network_as_they_are():
    plain, deskewing = models()
    view = slanted(0.5)  # as an augmentation leaves it: upright it would be another picture
    assert not torch.equal(deskewing(view), plain(view))
    with deskewed_once(deskewing) as make_upright:
        assert torch.equal(deskewing(view), plain(view))
        assert torch.equal(make_upright(view), upright(view))
    assert torch.equal(deskewing(view), plain(upright(view)))


def test_a_model_that_does_not_deskew_gets_its_views_of_the_images_themselves():
    plain, _ = models()
    with deskewed_once(plain) as make_upright:
        assert torch.equal(make_upright(slanted(0.5)), slanted(0.5))


def test_averaged_views_are_made_of_upright_images():
    plain, deskewing = models()
    images = slanted(0.5).round().to(torch.uint8)
    moved = ViewsConfig.model_validate({"views": 3, "augment": {"rotation": 10, "shear": 0.3}})
    torch.testing.assert_close(
        predict_views(deskewing, images, moved, seed=1), predict_views(plain, upright(images), moved, seed=1)
    )


def models() -> list[nn.Module]:
    """Two networks of the same weights in eval mode: one takes images as they are, the other deskews them."""
    return [
        build_model("small_cnn", (1, 28, 28), 3, mean=[0.1], std=[0.3], deskew=deskews, seed=1).eval()
        for deskews in (False, True)
    ]


@pytest.mark.parametrize("count", [0, 3, DESKEWED_AT_A_TIME + 3])
def test_many_images_are_made_upright_as_each_of_them_alone(count):
    images = torch.randint(0, 256, (count + 5, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    chosen = torch.arange(count + 5).flip(0)[:count]
    found = all_upright(Rows(images, chosen))
    assert found.shape == (count, 1, 8, 8)
    for place in {0, count // 2, count - 1} & set(range(count)):
        assert torch.equal(found[place], upright(images[chosen[place]][None])[0])
