"""A frozen network with a probe is a classifier like any other."""

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

from semisup.frozen.embedding import fit_embedding
from semisup.frozen.looks import Looks
from semisup.frozen.network import EmbeddedProbe, ProbedClassifier
from semisup.frozen.probe import Probe
from semisup.networks.classifier import Classifier
from semisup.networks.models import build_model


def pixels(count: int = 6) -> Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def shrunk_by_pillow(images: Tensor, side: int) -> Tensor:
    pictures = [
        Image.fromarray(image.permute(1, 2, 0).numpy()).resize((side, side), Resampling.BILINEAR) for image in images
    ]
    return torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])


def network(side: int = 32) -> Classifier:
    return build_model("small_cnn", (3, side, side), 4, mean=[0.5] * 3, std=[0.5] * 3, seed=0).eval()


@pytest.fixture(params=[False, True], ids=["plain", "mirror"])
def mirror(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def probed(*, mirror: bool) -> ProbedClassifier:
    return ProbedClassifier.upon(network(), EmbeddedProbe(1024, 3, 4), looks=Looks(mirror)).eval()


def test_features_are_those_below_the_old_last_layer_or_their_mean_with_the_mirror_images(mirror):
    images, plain = pixels(), network()
    with torch.inference_mode():
        expected = plain.features(images)
        if mirror:
            expected = (expected + plain.features(images.flip(3))) / 2
        torch.testing.assert_close(probed(mirror=mirror).features(images), expected)


def test_with_a_center_crop_features_are_the_mean_of_all_of_the_image_and_of_its_center_mirrored_or_not(mirror):
    images, plain = pixels(), network(16)
    probe = EmbeddedProbe(plain.features(images[:, :, :16, :16]).shape[1], 3, 4)
    model = ProbedClassifier.upon(network(16), probe, looks=Looks(mirror, 16)).eval()
    whole, center = shrunk_by_pillow(images, 16), images[:, :, 8:24, 8:24]
    with torch.inference_mode():
        expected = (plain.features(whole) + plain.features(center.flip(3) if mirror else center)) / 2
        torch.testing.assert_close(model.features(images), expected, atol=0.02, rtol=0)  # pixels are rounded otherwise
        for other in (whole, center.flip(3) if not mirror else center):
            unlike = (plain.features(whole) + plain.features(other)) / 2
            assert (expected - unlike).abs().max() > 0.04  # twice what pixels that are rounded otherwise may make


@pytest.mark.parametrize(("image_shape", "view"), [((3, 288, 288), (3, 224, 224)), ((1, 40, 60), (1, 32, 48))])
def test_views_have_the_shorter_side_that_is_asked_for_and_show_the_middle_pixel_for_pixel(image_shape, view, mirror):
    _, height, width = image_shape
    looks, images = Looks(mirror, min(view[1:])), torch.arange(height * width).remainder(251).to(torch.uint8)
    images = images.reshape(1, 1, height, width).expand(2, *image_shape)
    whole, center = looks(images)
    assert looks.shape(image_shape) == view
    assert whole.shape == center.shape == (2, *view)
    assert whole.dtype == center.dtype == torch.uint8
    top, left = (height - view[1]) // 2, (width - view[2]) // 2
    middle = images[:, :, top : top + view[1], left : left + view[2]]
    assert torch.equal(center, middle.flip(3) if mirror else middle)
    assert len(Looks(mirror)(images)) == 1 + mirror


def test_logits_are_the_probe_of_the_embedding_of_the_features(mirror):
    images, model = pixels(), probed(mirror=mirror)
    with torch.inference_mode():
        features = model.features(images)
        embedding = fit_embedding(features.clone(), 3)
        probe = Probe(torch.randn(4, 3), torch.randn(4))
        model.probe = EmbeddedProbe.of(embedding, probe)
        torch.testing.assert_close(model(images), probe(embedding(features)))
        assert torch.equal(model.head(features), model(images))


def test_the_width_that_the_last_layer_says_is_that_of_the_features():
    for model in (network(), probed(mirror=True)):
        with torch.inference_mode():
            assert model.features(pixels(1)).shape == (1, model.width)


def test_only_the_probes_weights_are_named_after_it_and_the_old_last_layer_is_gone():
    model = probed(mirror=False)
    names = {name for name in model.state_dict() if name.startswith(model.head_prefix)}
    assert names == {"probe.mean", "probe.components", "probe.linear.weight", "probe.linear.bias"}
    last = {name for name in network().state_dict() if name.startswith(network().head_prefix)}
    assert last
    assert not last & set(model.state_dict())


def test_training_moves_no_batch_norm_of_the_frozen_network():
    model = probed(mirror=False).train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    model(pixels())
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_lower_precision_changes_features_a_little_and_the_probe_stays_float32():
    images, model = pixels(), probed(mirror=True)
    with torch.inference_mode():
        exact = model.features(images)
        model.precision = torch.bfloat16
        lower = model.features(images)
        assert lower.dtype == model(images).dtype == torch.float32
    assert torch.cosine_similarity(exact, lower).min() > 0.99
