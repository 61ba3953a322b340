"""What is held out is not known, and every image is held out once in each repetition."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from semisup.frozen.learning import (
    Points,
    deal_folds,
    hold_out,
    spread_labels,
    student_probe,
    supervised_probe,
    tempered,
)
from semisup.pseudo_labels.policies.confidence import confidence_weights


def blobs(labeled: int = 30, unlabeled: int = 90, spread: float = 0.4) -> Points:
    """Three classes around three corners."""
    generator = torch.Generator().manual_seed(1)
    corners = F.normalize(torch.randn(3, 5, generator=generator))
    truth = torch.arange(labeled + unlabeled) % 3
    table = F.normalize(corners[truth] + spread * torch.randn(labeled + unlabeled, 5, generator=generator))
    return Points(table[:labeled], truth[:labeled], table[labeled:], 3)


def with_other_labels(points: Points, held: torch.Tensor) -> Points:
    """The same with the labels of what is held out turned into others."""
    labels = torch.where(held, (points.labels + 1) % 3, points.labels)
    return Points(points.labeled, labels, points.unlabeled, points.num_classes)


def test_labels_that_are_held_out_decide_nothing():
    points = blobs()
    held = torch.arange(30) < 6
    other, graph = with_other_labels(points, held), points.graph()
    assert torch.equal(supervised_probe(points, 3.0, ~held).weight, supervised_probe(other, 3.0, ~held).weight)
    ours, theirs = (spread_labels(graph, table, among=~held) for table in (points, other))
    np.testing.assert_array_equal(ours, theirs)
    labels, weights = torch.zeros(90, dtype=torch.int64), torch.ones(90)
    assert torch.equal(
        student_probe(points, labels, weights, 3.0, ~held).weight,
        student_probe(other, labels, weights, 3.0, ~held).weight,
    )


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_no_fold_holds_every_label_even_where_each_class_has_one(classes):
    for seed in range(20):
        dealt = deal_folds(np.arange(classes), 5, np.random.default_rng(seed))
        assert len(np.unique(dealt)) == min(classes, 5)


@pytest.mark.parametrize(("classes", "folds"), [((10, 10, 10), 5), ((7, 3, 12), 5), ((1, 2), 3)])
def test_every_fold_has_its_share_of_every_class(classes, folds):
    labels = np.repeat(np.arange(len(classes)), classes)
    dealt = deal_folds(labels, folds, np.random.default_rng(0))
    for label in range(len(classes)):
        counts = np.bincount(dealt[labels == label], minlength=folds)
        assert counts.max() - counts.min() <= 1


def test_every_image_is_judged_in_every_repetition_and_separable_classes_are_right():
    points = blobs(spread=0.1)
    held = hold_out(
        points, points.graph(), np.random.default_rng(0), student_strength=3.0, strengths=(3.0,), repetitions=2
    )
    for table in held.ways().values():
        assert table.shape == (2, 30, 3)
        torch.testing.assert_close(table.exp().sum(dim=2), torch.ones(2, 30))
        assert (table.argmax(dim=2) == points.labels).all()


def test_a_temperature_divides_logarithms():
    said = np.array([[0.7, 0.2, 0.1]], dtype=np.float32)
    expected = said ** (1 / 2.5)
    np.testing.assert_allclose(tempered(said, 2.5), expected / expected.sum(), rtol=1e-6)


def test_a_guess_weighs_nothing_and_what_is_sure_weighs_one():
    weights = confidence_weights(torch.tensor([0.25, 0.625, 1.0, 0.2]), 4)
    torch.testing.assert_close(weights, torch.tensor([0.0, 0.5, 1.0, 0.0]))


def test_pseudo_labels_of_weight_zero_leave_the_supervised_probe():
    points = blobs()
    alone = supervised_probe(points, 3.0)
    student = student_probe(points, torch.zeros(90, dtype=torch.int64), torch.zeros(90), 3.0)
    assert torch.equal(student.weight, alone.weight)


def test_images_of_one_unit_are_held_out_together_so_that_none_is_known_by_its_copy():
    """Pairs of equal images with random labels: a copy tells all, and nothing else tells anything."""
    generator = torch.Generator().manual_seed(3)
    table = F.normalize(torch.randn(30, 40, generator=generator)).repeat_interleave(2, dim=0)
    labels = (torch.arange(30) % 3)[torch.randperm(30, generator=generator)].repeat_interleave(2)
    points = Points(table, labels, F.normalize(torch.randn(20, 40, generator=generator)), 3)
    shares = {}
    for name, units in {"alone": None, "together": np.repeat(np.arange(30), 2)}.items():
        rng = np.random.default_rng(0)
        held = hold_out(points, points.graph(), rng, student_strength=3.0, strengths=(100.0,), units=units)
        shares[name] = (held.baseline[0].argmax(dim=1) == labels).double().mean().item()
    assert shares["alone"] > 0.7
    assert shares["together"] < 0.5
