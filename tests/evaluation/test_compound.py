"""Compound images: laws of the maximum, pairs against chi-squared, two likeliest classes against brute force."""

from itertools import combinations
from math import comb, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from sklearn.metrics import top_k_accuracy_score

from semisup.evaluation.compound import draw_pairs, superpose, top2_overlap, top2_right, two_likeliest
from tests.mistakes import user_mistake


def images(seed: int, shape: tuple[int, ...] = (5, 3, 4, 6)) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_probabilities(count: int, classes: int, seed: int = 0) -> np.ndarray:
    return rng(seed).dirichlet(np.ones(classes), size=count)


def random_pairs(count: int, classes: int, seed: int = 1) -> np.ndarray:
    """Labels (count, 2), both different, every ordered pair equally likely."""
    return np.argsort(rng(seed).random((count, classes)), axis=1)[:, :2]


def test_superposing_is_the_maximum_of_every_pixel_as_numpy_takes_it():
    first, second = images(1), images(2)
    together = superpose(first, second)
    assert together.dtype == torch.uint8
    np.testing.assert_array_equal(together.numpy(), np.maximum(first.numpy(), second.numpy()))


def test_superposing_is_symmetric_idempotent_and_leaves_an_image_on_black_as_it_is():
    first, second = images(1), images(2)
    assert torch.equal(superpose(first, second), superpose(second, first))
    assert torch.equal(superpose(first, first), first)
    assert torch.equal(superpose(first, torch.zeros_like(first)), first)


def test_superposing_hides_nothing_of_strokes_that_do_not_cross():
    first, second = torch.zeros(1, 1, 4, 4, dtype=torch.uint8), torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    first[..., 0], second[..., 3] = 200, 100
    assert torch.equal(superpose(first, second), first + second)


def test_images_that_cannot_be_superposed_are_refused():
    with pytest.raises(ValueError, match="superpose takes uint8"):
        superpose(images(1).float(), images(2))
    with pytest.raises(ValueError, match=r"\(5, 3, 4, 6\) and \(1, 3, 4, 6\)"):
        superpose(images(1), images(2)[:1])


@given(st.lists(st.integers(0, 4), min_size=2, max_size=40).filter(lambda labels: len(set(labels)) > 1))
def test_every_image_is_first_once_and_its_partner_is_of_another_class(labels):
    truth = np.array(labels)
    pairs = draw_pairs(truth, rng())
    assert pairs[:, 0].tolist() == list(range(len(truth)))
    assert (truth[pairs[:, 0]] != truth[pairs[:, 1]]).all()


def test_partners_are_uniform_over_all_images_of_other_classes():
    truth = rng(3).permutation(np.repeat([0, 1, 4], [2, 3, 7]))  # class numbers with gaps, in no order
    partners = np.concatenate([draw_pairs(truth, rng(seed)) for seed in range(4000)])
    for first in (np.flatnonzero(truth == kind)[0] for kind in (0, 1, 4)):
        others = np.flatnonzero(truth != truth[first])
        counts = np.bincount(partners[partners[:, 0] == first, 1], minlength=len(truth))
        assert counts.sum() == counts[others].sum() == 4000
        assert chisquare(counts[others]).pvalue > 1e-3


def test_the_same_generator_draws_the_same_pairs():
    truth = np.arange(50) % 7
    assert np.array_equal(draw_pairs(truth, rng(5)), draw_pairs(truth, rng(5)))
    assert not np.array_equal(draw_pairs(truth, rng(5)), draw_pairs(truth, rng(6)))


def test_images_of_one_class_alone_are_refused_in_one_line():
    with user_mistake(match="all 3 test images are of one class") as caught:
        draw_pairs(np.array([2, 2, 2]), rng())
    assert str(caught.value).startswith("evaluate.compound=true")


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_two_likeliest_are_right_exactly_where_no_other_class_is_likelier_than_a_true_one(classes):
    probabilities, labels = random_probabilities(500, classes), random_pairs(500, classes)
    right, overlap = top2_right(probabilities, labels), top2_overlap(probabilities, labels)
    for row, pair, both, any_ in zip(probabilities, labels, right, overlap, strict=True):
        best = max(combinations(range(classes), 2), key=lambda two: row[list(two)].sum())
        assert both == (set(best) == set(pair))
        assert any_ == bool(set(best) & set(pair))


def test_right_and_overlapping_add_up_to_scikit_learns_top_2_accuracies_of_both_labels():
    probabilities, labels = random_probabilities(800, 6), random_pairs(800, 6)
    found = [
        top_k_accuracy_score(labels[:, side], probabilities, k=2, labels=range(6), normalize=False) for side in (0, 1)
    ]
    # A pair found whole counts with both labels, one found in part with one of them.
    assert top2_right(probabilities, labels).sum() + top2_overlap(probabilities, labels).sum() == sum(found)


def test_the_order_of_the_two_true_classes_does_not_matter():
    probabilities, labels = random_probabilities(300, 5), random_pairs(300, 5)
    np.testing.assert_array_equal(top2_right(probabilities, labels), top2_right(probabilities, labels[:, ::-1]))
    np.testing.assert_array_equal(top2_overlap(probabilities, labels), top2_overlap(probabilities, labels[:, ::-1]))


@pytest.mark.parametrize("classes", [3, 10])
def test_random_predictions_are_right_once_in_the_number_of_pairs_of_classes(classes):
    count, chance = 40_000, 1 / comb(classes, 2)
    right = top2_right(random_probabilities(count, classes), random_pairs(count, classes))
    assert right.mean() == pytest.approx(chance, abs=4 * sqrt(chance * (1 - chance) / count))  # four standard errors


def test_two_classes_are_always_both_found():
    assert top2_right(random_probabilities(20, 2), random_pairs(20, 2)).all()


def test_the_likelier_class_comes_first_and_of_equal_ones_the_lower_number():
    assert two_likeliest(np.array([[0.2, 0.7, 0.1], [0.1, 0.45, 0.45], [0.4, 0.2, 0.4]])).tolist() == [
        [1, 0],
        [1, 2],
        [0, 2],
    ]


@pytest.mark.parametrize("shape", [(4, 1), (4,)])
def test_fewer_than_two_classes_have_no_two_likeliest(shape):
    with pytest.raises(ValueError, match="C ≥ 2"):
        two_likeliest(np.ones(shape))
