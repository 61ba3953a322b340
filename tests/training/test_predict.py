"""Prediction in batches is one big forward pass; validation is torch's cross-entropy and a count."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from semisup.networks.models import build_model
from semisup.training.predict import predict_features, predict_log_probabilities, predict_probabilities, validate


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


IMAGES = torch.randint(0, 256, (23, 1, 8, 8), dtype=torch.uint8, generator=generator(0))
LABELS = torch.randint(4, (23,), generator=generator(1))


@pytest.fixture
def model() -> nn.Module:
    net = build_model("small_cnn", (1, 8, 8), 4, mean=[0.5], std=[0.3], dropout=0.5, seed=0)
    with torch.no_grad():
        net(IMAGES.float() / 2)  # running statistics of batch norm that differ from every batch's own
    return net


def one_big_forward(model: nn.Module) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        logits: torch.Tensor = model(IMAGES)
    return logits


@pytest.mark.parametrize("batch_size", [1, 7, 23, 1024])
def test_probabilities_are_the_softmax_of_one_big_forward_whatever_the_batch_size(model, batch_size):
    probabilities = predict_probabilities(model, IMAGES, batch_size)
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities, one_big_forward(model).softmax(dim=1), atol=1e-6, rtol=0)


def test_prediction_puts_the_model_into_eval_mode_so_that_dropout_and_batch_norm_are_off(model):
    model.train()
    first, second = predict_probabilities(model, IMAGES), predict_probabilities(model, IMAGES)
    assert not model.training
    assert torch.equal(first, second)


def test_prediction_changes_neither_weights_nor_buffers(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    predict_probabilities(model.train(), IMAGES, 5)
    validate(model.train(), IMAGES, LABELS, 5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_prediction_tells_how_many_images_are_done(model):
    told: list[tuple[int, int]] = []
    predict_probabilities(model, IMAGES, 10, on_batch=lambda done, total: told.append((done, total)))
    assert told == [(10, 23), (20, 23), (23, 23)]


def test_prediction_of_no_images_is_refused(model):
    with pytest.raises(AssertionError, match="no images"):
        predict_probabilities(model, IMAGES[:0])


@pytest.mark.parametrize("batch_size", [1, 7, 1024])
def test_validation_is_mean_cross_entropy_and_accuracy_of_one_big_forward(model, batch_size):
    loss, accuracy = validate(model.train(), IMAGES, LABELS, batch_size)
    logits = one_big_forward(model)
    assert loss == pytest.approx(F.cross_entropy(logits, LABELS).item(), rel=1e-5)
    assert accuracy == (logits.argmax(dim=1) == LABELS).sum().item() / 23


@pytest.mark.parametrize("name", ["seed_cnn", "small_cnn", "pooled_cnn", "resnet18_small"])
def test_the_last_layer_makes_the_logits_of_the_features(name):
    model = build_model(name, (3, 16, 16), 4, mean=[0.5] * 3, std=[0.2] * 3, seed=1)
    images = torch.randint(0, 256, (10, 3, 16, 16), dtype=torch.uint8, generator=generator(2))
    features = predict_features(model, images, batch_size=4)
    with torch.inference_mode():
        torch.testing.assert_close(model.head(features).log_softmax(dim=1), predict_log_probabilities(model, images))


def test_maps_of_features_are_averaged():
    model = build_model("torchvision:squeezenet1_1", (3, 32, 32), 4, mean=[0.5] * 3, std=[0.2] * 3, seed=1)
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=generator(3))
    features = predict_features(model, images)
    with torch.inference_mode():
        logits = model.head(features[:, :, None, None])
        maps = model.head(model.eval().features(images))
    assert features.shape == (3, 512)
    torch.testing.assert_close(logits[:, :, 0, 0], maps.mean(dim=(2, 3)))
