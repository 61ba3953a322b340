"""Test-time views: the mean of what a model says of several views of an image, the first of them the image itself."""

import pytest
import torch
from torch import Tensor, nn

from semisup.config import ViewsConfig
from semisup.training.batches import augmented
from semisup.training.predict import predict_log_probabilities, predict_views

IMAGES = torch.randint(0, 256, (13, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
MOVED = {"rotation": 30, "shift": 0.2, "scale": 0.2, "shear": 0.1, "cutout": 0.3}


class Linear(nn.Module):
    """A linear network that keeps what it looks at."""

    def __init__(self) -> None:
        super().__init__()
        weights = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
        self.weights = nn.Parameter(weights / 64)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.clone())
        logits: Tensor = images.float().flatten(1) @ self.weights
        return logits


def views(count: int, **augment) -> ViewsConfig:
    return ViewsConfig(views=count, augment=augment)


def predict(config: ViewsConfig, *, seed: int = 0, **options) -> Tensor:
    return predict_views(Linear(), IMAGES, config, seed=seed, **options)


@pytest.mark.parametrize("batch_size", [4, 1024])
def test_one_view_is_the_plain_prediction_bit_for_bit(batch_size):
    for config in (views(1), views(1, **MOVED)):
        expected = predict_log_probabilities(Linear(), IMAGES, batch_size)
        assert torch.equal(predict(config, batch_size=batch_size), expected)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_several_views_give_the_mean_of_the_softmax_over_what_the_model_saw(count):
    model = Linear()
    table = predict_views(model, IMAGES, views(count, **MOVED), seed=0)
    assert len(model.seen) == count
    with torch.no_grad():
        by_hand = sum((seen.float().flatten(1) @ model.weights).softmax(dim=1) for seen in model.seen) / count
    torch.testing.assert_close(table.exp(), by_hand, atol=1e-6, rtol=0)
    torch.testing.assert_close(table.exp().sum(dim=1), torch.ones(13))


def test_the_first_view_is_the_image_itself_and_no_two_of_the_others_are_alike():
    model = Linear()
    predict_views(model, IMAGES, views(4, **MOVED), seed=0)
    first, *others = model.seen
    assert torch.equal(first, IMAGES)
    for place, view in enumerate(others):
        assert not any(torch.equal(view, other) for other in (IMAGES.float(), *others[:place]))


def test_views_that_change_nothing_visible_leave_the_prediction():
    plain = predict(views(1))
    torch.testing.assert_close(predict(views(3, shift=1e-6)), plain, atol=1e-3, rtol=0)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    config = views(3, elastic=1.0, **MOVED)
    assert torch.equal(predict(config, seed=4), predict(config, seed=4))
    assert not torch.equal(predict(config, seed=4), predict(config, seed=5))


@pytest.mark.parametrize(
    "augment", [MOVED, {"reflect": True, "shift": 0.3}, {"randaugment": 2, "cutout": 0.3}], ids=min
)
@pytest.mark.parametrize("batch_size", [1, 5])
def test_the_batch_size_changes_nothing_beyond_floating_point_where_a_batch_is_drawn_at_once(augment, batch_size):
    """So many numbers for each image, one image after the other: batches draw what one large batch would.

    It does not hold where a batch is drawn in several goes (elastic, randaugment on top of another change): the
    next batch then finds the generator elsewhere. For one batch size these, too, are the same bits every time.
    """
    config = views(3, **augment)
    torch.testing.assert_close(predict(config, batch_size=batch_size), predict(config), atol=1e-5, rtol=0)


def test_progress_counts_every_view_of_every_image():
    told: list[tuple[int, int]] = []
    predict(views(3, **MOVED), batch_size=8, on_batch=lambda done, total: told.append((done, total)))
    assert told == [(8, 39), (13, 39), (21, 39), (26, 39), (34, 39), (39, 39)]


def test_a_class_that_every_view_rules_out_has_a_finite_logarithm():
    model = Linear()
    with torch.no_grad():
        model.weights.zero_()
        model.weights[:, 0] = -1e3
    table = predict_views(model, IMAGES, views(2, shift=0.1), seed=0)
    assert table.isfinite().all()
    assert table[:, 0].exp().max() < 1e-30


def test_views_drawn_in_a_prediction_leave_training_able_to_bend_images():
    """What one of them caches must not be a tensor that autograd refuses."""
    config = views(2, elastic=0.9)
    predict(config)
    model = Linear()
    model(augmented(IMAGES, config.augment, torch.Generator())).square().mean().backward()
    assert model.weights.grad is not None
