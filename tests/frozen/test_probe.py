"""The probe is at its optimum: as another solver finds it, with weights that count rows and targets that are shares."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from semisup.frozen import probe
from semisup.frozen.probe import fit_probe

GENERATOR = torch.Generator().manual_seed(0)
POINTS = F.normalize(torch.randn(50, 8, generator=GENERATOR))
LABELS = torch.randint(0, 3, (50,), generator=GENERATOR)
ONE_HOT = F.one_hot(LABELS, 3)


@pytest.mark.parametrize("strength", [0.1, 1.0, 30.0])
def test_probabilities_are_those_of_an_independent_solver_at_its_optimum(strength):
    theirs = LogisticRegression(C=strength, solver="newton-cg", tol=1e-10, max_iter=1000).fit(POINTS, LABELS)
    ours = fit_probe(POINTS, ONE_HOT, torch.ones(50), strength)
    np.testing.assert_allclose(ours(POINTS).softmax(dim=1), theirs.predict_proba(POINTS), atol=2e-4)


def test_it_reaches_the_optimum_where_there_are_more_numbers_than_rows():
    wide = F.normalize(torch.rand(30, 1280, generator=GENERATOR))
    labels = torch.arange(30) % 3
    theirs = LogisticRegression(C=1.0, solver="newton-cg", tol=1e-10, max_iter=1000).fit(wide, labels)
    ours = fit_probe(wide, F.one_hot(labels, 3), torch.ones(30), 1.0)
    np.testing.assert_allclose(ours(wide).softmax(dim=1), theirs.predict_proba(wide), atol=2e-4)


def test_a_weight_of_two_is_the_row_twice_and_one_of_zero_is_no_row():
    weights = torch.ones(50)
    weights[:10], weights[40:] = 2.0, 0.0
    rows = torch.cat([torch.arange(10), torch.arange(40)])
    twice = fit_probe(POINTS[rows], ONE_HOT[rows], torch.ones(50), 1.0)
    torch.testing.assert_close(fit_probe(POINTS, ONE_HOT, weights, 1.0).weight, twice.weight, atol=2e-3, rtol=0)


def test_a_soft_target_is_the_row_once_with_each_class_and_its_share_as_weight():
    soft = torch.full((50, 3), 0.1) + 0.7 * ONE_HOT
    rows, classes = torch.arange(50).repeat_interleave(3), torch.arange(3).repeat(50)
    apart = fit_probe(POINTS[rows], F.one_hot(classes, 3), soft.flatten(), 1.0)
    torch.testing.assert_close(fit_probe(POINTS, soft, torch.ones(50), 1.0).weight, apart.weight, atol=2e-3, rtol=0)


def test_rows_read_part_by_part_give_the_same_probe(monkeypatch):
    whole = fit_probe(POINTS, ONE_HOT, torch.ones(50), 1.0)
    monkeypatch.setattr(probe, "ROWS_AT_A_TIME", 7)
    parts = fit_probe(POINTS, ONE_HOT, torch.ones(50), 1.0)
    torch.testing.assert_close(parts.weight, whole.weight, atol=1e-4, rtol=0)
