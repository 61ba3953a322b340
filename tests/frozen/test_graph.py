"""Label propagation: its fixed point, its neighbors, and what it says of images that nobody is like."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from sklearn.semi_supervised import LabelSpreading
from torch import Tensor
from torch.nn import functional as F

from semisup.frozen import graph
from semisup.frozen.graph import POWER, SPREAD, nearest, neighbor_graph, propagate, shares


def points(count: int = 80, width: int = 6, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)))


def seeds(count: int, labels: dict[int, int], classes: int = 3) -> np.ndarray:
    table = np.zeros((count, classes), dtype=np.float32)
    table[list(labels), list(labels.values())] = 1
    return table


def their_weights(table: Tensor, k: int) -> np.ndarray:
    """max(0, cosine)³ to the k nearest others, made symmetric, from scikit-learn's neighbors."""
    cosines = (table @ table.T).double().numpy()
    rows = NearestNeighbors(n_neighbors=k, metric="cosine").fit(table).kneighbors(return_distance=False)
    weights = np.zeros_like(cosines)
    for row, others in enumerate(rows):
        weights[row, others] = np.clip(cosines[row, others], 0, 1) ** POWER
    return weights + weights.T


def test_the_graph_is_the_symmetric_normalized_one_of_the_nearest_neighbors():
    table, k = points(), 5
    weights = their_weights(table, k)
    scale = 1 / np.sqrt(weights.sum(axis=1))
    np.testing.assert_allclose(neighbor_graph(table, k).weights.toarray(), scale[:, None] * weights * scale, atol=1e-6)


def test_scores_solve_the_linear_system_of_the_fixed_point():
    made, labels = neighbor_graph(points()), seeds(80, {0: 0, 1: 1, 2: 2, 3: 0})
    expected = np.linalg.solve(np.eye(80) - SPREAD * made.weights.toarray(), labels)
    np.testing.assert_allclose(propagate(made, labels), expected, atol=1e-5)


def test_probabilities_are_those_of_scikit_learns_label_spreading_on_the_same_affinity():
    table, known = points(), {0: 0, 1: 1, 2: 2, 3: 0, 4: 2}
    targets = np.full(80, -1)
    targets[list(known)] = list(known.values())
    theirs = LabelSpreading(kernel=lambda x, _: their_weights(torch.from_numpy(x).float(), 5), alpha=SPREAD)
    theirs.set_params(max_iter=1000, tol=1e-9).fit(table.numpy(), targets)
    ours = shares(propagate(neighbor_graph(table, 5), seeds(80, known)))
    np.testing.assert_allclose(ours, theirs.label_distributions_, atol=1e-5)


def test_an_image_is_never_its_own_neighbor_even_among_exact_copies():
    table = points(20)[torch.zeros(20, dtype=torch.int64)]
    cosines, rows = nearest(table, 5)
    assert not (rows == torch.arange(20)[:, None]).any()
    torch.testing.assert_close(cosines, torch.ones(20, 5))


def test_there_are_no_more_neighbors_than_other_images():
    assert nearest(points(4), 7)[1].shape == (4, 3)
    assert nearest(points(1), 7)[1].shape == (1, 0)
    assert shares(propagate(neighbor_graph(points(1)), seeds(1, {}))).tolist() == [pytest.approx([1 / 3] * 3)]


def test_of_an_image_that_no_labeled_one_is_connected_with_all_classes_are_alike():
    islands = torch.cat(
        [points(10) * torch.tensor([1.0] * 3 + [0.0] * 3), points(10) * torch.tensor([0.0] * 3 + [1.0] * 3)]
    )
    made = neighbor_graph(F.normalize(islands), 3)
    said = shares(propagate(made, seeds(20, {0: 0, 1: 1})))
    np.testing.assert_allclose(said[10:], 1 / 3)
    np.testing.assert_allclose(said.sum(axis=1), 1, rtol=1e-5)


def test_the_index_for_many_images_finds_nearly_all_neighbors_and_no_image_itself(monkeypatch):
    table = points(3000, 16)
    exact = nearest(table, 7)[1]
    monkeypatch.setattr(graph, "EXACT", 100)
    cosines, found = nearest(table, 7)
    assert not (found == torch.arange(3000)[:, None]).any()
    shared = [len(set(a) & set(b)) / 7 for a, b in zip(exact.tolist(), found.tolist(), strict=True)]
    assert np.mean(shared) > 0.9
    torch.testing.assert_close(cosines, (table[found] * table[:, None]).sum(dim=2), atol=1e-5, rtol=0)


def test_a_place_for_which_the_index_finds_no_neighbor_has_no_weight_and_tells_nothing(monkeypatch):
    """Of 100 images in 40 cells 32 are looked at, so that fewer than 90 neighbors are found."""
    table, k = points(100), 90
    monkeypatch.setattr(graph, "EXACT", 10)
    cosines, rows = nearest(table, k)
    missing = cosines == 0
    assert missing.any()
    assert not missing.all(dim=1).any()
    weights = np.zeros((100, 100))
    for row, (others, unfound) in enumerate(zip(rows, missing, strict=True)):
        near = others[~unfound]
        weights[row, near] = (table[near] @ table[row]).clamp(0, 1) ** POWER
    weights += weights.T
    scale = 1 / np.sqrt(weights.sum(axis=1))
    made = neighbor_graph(table, k)
    np.testing.assert_allclose(made.weights.toarray(), scale[:, None] * weights * scale, atol=1e-6)
    said = shares(propagate(made, seeds(100, {0: 0, 1: 1, 99: 2})))
    assert np.isfinite(said).all()
    np.testing.assert_allclose(said.sum(axis=1), 1, rtol=1e-5)
