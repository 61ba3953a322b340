"""Images of none of the classes: how they are scored, and how often the threshold errs."""

import numpy as np
import pytest
from scipy.stats import beta, binom

from semisup.open_world import unknown as unknown_images
from semisup.open_world.space import NEAREST, distance_to_nearest, fit_space, unit_length
from semisup.open_world.unknown import fit_detector, held_out_scores, share_at_least, threshold_of


def world(rng, classes=4, each=12, pool=300, unknown=60):
    """Features of classes that are clusters, of a pool of them, and of as many unknown images, another cluster."""
    centers = 3 * rng.normal(size=(classes + 1, 20))
    labels = np.repeat(np.arange(classes), each)
    truth = np.concatenate([rng.integers(classes, size=pool), np.full(unknown, classes)])
    draw = lambda of: centers[of] + rng.normal(size=(len(of), 20))  # noqa: E731
    return draw(labels), labels, draw(truth), truth == classes, draw(rng.integers(classes, size=200))


def test_an_unknown_cluster_scores_above_the_known_ones():
    labeled, labels, pool, unknown, _ = world(np.random.default_rng(0))
    scores = fit_detector(labeled, labels, pool, 0)(pool, np.arange(len(pool)))
    assert scores[unknown].min() > np.quantile(scores[~unknown], 0.95)


def test_of_known_images_no_larger_share_is_called_unknown_than_stated():
    rng, rates = np.random.default_rng(1), []
    for _ in range(12):
        labeled, labels, pool, unknown, held_out = world(rng)
        reference = np.concatenate([held_out, pool])
        scores = fit_detector(labeled, labels, reference, 0)(reference, np.arange(len(reference)))
        threshold = threshold_of(scores[: len(held_out)], 0.1)
        rates.append((scores[len(held_out) :][~unknown] >= threshold).mean())
    # Of one split the rate is Beta distributed about 0.1, with a deviation of 0.02.
    assert np.mean(rates) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 200 / 12 + 0.1 * 0.9 / 300 / 12)


def test_labeled_images_that_are_held_out_in_turn_score_as_known_ones_do():
    rng = np.random.default_rng(2)
    labeled, labels, pool, unknown, _ = world(rng, each=30)
    held_out = held_out_scores(labeled, labels, pool, folds=5, rng=rng)
    scores = fit_detector(labeled, labels, pool, 0)(pool, np.arange(len(pool)))
    assert np.median(held_out) < np.quantile(scores[~unknown], 0.9)
    assert held_out.max() < scores[unknown].min()


def test_images_of_one_unit_are_held_out_together(monkeypatch):
    """A feature of each image is the number of its unit."""
    units, seen = np.arange(60) // 3, []

    def spy(labeled, labels, reference, seed):
        held_out = reference[:-10]
        seen.append(len(held_out))
        assert not set(labeled[:, 0]) & set(held_out[:, 0])
        return lambda features, places: np.zeros(len(features), np.float32)

    monkeypatch.setattr(unknown_images, "fit_detector", spy)
    features = units[:, None].astype(np.float32)
    rng = np.random.default_rng(5)
    held_out_scores(features, units % 4, np.full((10, 1), -1.0, np.float32), folds=5, rng=rng, units=units)
    assert seen == [12] * 5


@pytest.mark.parametrize(("images", "false_alarms", "place"), [(19, 0.05, 19), (20, 0.05, 20), (99, 0.1, 90)])
def test_the_threshold_lies_above_the_order_statistic_of_split_conformal_prediction(images, false_alarms, place):
    scores = np.random.default_rng(3).permutation(np.arange(images, dtype=np.float32))
    assert threshold_of(scores, false_alarms) == np.nextafter(np.float32(place - 1), np.float32(np.inf))


def test_with_too_few_held_out_images_nothing_is_called_unknown():
    assert threshold_of(np.zeros(18), 0.05) == np.inf
    assert share_at_least(50, 100, 18, 0.05) == 0


def test_the_least_share_of_unknown_images_is_never_above_the_truth_more_often_than_it_says():
    rng, wrong, runs, share = np.random.default_rng(4), 0, 400, 0.1
    for _ in range(runs):
        threshold = threshold_of(rng.random(100).astype(np.float32), 0.05)
        flagged = (rng.random(900) >= threshold).sum() + 100  # all of the unknown are found: the least room there is
        wrong += share_at_least(int(flagged), 1000, 100, 0.05) > share
    assert wrong <= binom.ppf(0.999, runs, 0.05)
    least = share_at_least(100, 1000, 99, 0.05)
    rate = beta.ppf(0.975, 5, 95)
    assert least == pytest.approx(max(0, (beta.ppf(0.025, 100, 901) - rate) / (1 - rate)))


def test_the_distance_is_the_mean_of_one_minus_cosine_to_the_nearest():
    rng = np.random.default_rng(5)
    points, labeled = unit_length(rng.normal(size=(9, 4))), unit_length(rng.normal(size=(7, 4)))
    expected = np.sort(1 - points @ labeled.T, axis=1)[:, :NEAREST].mean(axis=1)
    np.testing.assert_allclose(distance_to_nearest(points, labeled), expected, atol=1e-6)


def test_whitening_makes_all_directions_within_the_classes_alike_but_for_what_is_shrunk():
    rng = np.random.default_rng(6)
    labels = np.repeat(np.arange(3), 400)
    spread = rng.normal(size=(1200, 6)) * np.array([1.0, 0.9, 0.5, 0.3, 0.2, 0.1])
    features = np.square(4 + np.eye(6)[labels * 2] + 0.2 * spread)
    space = fit_space(features, features, labels, 0)
    rooted = unit_length(np.sqrt(features)) - space.mean
    points = rooted @ space.projection
    within = points - np.stack([points[labels == label].mean(axis=0) for label in range(3)])[labels]
    raw = rooted - np.stack([rooted[labels == label].mean(axis=0) for label in range(3)])[labels]
    kept = np.linalg.eigvalsh(np.cov(raw.T, bias=True))
    found = np.linalg.eigvalsh(np.cov(within.T, bias=True))
    shrunk = np.sort(kept / (0.5 * kept + 0.5 * kept.sum() / len(kept)))
    np.testing.assert_allclose(found[-len(kept) + 1 :], shrunk[-len(kept) + 1 :], rtol=0.02)


def test_one_label_a_class_is_no_reason_to_fail():
    rng = np.random.default_rng(7)
    labeled, labels, pool, unknown, _ = world(rng, each=1)
    scores = fit_detector(labeled, labels, pool, 0)(pool, np.arange(len(pool)))
    assert np.isfinite(scores).all()
    assert scores[unknown].mean() > scores[~unknown].mean()
