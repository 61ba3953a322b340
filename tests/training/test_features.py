"""What the last layer gets: its own product gives the logits back."""

import pytest
import torch
from torch import nn

from semisup.models import build_model
from semisup.training.features import last_layer, predict_with_features
from semisup.training.predict import predict_log_probabilities


@pytest.mark.parametrize("name", ["seed_cnn", "small_cnn", "pooled_cnn", "resnet18_small"])
def test_the_last_layer_makes_the_logits_of_the_features(name):
    model = build_model(name, (3, 16, 16), 4, mean=[0.5] * 3, std=[0.2] * 3, seed=1).eval()
    images = torch.randint(0, 256, (10, 3, 16, 16), dtype=torch.uint8)
    told = []
    logarithms, features = predict_with_features(model, images, 4, batch_size=4, on_batch=lambda *n: told.append(n))
    layer = last_layer(model, 4)
    with torch.inference_mode():
        torch.testing.assert_close(layer(features).log_softmax(dim=1), logarithms)
    torch.testing.assert_close(logarithms, predict_log_probabilities(model, images))
    assert told == [(4, 10), (8, 10), (10, 10)]
    assert not layer._forward_pre_hooks  # nothing is left hanging on the model


def test_a_network_that_ends_otherwise_has_its_log_probabilities_as_features():
    class Convolutional(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(1, 3, 4)

        def forward(self, images):
            return self.layer(images.float() / 255).flatten(1)

    logarithms, features = predict_with_features(
        Convolutional(), torch.randint(0, 256, (5, 1, 4, 4), dtype=torch.uint8), 3
    )
    assert torch.equal(logarithms, features)
