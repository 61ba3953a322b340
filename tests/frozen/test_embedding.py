"""The embedding is a root, a principal component analysis and a length of 1, however it is read."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from semisup.data.rows import Rows
from semisup.frozen import embedding
from semisup.frozen.embedding import embed, fit_embedding, rooted


def features(rows: int = 60, width: int = 20) -> Tensor:
    return torch.rand(rows, width, generator=torch.Generator().manual_seed(0)) ** 3


def test_rooting_keeps_signs_and_gives_rows_of_length_one():
    table = features() - 0.2
    seen = rooted(table)
    torch.testing.assert_close(seen.norm(dim=1), torch.ones(len(table)))
    assert torch.equal(seen.sign(), table.sign())
    first = table[0].numpy()
    expected = np.sign(first) * np.sqrt(np.abs(first))
    np.testing.assert_allclose(seen[0], expected / np.linalg.norm(expected), rtol=1e-5)


@pytest.mark.parametrize("rows", [60, 20, 19, 8], ids="{} rows of 20 features".format)
def test_components_are_those_of_an_independent_analysis_but_for_their_signs(rows):
    table = features(rows)
    fitted, theirs = fit_embedding(table, 5), PCA(5, svd_solver="full").fit(rooted(table).double().numpy())
    cosines = np.abs((fitted.components.T.double().numpy() * theirs.components_).sum(axis=1))
    np.testing.assert_allclose(cosines, 1, atol=1e-4)
    np.testing.assert_allclose(fitted.mean, theirs.mean_, atol=1e-6)


def test_points_have_length_one_and_their_cosines_are_those_of_the_projected_features():
    table = features()
    points = embed(fit_embedding(table, 5), table)
    theirs = PCA(5, svd_solver="full").fit_transform(rooted(table).double().numpy())
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(points @ points.T, theirs @ theirs.T, atol=1e-4)


@pytest.mark.parametrize("rows", [60, 12, 3, 1])
def test_components_are_orthonormal_also_where_rows_are_copies_of_one_another(rows):
    table = features(1).repeat(rows, 1)
    components = fit_embedding(table, 5).components
    torch.testing.assert_close(components.T @ components, torch.eye(components.shape[1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("rows", "width", "kept"), [(60, 20, 20), (10, 20, 9), (2, 20, 1), (1, 20, 1)])
def test_there_are_no_more_numbers_than_the_rows_can_tell_apart(rows, width, kept):
    assert fit_embedding(features(rows, width)).components.shape == (width, kept)


def test_a_table_that_is_read_part_by_part_gives_the_same_embedding(monkeypatch):
    table, chosen = features(), torch.arange(59, -1, -2)
    whole = fit_embedding(table[chosen], 5)
    monkeypatch.setattr(embedding, "ROWS_AT_A_TIME", 7)
    parts = fit_embedding(Rows(table, chosen), 5)
    torch.testing.assert_close(parts.mean, whole.mean)
    torch.testing.assert_close(
        embed(parts, Rows(table, chosen)) @ embed(parts, table).T,
        whole(table[chosen]) @ whole(table).T,
        atol=1e-4,
        rtol=0,
    )
