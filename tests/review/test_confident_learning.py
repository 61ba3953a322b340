"""Confident learning: thresholds and the joint worked by hand, and planted mistakes that are found."""

import numpy as np
import pytest
from cleanlab.count import compute_confident_joint
from cleanlab.filter import find_label_issues
from numpy.typing import NDArray

from semisup.review.confident_learning import (
    agreement,
    class_thresholds,
    confident_classes,
    confident_joint,
    label_noise,
    out_of_sample_probabilities,
    suspected_labels,
    true_classes,
)

PROBABILITIES = np.array(
    [
        [0.9, 0.1, 0.0],  # labeled 0
        [0.7, 0.3, 0.0],  # labeled 0
        [0.2, 0.8, 0.0],  # labeled 0: looks like 1
        [0.1, 0.9, 0.0],  # labeled 1
        [0.4, 0.5, 0.1],  # labeled 1: reaches no threshold
        [0.3, 0.1, 0.6],  # labeled 2
    ]
)
LABELS = np.array([0, 0, 0, 1, 1, 2])


def test_the_threshold_of_a_class_is_the_mean_probability_of_its_own_images():
    np.testing.assert_allclose(class_thresholds(PROBABILITIES, LABELS), [(0.9 + 0.7 + 0.2) / 3, (0.9 + 0.5) / 2, 0.6])


def test_a_class_without_images_is_never_confidently_seen():
    probabilities = np.array([[0.1, 0.9], [0.2, 0.8]])
    assert confident_classes(probabilities, np.array([0, 0])).tolist() == [-1, 0]


def test_the_confident_joint_counts_images_whose_class_reaches_its_threshold():
    assert confident_classes(PROBABILITIES, LABELS).tolist() == [0, 0, 1, 1, -1, 2]
    assert confident_joint(PROBABILITIES, LABELS).tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_the_noise_is_the_joint_scaled_to_the_labels_counts_by_columns():
    """Counts 3, 2 and 1: rows (2, 1, 0), (0, 2, 0), (0, 0, 1)."""
    np.testing.assert_allclose(label_noise(PROBABILITIES, LABELS), [[1, 1 / 3, 0], [0, 2 / 3, 0], [0, 0, 1]])


def test_the_joint_is_the_peers_own():
    """Cleanlab's, which was written by the method's authors; its calibrated one is scaled as ours."""
    rng = np.random.default_rng(4)
    probabilities = rng.dirichlet(np.full(5, 0.3), size=400)
    labels = rng.integers(0, 5, 400)
    np.testing.assert_array_equal(
        confident_joint(probabilities, labels), compute_confident_joint(labels, probabilities, calibrate=False)
    )


@pytest.fixture(scope="module")
def mistaken() -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Probabilities, labels and which are wrong: two of three classes are often taken for the next one.

    An image's true class is drawn from its probabilities, which are then flattened as by a model that saw wrong labels.
    """
    rng = np.random.default_rng(5)
    exact = rng.dirichlet(np.full(3, 0.15), size=6000)
    truth = (exact.cumsum(axis=1) > rng.random((6000, 1))).argmax(axis=1)
    wrong = rng.random(6000) < np.array([0.3, 0.2, 0.0])[truth]
    flat = exact**0.5
    return flat / flat.sum(axis=1, keepdims=True), np.where(wrong, (truth + 1) % 3, truth), wrong


def test_so_many_labels_are_expected_to_be_wrong_as_are(mistaken):
    probabilities, labels, wrong = mistaken
    chances = 1 - true_classes(probabilities, labels)[np.arange(len(labels)), labels]
    assert chances.mean() == pytest.approx(wrong.mean(), abs=0.03)
    np.testing.assert_allclose(true_classes(probabilities, labels).sum(axis=1), 1)


def test_f1_is_higher_than_that_of_the_peers_default(mistaken):
    probabilities, labels, wrong = mistaken
    ours = np.zeros(len(labels), dtype=bool)
    ours[suspected_labels(true_classes(probabilities, labels), labels, len(labels))[0]] = True
    theirs = find_label_issues(labels, probabilities)
    f1 = [2 * (wrong & found).sum() / (wrong.sum() + found.sum()) for found in (ours, theirs)]
    assert f1[0] > f1[1]


def test_what_is_found_does_not_depend_on_the_order_of_the_rows(mistaken):
    probabilities, labels, _ = mistaken
    order = np.random.default_rng(6).permutation(len(labels))
    rows, likelier = suspected_labels(true_classes(probabilities, labels), labels, len(labels))
    again, moved = suspected_labels(true_classes(probabilities[order], labels[order]), labels[order], len(labels))
    assert dict(zip(rows.tolist(), likelier.tolist(), strict=True)) == dict(
        zip(order[again].tolist(), moved.tolist(), strict=True)
    )


def test_a_label_that_nothing_speaks_for_is_taken_to_be_right():
    """Classes 0 and 2 alone have labels, and no image looks like 2."""
    probabilities = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    likely = true_classes(probabilities, np.array([0, 0, 2]))
    assert np.isfinite(likely).all()
    assert likely[:2, 0].tolist() == [1.0, 1.0]


def test_suspects_are_likelier_wrong_than_right_the_surest_first_and_bounded():
    """Also where, as of the last image, no single class is likelier than the label."""
    likely = np.array([[0.6, 0.4, 0.0], [0.3, 0.5, 0.2], [0.1, 0.2, 0.7], [0.0, 0.0, 1.0], [0.4, 0.3, 0.3]])
    labels = np.array([0, 0, 0, 2, 0])
    rows, likelier = suspected_labels(likely, labels, most=10)
    assert (rows.tolist(), likelier.tolist()) == ([2, 1, 4], [2, 1, 1])
    assert suspected_labels(likely, labels, most=1)[0].tolist() == [2]


def test_agreement_by_chance_is_that_of_independent_labels():
    """All named "0", 9 of 10 labeled so: 90 % agree, as they would by chance. By halves, half agree by chance."""
    named = np.tile([0.8, 0.2], (10, 1))
    assert agreement(named, np.array([0] * 9 + [1])) == pytest.approx((0.9, 0.9))
    halves = np.repeat([[0.8, 0.2], [0.1, 0.9]], 5, axis=0)
    assert agreement(halves, np.array([0] * 4 + [1] * 6)) == pytest.approx((0.9, 0.5 * 0.4 + 0.5 * 0.6))


def test_three_quarters_of_the_planted_mistakes_are_found_and_hardly_anything_else():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 50)
    features = (np.eye(4, 12)[truth] * 4 + rng.normal(size=(200, 12))).astype(np.float32)
    labels, wrong = truth.copy(), rng.permutation(200)[:16]
    labels[wrong] = (labels[wrong] + 1) % 4
    probabilities = out_of_sample_probabilities(features, labels, 4, seed=0)
    rows, likelier = suspected_labels(true_classes(probabilities, labels), labels, most=30)
    found = np.isin(rows, wrong)
    assert found.sum() >= 12
    assert found.mean() >= 0.9
    assert (likelier[found] == truth[rows[found]]).all()


def test_probabilities_are_of_a_model_that_has_not_seen_the_image():
    """With random labels a model that has learned them by heart is right always, one that has not as a guess is."""
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 100)
    probabilities = out_of_sample_probabilities(rng.normal(size=(200, 300)).astype(np.float32), labels, 2, seed=0)
    assert abs((probabilities.argmax(axis=1) == labels).mean() - 0.5) < 0.15


def test_a_class_with_two_images_says_nothing():
    features = np.zeros((12, 3), np.float32)
    assert out_of_sample_probabilities(features, np.array([0] * 10 + [1] * 2), 2, seed=0) is None
    assert out_of_sample_probabilities(features, np.array([0] * 12), 2, seed=0) is None


def test_of_a_group_that_is_held_out_the_probabilities_know_nothing():
    """Features that tell the groups and not the classes: those who know the rest of a group are right always."""
    units = np.repeat(np.arange(24), 5)
    labels = units % 2
    features = (5 * np.eye(24)[units] + np.random.default_rng(2).normal(0, 0.1, (120, 24))).astype(np.float32)
    right = [
        (out_of_sample_probabilities(features, labels, 2, 0, known).argmax(axis=1) == labels).mean()
        for known in (None, units)
    ]
    assert right[0] > 0.95
    assert right[1] < 0.7


def test_a_class_of_two_groups_says_nothing_however_many_images_these_have():
    units, labels = np.repeat(np.arange(12), 10), np.repeat([0, 1], [100, 20])
    features = np.random.default_rng(3).normal(size=(120, 3)).astype(np.float32)
    assert out_of_sample_probabilities(features, labels, 2, 0) is not None
    assert out_of_sample_probabilities(features, labels, 2, 0, units) is None
