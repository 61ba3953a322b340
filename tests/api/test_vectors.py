"""The geometry that a graph of vectors rests on, and what is chosen by labels that are held out."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

import semisup as ss
from semisup.api.learning.vectors import View, standardized
from semisup.frozen.graph import POWER, extend


@pytest.fixture(scope="module")
def some():
    return torch.from_numpy(np.random.default_rng(1).normal(size=(30, 5)))


def test_lifted_points_lie_on_the_sphere_and_their_cosines_are_distances(some):
    points = View(torch.zeros(5).double(), torch.full((5,), 0.5).double(), lifted=True).points(some)
    z = 0.5 * some
    squared = z.square().sum(dim=1)
    distances = (z[:, None] - z[None]).square().sum(dim=2)
    expected = 1 - 2 * distances / ((1 + squared[:, None]) * (1 + squared[None]))
    assert torch.allclose(points.norm(dim=1), torch.ones(30).double())
    assert torch.allclose(points @ points.T, expected)


def test_standardized_columns_have_mean_zero_and_rows_mean_square_one(some):
    weights = torch.rand(30, generator=torch.Generator().manual_seed(0)).double() + 0.1
    z = standardized(some * torch.tensor([1, 10, 100, 1000, 0]) + 7, weights)(
        some * torch.tensor([1, 10, 100, 1000, 0]) + 7
    )
    shares = weights / weights.sum()
    assert torch.allclose(shares @ z, torch.zeros(5).double(), atol=1e-12)
    assert torch.allclose(shares @ z.square(), torch.tensor([0.25] * 4 + [0.0]).double())  # the constant one is out


def test_weights_of_a_view_are_repetitions(some):
    times = torch.arange(30) % 3 + 1
    weighted, repeated = (
        standardized(some, times.double()),
        standardized(some.repeat_interleave(times, 0), torch.ones(60)),
    )
    assert torch.allclose(weighted.shift, repeated.shift)
    assert torch.allclose(weighted.scale, repeated.scale)


def test_a_new_point_gets_the_weighted_mean_of_its_neighbors(some):
    points = torch.nn.functional.normalize(some)
    queries = torch.nn.functional.normalize(some[:7] + 0.3)
    scores = torch.rand(30, 3, generator=torch.Generator().manual_seed(0)).double()
    near = NearestNeighbors(n_neighbors=4, metric="cosine").fit(points.numpy())
    distances, rows = near.kneighbors(queries.numpy())
    weights = np.clip(1 - distances, 0, 1) ** POWER
    expected = (weights[..., None] * scores.numpy()[rows]).sum(axis=1) / weights.sum(axis=1, keepdims=True)
    assert np.allclose(extend(points, scores, queries, 4).numpy(), expected)


def test_a_point_unlike_all_others_is_of_no_class():
    points, scores = torch.tensor([[1.0, 0.0], [0.8, 0.6]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert extend(points, scores, torch.tensor([[-1.0, 0.0]])).tolist() == [[0.0, 0.0]]


def test_where_all_rows_have_a_label_the_regression_is_scikit_learns(digits):
    fitted = ss.PseudoLabelClassifier(random_state=0).fit(digits.vectors, digits.truth)
    (way,) = fitted.history_
    assert (way["way"], fitted.termination_condition_) == ("baseline", "no_unlabeled")
    view, probe = fitted._model.view, fitted._model.probe
    z = view(torch.from_numpy(digits.vectors)).numpy()
    tried = [
        LogisticRegression(C=strength, solver="newton-cg", tol=1e-8, max_iter=1000).fit(z, digits.truth)
        for strength in (0.3, 1.0, 3.0, 10.0, 30.0)
    ]
    gaps = [np.abs(model.predict_proba(z) - fitted.predict_proba(digits.vectors)).max() for model in tried]
    assert min(gaps) < 1e-4, probe.weight.shape


def test_the_way_with_the_most_held_out_labels_right_is_kept(digits):
    fitted = ss.PseudoLabelClassifier(random_state=0).fit(digits.vectors, digits.partly)
    ways = {(way["way"], way["view"]) for way in fitted.history_}
    views = ("standardized", "distances", "directions")
    assert ways >= {("baseline", "standardized"), *(("graph", view) for view in views)}
    best = max(way["held_out_accuracy"] for way in fitted.history_)
    (kept,) = [way for way in fitted.history_ if way["kept"]]
    assert kept["held_out_accuracy"] == best
    alike = [way for way in fitted.history_ if way["held_out_accuracy"] == best]
    assert kept["held_out_log_loss"] == min(way["held_out_log_loss"] for way in alike)


@pytest.mark.parametrize("labels", [["a", "", "", "b"], ["a", "", "", "a"]])
def test_a_handful_of_labels_is_enough(labels):
    vectors = np.array([[0.0], [0.1], [0.9], [1.0]])
    fitted = ss.PseudoLabelClassifier(random_state=0).fit(vectors, labels)
    assert fitted.predict(vectors).tolist() == ["a", "a", labels[-1], labels[-1]]
    assert np.allclose(fitted.predict_proba(vectors).sum(axis=1), 1)
