"""A frozen network with a probe is a classifier like any other."""

import pytest
import torch
from torch import Tensor

from semisup.frozen.embedding import fit_embedding
from semisup.frozen.network import EmbeddedProbe, ProbedClassifier
from semisup.frozen.probe import Probe
from semisup.networks.classifier import Classifier
from semisup.networks.models import build_model


def pixels(count: int = 6) -> Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network() -> Classifier:
    return build_model("small_cnn", (3, 32, 32), 4, mean=[0.5] * 3, std=[0.5] * 3, seed=0).eval()


@pytest.fixture(params=[False, True], ids=["plain", "mirror"])
def mirror(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def probed(*, mirror: bool) -> ProbedClassifier:
    return ProbedClassifier.upon(network(), EmbeddedProbe(1024, 3, 4), mirror=mirror).eval()


def test_features_are_those_below_the_old_last_layer_or_their_mean_with_the_mirror_images(mirror):
    images, plain = pixels(), network()
    with torch.inference_mode():
        expected = plain.features(images)
        if mirror:
            expected = (expected + plain.features(images.flip(3))) / 2
        torch.testing.assert_close(probed(mirror=mirror).features(images), expected)


def test_logits_are_the_probe_of_the_embedding_of_the_features(mirror):
    images, model = pixels(), probed(mirror=mirror)
    with torch.inference_mode():
        features = model.features(images)
        embedding = fit_embedding(features.clone(), 3)
        probe = Probe(torch.randn(4, 3), torch.randn(4))
        model.probe = EmbeddedProbe.of(embedding, probe)
        torch.testing.assert_close(model(images), probe(embedding(features)))
        assert torch.equal(model.head(features), model(images))


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
