"""Batches: every image equally often, every batch full, the same seed the same stream."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.utils.data import WeightedRandomSampler

from semisup.config import AugmentConfig
from semisup.training.batches import ImageStream, ShuffledBatches, View, WeightedBatches, balancing_weights

NO_AUGMENTATION = AugmentConfig()
AUGMENTATION = AugmentConfig(rotation=20, shift=0.2)


def batches(size: int, batch_size: int, seed: int = 0) -> ShuffledBatches:
    return ShuffledBatches(size, batch_size, torch.Generator().manual_seed(seed))


def drawn(size: int, batch_size: int, count: int, seed: int = 0) -> list[int]:
    stream = batches(size, batch_size, seed)
    return [index for _ in range(count) for index in next(stream).tolist()]


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@given(size=st.integers(1, 30), batch_size=st.integers(1, 30), rounds=st.integers(1, 4))
@settings(deadline=None, max_examples=50)
def test_every_image_is_drawn_equally_often_over_whole_permutations(size, batch_size, rounds):
    # batch_size · size · rounds draws are batch_size · rounds whole permutations.
    counts = Counter(drawn(size, batch_size, count=size * rounds))
    assert counts == dict.fromkeys(range(size), batch_size * rounds)


@given(size=st.integers(1, 30), batch_size=st.integers(1, 50))
@settings(deadline=None, max_examples=50)
def test_every_batch_is_full_and_counts_never_differ_by_more_than_one(size, batch_size):
    stream, seen = batches(size, batch_size), Counter(dict.fromkeys(range(size), 0))
    for _ in range(7):
        batch = next(stream)
        assert batch.shape == (batch_size,)
        assert batch.dtype == torch.int64
        seen.update(batch.tolist())
        assert max(seen.values()) - min(seen.values()) <= 1


def test_a_batch_larger_than_the_set_holds_every_image_and_some_twice():
    counts = Counter(next(batches(3, 8)).tolist())
    assert sorted(counts.values()) == [2, 3, 3]


def test_one_permutation_is_unlike_the_next():
    first, second = drawn(50, 50, count=1), drawn(50, 50, count=2)[50:]
    assert sorted(first) == sorted(second)
    assert first != second


def test_the_same_seed_gives_the_same_batches_and_another_seed_others():
    assert drawn(20, 6, count=10, seed=1) == drawn(20, 6, count=10, seed=1)
    assert drawn(20, 6, count=10, seed=1) != drawn(20, 6, count=10, seed=2)


def test_an_empty_set_is_refused_before_it_could_loop_for_ever():
    with pytest.raises(AssertionError, match="empty set"):
        batches(0, 4)


def seen(stream: ImageStream) -> tuple[torch.Tensor, torch.Tensor]:
    """The next batch: its indices, and its images as the network sees them."""
    indices = next(stream)
    return indices, stream.view(indices)


def test_a_stream_without_augmentation_yields_the_very_images_of_its_indices():
    images = pictures(10)
    stream = ImageStream(images, 4, NO_AUGMENTATION, seed=0, purpose="labeled")
    for _ in range(6):
        indices, batch = seen(stream)
        assert torch.equal(batch, images[indices].float())


def test_a_stream_leaves_the_images_that_it_draws_from_as_they_were():
    images = pictures(10)
    before = images.clone()
    stream = ImageStream(images, 4, AUGMENTATION, seed=0, purpose="labeled")
    for _ in range(5):
        seen(stream)
    assert torch.equal(images, before)


def test_an_image_is_augmented_anew_each_time_it_is_drawn():
    stream = ImageStream(pictures(1), 1, AUGMENTATION, seed=0, purpose="labeled")
    (_, first), (_, second) = seen(stream), seen(stream)
    assert not torch.equal(first, second)


def test_augmentation_does_not_change_which_images_are_drawn():
    plain, augmented = (
        ImageStream(pictures(10), 4, config, 0, "labeled") for config in (NO_AUGMENTATION, AUGMENTATION)
    )
    for _ in range(5):
        assert torch.equal(seen(plain)[0], seen(augmented)[0])


def test_same_seed_and_purpose_give_the_same_stream_and_either_changed_another():
    def first_three(seed: int, purpose: str) -> tuple[torch.Tensor, torch.Tensor]:
        stream = ImageStream(pictures(30), 8, AUGMENTATION, seed, purpose)
        indices, images = zip(*(seen(stream) for _ in range(3)), strict=True)
        return torch.cat(indices), torch.cat(images)

    (indices, images), (same_indices, same_images) = first_three(3, "labeled"), first_three(3, "labeled")
    assert torch.equal(indices, same_indices)
    assert torch.equal(images, same_images)
    for other in (first_three(4, "labeled"), first_three(3, "unlabeled")):
        assert not torch.equal(indices, other[0])
        assert not torch.equal(images, other[1])


def test_each_augment_field_reaches_the_images():
    fields = {"rotation": 40.0, "shift": 0.4, "scale": 0.5, "shear": 0.5, "horizontal_flip": True, "cutout": 0.5}
    images = pictures(16)
    for field, value in fields.items():
        stream = ImageStream(images, 16, AugmentConfig(**{field: value}), seed=0, purpose="labeled")
        indices, batch = seen(stream)
        assert not torch.equal(batch, images[indices].float()), field


# --- weighted random sampling -----------------------------------------------------------------------------------------


def test_balancing_weights_are_one_over_the_count_of_the_class():
    """The source's example: classes of 4 and 14 images weigh 0.25 and 0.0714."""
    weights = balancing_weights(torch.tensor([0] * 4 + [1] * 14))
    assert weights.tolist() == pytest.approx([1 / 4] * 4 + [1 / 14] * 14)


def test_balanced_batches_hold_every_class_equally_often():
    labels = torch.tensor([0] * 90 + [1] * 9 + [2])
    stream = WeightedBatches(balancing_weights(labels), 50, torch.Generator().manual_seed(0))
    drawn = torch.cat([labels[next(stream)] for _ in range(400)])
    assert stats.chisquare(torch.bincount(drawn).numpy()).pvalue > 1e-3


def test_weighted_batches_are_those_of_the_sampler_of_torch():
    weights = torch.rand(30, generator=torch.Generator().manual_seed(3)).double()
    stream = WeightedBatches(weights, 1000, torch.Generator().manual_seed(7))
    sampler = WeightedRandomSampler(weights, 1000, generator=torch.Generator().manual_seed(7))
    assert next(stream).tolist() == list(sampler)


def test_a_weighted_stream_goes_on_where_its_state_was_taken():
    def stream() -> ImageStream:
        return ImageStream(pictures(20), 6, AUGMENTATION, 0, "labeled", weights=torch.arange(20.0))

    one, other = stream(), stream()
    seen(one)
    other.restore(one.state())
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(seen(one), seen(other), strict=True))


@pytest.mark.parametrize(
    "config",
    [
        NO_AUGMENTATION,
        AUGMENTATION,
        AugmentConfig(elastic=1.0, rotation=5.0),
        AugmentConfig(reflect=True, shift=0.2, horizontal_flip=True, randaugment=2, cutout=0.4),
        AugmentConfig(paste=0.6, cutout=0.3),
    ],
)
def test_some_rows_of_a_view_look_as_they_do_in_the_whole_of_it(config):
    images, indices, rows = pictures(20), torch.randperm(20)[:12], torch.tensor([7, 2, 2, 11])
    whole, part = (View(images, config, 0, "labeled") for _ in range(2))
    for _ in range(3):  # and the next draws are the same as well
        torch.testing.assert_close(part(indices, rows), whole(indices)[rows])
