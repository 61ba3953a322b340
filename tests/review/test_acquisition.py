"""A batch to label: doubtful images, all different, and not many of one kind."""

import numpy as np
import pytest

from semisup.review.acquisition import Signals, choose_batch, doubt, unit_length
from semisup.review.acquisition import _sampled as sampled

METHODS = ("clusters", "spread", "gradients")


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


def groups(count, size, rng, dimensions=16):
    """Features of `count` tight groups of `size` images, and the group of each."""
    centers = np.eye(count, dimensions) * 5
    of = np.repeat(np.arange(count), size)
    return (centers[of] + rng.normal(0, 0.01, (len(of), dimensions))).astype(np.float32), of


def choose(worth, features, probabilities, budget, method, *, seed=0):
    return choose_batch(worth, features, probabilities, budget, rng=np.random.default_rng(seed), method=method)


def test_doubt_is_one_less_the_margin():
    probabilities = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.2, 0.7, 0.1]], dtype=np.float32)
    np.testing.assert_allclose(doubt(probabilities), [1, 0, 0.5], atol=1e-6)


def test_every_signal_raises_the_worth_and_full_doubt_counts_one():
    def signals(**given):
        zero = np.zeros(1, np.float32)
        return Signals(
            **({"doubt": zero, "teacher_differs": zero.astype(bool), "disagreement": zero, "flips": zero} | given)
        ).worth[0]

    one = np.ones(1, np.float32)
    assert signals() == 0
    assert signals(doubt=one) == 1
    for name in ("disagreement", "flips"):
        assert 0 < signals(**{name: one}) < 1
    assert 0 < signals(teacher_differs=one.astype(bool)) < 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("images", "budget"), [(200, 50), (30, 50), (50, 50), (1, 1)])
def test_a_batch_holds_different_images_and_as_many_as_there_can_be(method, images, budget):
    rng = np.random.default_rng(1)
    probabilities = softmax(rng.normal(size=(images, 5)))
    chosen = choose(
        doubt(probabilities), rng.normal(size=(images, 8)).astype(np.float32), probabilities, budget, method
    )
    assert len(chosen) == len(set(chosen.tolist())) == min(images, budget)
    assert set(chosen.tolist()) <= set(range(images))


@pytest.mark.parametrize("method", METHODS)
def test_copies_of_one_image_fill_the_batch_up_only_where_nothing_else_is_left(method):
    features = np.ones((20, 4), np.float32)
    chosen = choose(np.ones(20, np.float32), features, np.full((20, 2), 0.5, np.float32), 6, method)
    assert len(set(chosen.tolist())) == 6


@pytest.mark.parametrize("method", ["clusters", "spread"])
def test_equally_doubtful_groups_all_have_their_image_however_large_one_of_them_is(method):
    rng = np.random.default_rng(2)
    features, of = groups(8, 10, rng)
    crowd = np.repeat(features[:1], 500, axis=0) + rng.normal(0, 0.01, (500, 16)).astype(np.float32)
    features, of = np.concatenate([features, crowd]).astype(np.float32), np.append(of, np.zeros(500, int))
    worth = np.full(len(of), 0.5, np.float32)
    chosen = choose(worth, features, np.full((len(of), 2), 0.5, np.float32), 16, method)
    assert set(of[chosen]) == set(range(8))


@pytest.mark.parametrize("method", ["clusters", "spread"])
def test_images_without_any_doubt_are_left_alone_while_there_are_doubtful_ones(method):
    rng = np.random.default_rng(3)
    features, of = groups(4, 50, rng)
    worth = np.where(of < 2, 0.8, 0.0).astype(np.float32)
    chosen = choose(worth, features, np.full((len(of), 2), 0.5, np.float32), 10, method)
    assert (of[chosen] < 2).mean() >= 0.8  # a cluster's center may be claimed by others, but rarely


def test_products_of_factors_are_those_of_the_outer_products():
    rng = np.random.default_rng(4)
    left, right = rng.normal(size=(40, 3)), rng.normal(size=(40, 5))
    outer = np.einsum("na,nb->nab", left, right).reshape(40, -1)
    ones = np.ones(40)
    by_factors = sampled(left, right, ones, 10, np.random.default_rng(5))
    outright = sampled(np.ones((40, 1)), outer, ones, 10, np.random.default_rng(5))
    np.testing.assert_array_equal(by_factors, outright)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_generator_chooses_the_same_batch(method):
    rng = np.random.default_rng(6)
    features, probabilities = rng.normal(size=(100, 8)).astype(np.float32), softmax(rng.normal(size=(100, 3)))
    first, second = (choose(doubt(probabilities), features, probabilities, 20, method, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_rows_of_unit_length_have_it_and_nothing_is_divided_by_zero():
    scaled = unit_length(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(scaled, [[0.6, 0.8], [0, 0]], atol=1e-6)
