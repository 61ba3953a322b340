"""Confident learning: thresholds and the joint worked by hand, and planted mistakes that are found."""

import numpy as np

from semisup.review.confident_learning import (
    class_thresholds,
    confident_classes,
    confident_joint,
    out_of_sample_probabilities,
    suspected_labels,
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


def test_suspects_are_those_off_the_diagonal_the_surest_first_and_bounded():
    rows, likelier = suspected_labels(PROBABILITIES, LABELS, most=10)
    assert (rows.tolist(), likelier.tolist()) == ([2], [1])
    labels = np.array([0, 0, 0, 0, 1, 2])  # row 3, 0.1 against 0.9, is surer than row 2
    assert suspected_labels(PROBABILITIES, labels, most=10)[0].tolist()[:1] == [3]
    assert len(suspected_labels(PROBABILITIES, labels, most=1)[0]) == 1


def test_half_of_the_planted_mistakes_are_found_and_hardly_anything_else():
    """Half, for a class's threshold is the mean of what its own images get: about half of them reach it."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 50)
    features = (np.eye(4, 12)[truth] * 4 + rng.normal(size=(200, 12))).astype(np.float32)
    labels, wrong = truth.copy(), rng.permutation(200)[:16]
    labels[wrong] = (labels[wrong] + 1) % 4
    probabilities = out_of_sample_probabilities(features, labels, 4, seed=0)
    rows, likelier = suspected_labels(probabilities, labels, most=30)
    found = np.isin(rows, wrong)
    assert found.sum() >= 8
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
