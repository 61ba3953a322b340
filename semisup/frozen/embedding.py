"""Features of a frozen network → few, comparable numbers: what the graph and the probe look at."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

DIMENSIONS = 128
ROWS_AT_A_TIME = 16_384
"""Of features that are looked at together: a table of millions lies on disk."""


class Table(Protocol):
    """Feature rows (N, D): a tensor, or some rows of one that lies on disk (`semisup.data.rows.Rows`)."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, index: slice, /) -> Tensor:
        """The rows in a slice."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """Square roots of the features, scaled to length 1; their first principal components, scaled to length 1.

    The root evens out the few large features that would decide every cosine (the "power normalization" of Perronnin et
    al. 2010, section 3.1); signed, for networks whose features can be negative.

    Attributes:
        mean: float32 (D,), of the rooted features.
        components: float32 (D, d), orthonormal columns.
    """

    mean: Tensor
    components: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """float32 (N, D) → float32 (N, d), rows of length 1."""
        return F.normalize((rooted(features) - self.mean) @ self.components)


def rooted(features: Tensor) -> Tensor:
    """The signed square roots of features (N, D), rows scaled to length 1."""
    features = features.float()
    return F.normalize(features.sign() * features.abs().sqrt())


def fit_embedding(features: Table, dimensions: int = DIMENSIONS) -> Embedding:
    """The embedding whose mean and components are those of features (N, D), N at least 1, read a part at a time.

    It has `dimensions` numbers, or as many as N rows of D features can tell apart: min(D, N − 1), but at least one.
    """
    width = features[:1].shape[1]
    kept = max(min(dimensions, width, len(features) - 1), 1)
    mean, components = (_of_few if len(features) < width else _of_many)(features, kept)
    return Embedding(mean.float(), components.float().contiguous())


def _of_many(features: Table, kept: int) -> tuple[Tensor, Tensor]:
    """Mean (D,) and components (D, kept), float64, from the covariance (D, D) of the rooted features."""
    width = features[:1].shape[1]
    total, products = torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
    for start in range(0, len(features), ROWS_AT_A_TIME):
        rows = rooted(features[start : start + ROWS_AT_A_TIME])
        total += rows.sum(dim=0, dtype=torch.float64)
        products += (rows.T @ rows).double()
    mean = total / len(features)
    covariance = products / len(features) - torch.outer(mean, mean)
    return mean, _largest(covariance, kept)


def _of_few(features: Table, kept: int) -> tuple[Tensor, Tensor]:
    """The same from the products of N < D rows with one another, (N, N): a fifth of the time for 1,200 of 2,560."""
    rows = torch.cat(
        [rooted(features[start : start + ROWS_AT_A_TIME]) for start in range(0, len(features), ROWS_AT_A_TIME)]
    ).double()
    mean = rows.mean(dim=0)
    rows -= mean
    # The rows turned by the products' eigenvectors are the components, each as long as the rows vary along it. Where
    # they do not vary at all, QR finds some direction.
    return mean, torch.linalg.qr(rows.T @ _largest(rows @ rows.T, kept)).Q


def _largest(products: Tensor, count: int) -> Tensor:
    """The eigenvectors (M, count) of a symmetric matrix (M, M) that belong to its largest eigenvalues, those first."""
    vectors: Tensor = torch.linalg.eigh(products).eigenvectors.flip(1)[:, :count]  # eigh sorts from the smallest on
    return vectors


def embed(embedding: Embedding, features: Table) -> Tensor:
    """float32 (N, d) of features (N, D), read a part at a time."""
    parts = [embedding(features[start : start + ROWS_AT_A_TIME]) for start in range(0, len(features), ROWS_AT_A_TIME)]
    return torch.cat(parts) if parts else torch.empty(0, embedding.components.shape[1])
