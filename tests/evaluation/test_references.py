"""Reference lines: what scikit-learn makes of the same features, held against independent implementations."""

import numpy as np
import pytest
import torch

from semisup.evaluation.references import (
    REFERENCES,
    STRENGTH,
    Seen,
    label_spreading,
    logistic_regression,
    score_references,
    self_training,
)
from semisup.evaluation.scores import accuracy_interval
from semisup.frozen.probe import fit_probe


def blobs(apart: float, classes: int = 3, each: int = 20, width: int = 6) -> tuple[Seen, np.ndarray]:
    """Normal clouds, `apart` deviations from each other: five labels a class; `each` others, and as many to test."""
    rng = np.random.default_rng(0)
    centers = apart * np.eye(classes, width)

    def some(count):
        labels = np.repeat(np.arange(classes), count)
        return (centers[labels] + rng.normal(size=(len(labels), width))).astype(np.float32), labels

    (labeled, labels), (unlabeled, _), (test, truth) = some(5), some(each), some(each)
    return Seen(labeled, labels, unlabeled, test), truth


def test_clouds_far_apart_are_told_apart_by_every_reference_with_the_exact_interval():
    seen, truth = blobs(apart=30)
    ends = accuracy_interval(len(truth), len(truth))
    found = score_references(seen, truth)
    assert [row["name"] for row in found] == list(REFERENCES)
    for row in found:
        assert (row["estimate"], row["low"], row["high"]) == (1.0, ends.low, 1.0)


def test_the_logistic_regression_is_the_optimum_of_its_stated_loss():
    seen, _ = blobs(apart=2)
    learned, test = (torch.from_numpy(part) for part in seen.standardized())
    labels = torch.from_numpy(seen.labels)
    targets = torch.nn.functional.one_hot(labels, 3)
    probe = fit_probe(learned[: len(labels)], targets, torch.ones(len(labels)), STRENGTH)
    assert np.array_equal(logistic_regression(seen), probe(test).argmax(dim=1).numpy())


def test_the_regression_knows_of_images_without_a_label_nothing_but_their_scale():
    seen, _ = blobs(apart=2)
    shuffled = Seen(seen.labeled, seen.labels, seen.unlabeled[::-1].copy(), seen.test)
    assert np.array_equal(logistic_regression(seen), logistic_regression(shuffled))


def test_self_training_that_accepts_nothing_is_the_regression():
    seen, _ = blobs(apart=0)  # C = 0.01 on noise is sure of nothing
    assert np.array_equal(self_training(seen), logistic_regression(seen))


def test_spread_labels_reach_a_test_image_through_images_without_one():
    """A chain of points leads from one label to the other end of the line, which is nearer to the other label."""
    chain = np.stack([np.linspace(0, 9, 16), np.zeros(16)], axis=1).astype(np.float32)
    labeled = np.array([[0, 0], [9, 6]], dtype=np.float32)
    lone = np.array([[9, 6]], dtype=np.float32) + np.random.default_rng(0).normal(0, 0.05, (30, 2)).astype(np.float32)
    seen = Seen(labeled, np.array([0, 1]), np.concatenate([chain, lone]), np.array([[9, 0.1]], dtype=np.float32))
    assert label_spreading(seen).tolist() == [0]
    assert logistic_regression(seen).tolist() == [1]


def test_of_labels_of_one_class_there_are_no_references():
    seen, truth = blobs(apart=3)
    assert score_references(Seen(seen.labeled, np.zeros_like(seen.labels), seen.unlabeled, seen.test), truth) == []


@pytest.mark.parametrize("unlabeled", [0, 1])
def test_few_images_are_enough_for_every_reference(unlabeled):
    seen, truth = blobs(apart=30, classes=2)
    few = Seen(seen.labeled[[0, 5]], seen.labels[[0, 5]], seen.unlabeled[:unlabeled], seen.test)
    assert len(score_references(few, truth)) == len(REFERENCES)
