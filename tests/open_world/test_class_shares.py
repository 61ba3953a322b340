"""Class shares of a pool: EM against a direct search, calibration against torch, intervals in simulated worlds."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import norm
from torch.nn import functional as F

from semisup.open_world.shares import (
    BIAS_PRECISION,
    PSEUDO_IMAGES,
    SCALE_PRECISION,
    Shares,
    em_shares,
    estimate_shares,
    fit_biases,
)

UNIFORM = np.full(3, 1 / 3)
CENTERS = np.array([-1.5, 0.0, 2.0])


def drawn(shares, count, rng):
    """(labels, densities (count, 3)) of images that are points of three normal classes."""
    labels = rng.choice(3, count, p=shares)
    points = rng.normal(CENTERS[labels])
    return labels, norm.pdf(points[:, None], CENTERS)


def posteriors(densities, shares):
    weighted = densities * shares
    return weighted / weighted.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("truth", [[0.1, 0.2, 0.7], [1 / 3, 1 / 3, 1 / 3], [0.0, 0.5, 0.5]])
def test_em_finds_the_likeliest_shares_with_an_image_more_of_each_class(truth):
    _, densities = drawn(truth, 2_000, np.random.default_rng(0))
    found = em_shares(posteriors(densities, UNIFORM), UNIFORM)

    def loss(free):
        logarithms = free - np.logaddexp.reduce(free)
        return -np.log(densities @ np.exp(logarithms)).sum() - PSEUDO_IMAGES * logarithms.sum()

    best = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-8, "maxiter": 5_000}).x
    np.testing.assert_allclose(found, np.exp(best - np.logaddexp.reduce(best)), atol=2e-3)
    np.testing.assert_allclose(found, truth, atol=0.05)


def test_probabilities_that_are_right_under_other_shares_lead_to_the_same_estimate():
    _, densities = drawn([0.1, 0.2, 0.7], 2_000, np.random.default_rng(1))
    tail = np.array([0.9, 0.09, 0.01])
    one, other = (em_shares(posteriors(densities, shares), shares) for shares in (UNIFORM, tail))
    np.testing.assert_allclose(one, other, atol=1e-3)


def test_scale_and_biases_are_those_of_torchs_solver():
    rng = np.random.default_rng(2)
    labels, densities = drawn([0.5, 0.3, 0.2], 80, rng)
    logarithms = 3 * np.log(posteriors(densities, [0.9, 0.09, 0.01]))  # too sure, and of a long tail
    values = torch.zeros(4, dtype=torch.double, requires_grad=True)
    solver = torch.optim.LBFGS([values], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def cost():
        solver.zero_grad()
        logits = torch.from_numpy(logarithms) * values[0].exp() + values[1:]
        loss = F.cross_entropy(logits, torch.from_numpy(labels), reduction="sum")
        loss = loss + (SCALE_PRECISION * values[0] ** 2 + BIAS_PRECISION * values[1:].square().sum()) / 2
        loss.backward()
        return loss

    solver.step(cost)
    scale, biases = fit_biases(logarithms, labels)
    assert scale == pytest.approx(float(values.detach()[0].exp()), rel=1e-3)
    np.testing.assert_allclose(biases, values[1:].detach(), atol=5e-3)
    assert scale < 0.6
    assert biases[0] < biases[1] < biases[2], "what the tail made too likely is taken back"


@pytest.mark.parametrize("truth", [[0.05, 0.15, 0.8], [0.8, 0.15, 0.05]])
def test_most_intervals_hold_the_truth_though_classifier_and_held_out_images_have_other_shares(truth):
    inside = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        labels, held_out = drawn(UNIFORM, 90, rng)
        _, pool = drawn(truth, 400, rng)
        said = [2 * np.log(posteriors(table, [0.7, 0.2, 0.1])) for table in (held_out, pool)]
        found = estimate_shares(said[0], labels, said[1], rng)
        assert found.estimate.sum() == pytest.approx(1)
        assert (found.low <= found.estimate).all()
        assert (found.estimate <= found.high).all()
        inside += list((found.low <= truth) & (truth <= found.high))
    assert np.mean(inside) >= 0.88  # where classifier and model of the world agree; of real images it is less


def test_a_class_that_the_classifier_never_predicts_is_not_ruled_out():
    rng = np.random.default_rng(4)
    labels, held_out = drawn(UNIFORM, 60, rng)
    _, pool = drawn(UNIFORM, 400, rng)
    said = [posteriors(table, UNIFORM) * [1e-9, 1, 1] for table in (held_out, pool)]
    said = [np.log(table / table.sum(axis=1, keepdims=True)) for table in said]
    said[1][:, 0] = -60.0  # on the pool it is even surer
    found = estimate_shares(said[0], labels, said[1], rng)
    assert found.high[0] >= found.estimate[0] == pytest.approx(1 / 403, rel=1e-4)
    assert found.low[0] == pytest.approx(0, abs=1e-6)


def test_a_class_without_a_held_out_image_can_still_be_in_the_pool():
    rng = np.random.default_rng(3)
    labels, held_out = drawn([0.5, 0.5, 0.0], 60, rng)
    _, pool = drawn([0.2, 0.2, 0.6], 400, rng)
    said = [np.log(posteriors(table, UNIFORM)) for table in (held_out, pool)]
    assert estimate_shares(said[0], labels, said[1], rng).estimate[2] > 0.4


def test_shares_are_far_where_their_distance_and_an_interval_say_so():
    found = Shares(np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.2, 0.1]), np.array([0.6, 0.4, 0.3]), 90, 400)
    assert found.far_from(np.array([0.05, 0.3, 0.65]), 0.1) == 0  # both are outside, and as far
    assert found.far_from(np.array([0.3, 0.3, 0.4]), 0.25) is None, "a distance of 0.2"
    assert found.far_from(np.array([0.41, 0.39, 0.2]), 0.01) is None, "within the intervals"
    assert found.shown(0) == "50.0% (40.0% to 60.0%)"


@pytest.mark.parametrize(("held_out", "pool"), [(0, 5), (5, 0)])
def test_without_images_there_is_no_estimate(held_out, pool):
    said = [np.zeros((count, 3)) for count in (held_out, pool)]
    with pytest.raises(ValueError, match=f"{held_out} held-out images and {pool} of the pool"):
        estimate_shares(said[0], np.zeros(held_out, dtype=int), said[1], np.random.default_rng(0))
