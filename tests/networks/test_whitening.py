"""Whitening: what pooled_cnn's first filters put out is uncorrelated and equally wide, and they stay as they are."""

import numpy as np
import pytest
import torch

from semisup.config import ModelConfig
from semisup.config.files import validate
from semisup.data.facts import DatasetFacts
from semisup.errors import UserError
from semisup.networks.families.own import whitening_filters
from semisup.pipeline.log import Silence
from semisup.stages import baseline
from semisup.stages.split import MOST_PATCHES, patch_covariance
from semisup.stages.support.models.configured import fresh_model
from semisup.stages.support.models.saved import load_model
from semisup.system.randomness import numpy_generator
from tests.variants import changed


def smooth_images(count: int, channels: int, side: int = 9) -> torch.Tensor:
    """uint8 images whose neighbors are alike, as in photographs."""
    noise = numpy_generator(0, "whitening").normal(size=(count, channels, side, side)).cumsum(axis=2).cumsum(axis=3)
    return torch.from_numpy(np.clip(128 + 20 * noise, 0, 255).astype(np.uint8))


def patches_of(images: torch.Tensor, mean: list[float], std: list[float]) -> np.ndarray:
    """Every 2×2 patch (n, 4C), one after the other."""
    pixels = (images.numpy() / 255 - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
    height, width = pixels.shape[2:]
    return np.stack(
        [
            image[:, y : y + 2, x : x + 2].ravel()
            for image in pixels
            for y in range(height - 1)
            for x in range(width - 1)
        ]
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_the_covariance_of_patches_is_that_of_numpy(channels):
    images, mean, std = smooth_images(7, channels), [0.4] * channels, [0.25] * channels
    chosen = torch.tensor([5, 0, 3])
    expected = np.cov(patches_of(images[[0, 3, 5]], mean, std), rowvar=False, bias=True)
    np.testing.assert_allclose(patch_covariance(images, chosen, mean, std), expected, atol=1e-9)


def test_the_covariance_has_the_same_bits_whatever_threads_add_up_and_in_whatever_order(one_thread):
    images, everyone, mean, std = smooth_images(400, 3), torch.arange(400), [0.4137, 0.5231, 0.6073], [0.2, 0.25, 0.3]
    alone = patch_covariance(images, everyone, mean, std)
    assert patch_covariance(images.flip(0), everyone, mean, std) == alone
    torch.set_num_threads(2)
    assert patch_covariance(images, everyone, mean, std) == alone


def test_of_many_images_some_are_looked_at_from_the_first_to_the_last():
    images = torch.zeros(2 * MOST_PATCHES - 1, 1, 2, 2, dtype=torch.uint8)
    images[::2] = torch.tensor([[[[0, 255], [0, 0]]]], dtype=torch.uint8)  # these are the ones looked at: all equal
    assert np.abs(patch_covariance(images, torch.arange(len(images)), [0.0], [1.0])).max() < 1e-12


def test_images_without_a_patch_and_without_contrast_have_a_covariance_too():
    dot = torch.zeros(3, 1, 1, 1, dtype=torch.uint8)
    assert np.array_equal(patch_covariance(dot, torch.arange(3), [0.0], [1.0]), np.eye(4))
    flat = torch.full((3, 1, 4, 4), 51, dtype=torch.uint8)
    np.testing.assert_allclose(patch_covariance(flat, torch.arange(3), [0.2], [0.0]), np.zeros((4, 4)), atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_filters_make_patches_uncorrelated_and_as_wide_as_the_floor_lets_them(channels):
    """Along eigenvector k with eigenvalue λ the variance becomes λ / (λ + floor)."""
    images, mean, std, floor = smooth_images(40, channels), [0.4] * channels, [0.25] * channels, 0.01
    covariance = torch.tensor(patch_covariance(images, torch.arange(40), mean, std))
    filters = whitening_filters(covariance, floor)
    assert filters.shape == (8 * channels, channels, 2, 2)
    assert torch.equal(filters[: 4 * channels], -filters[4 * channels :])
    responses = patches_of(images, mean, std) @ filters[: 4 * channels].flatten(1).double().numpy().T
    widths = np.linalg.eigvalsh(covariance.numpy())[::-1]
    np.testing.assert_allclose(
        np.cov(responses, rowvar=False, bias=True), np.diag(widths / (widths + floor)), atol=1e-4
    )


def test_training_leaves_the_whitening_filters_as_the_data_set_makes_them(tiny_config, stage_folders, tmp_path):
    config = changed(tiny_config, model={"name": "pooled_cnn", "width": 0.1, "whiten": True})
    baseline.run(config, {"split": stage_folders["split"]}, tmp_path, Silence())
    facts, network = DatasetFacts.read(stage_folders["split"]), load_model(tmp_path)
    first = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    assert torch.equal(first.weight, whitening_filters(torch.tensor(facts.patch_covariance)))
    assert first.bias is not None
    assert first.bias.abs().max() > 0  # it is learned


def test_without_it_the_first_filters_are_learned(tiny_config, stage_folders):
    facts = DatasetFacts.read(stage_folders["split"])
    plain, whitened = (
        fresh_model(changed(tiny_config, model={"name": "pooled_cnn", "whiten": whiten}), facts, "baseline")
        for whiten in (False, True)
    )
    frozen = [[name for name, value in net.named_parameters() if not value.requires_grad] for net in (plain, whitened)]
    assert frozen == [[], ["backbone.0.weight"]]


def test_another_network_that_shall_whiten_is_a_mistake():
    with pytest.raises(UserError, match=r"model\.whiten=True.*'small_cnn'.*pooled_cnn|whiten=true.*pooled_cnn"):
        validate({"model": {"whiten": True}}, source="test")
    assert ModelConfig(name="pooled_cnn", whiten=True).whiten
