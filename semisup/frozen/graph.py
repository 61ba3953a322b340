"""Label propagation on the graph of nearest neighbors: a labeled image speaks for those that look like it.

Source: Zhou et al. 2004 (Learning with local and global consistency), section 2; the graph on features of a network
after Iscen et al. 2019 (arXiv 1904.04717), section 4.2.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from scipy.sparse import csr_array

EXACT = 50_000
"""Images up to which every pair is compared: 50,000 take some ten CPU seconds, and the time grows with the square."""
NEIGHBORS = 7
SPREAD = 0.85
"""α: the share of what an image is told by its neighbors, in each step."""
POWER = 3
"""On a cosine: near neighbors count for more."""
QUERIES_AT_A_TIME = 1024
TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Graph:
    """Who is like whom, among N images.

    Attributes:
        weights: float32 (N, N), sparse, symmetric, no image with itself: D^-½ W D^-½. An image that is like no other
            has a row of zeros.
    """

    weights: "csr_array"

    def __len__(self) -> int:
        return int(self.weights.shape[0])


def nearest(points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Cosines, float32 (N, k), and rows, int64 (N, k), of the k nearest others of each of N points of length 1.

    Exact up to EXACT points; beyond that from an inverted-file index of faiss, which finds nearly all of them in memory
    that grows with N alone. k is cut to N − 1. The order of equal cosines is not defined.

    Raises:
        ImportError: there are more points, and faiss is not installed.
    """
    k = min(k, len(points) - 1)
    if k < 1:
        return torch.empty(len(points), 0), torch.empty(len(points), 0, dtype=torch.int64)
    return _compared(points, k) if len(points) <= EXACT else _indexed(points, k)


def _compared(points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    cosines, rows = torch.empty(len(points), k), torch.empty(len(points), k, dtype=torch.int64)
    for start in range(0, len(points), QUERIES_AT_A_TIME):
        asked = slice(start, min(start + QUERIES_AT_A_TIME, len(points)))
        table = points[asked] @ points.T
        # By row, not by value: an exact copy is as near as the image itself.
        table[torch.arange(len(table)), torch.arange(asked.start, asked.stop)] = -torch.inf
        cosines[asked], rows[asked] = table.topk(k, dim=1)
    return cosines, rows


def _indexed(points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    import faiss  # only here: few have so many images

    faiss.omp_set_num_threads(torch.get_num_threads())
    table = np.ascontiguousarray(points.numpy())
    cells = int(4 * len(points) ** 0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(table.shape[1]), table.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = 0
    index.train(table)
    index.add(table)
    index.nprobe = 32
    cosines, rows = index.search(table, k + 1)
    # An image is its own neighbor by its row: among exact copies it need not come first.
    own = rows == np.arange(len(points))[:, None]
    own[~own.any(axis=1), -1] = True
    shape = (len(points), k)
    missing = rows[~own].reshape(shape) < 0  # fewer than k were found in the cells looked at
    found = np.where(missing, 0, cosines[~own].reshape(shape))
    return torch.from_numpy(found), torch.from_numpy(np.where(missing, 0, rows[~own].reshape(shape)))


def neighbor_graph(points: Tensor, k: int = NEIGHBORS) -> Graph:
    """The graph of N points (N, d) of length 1, each with its k nearest: weight max(0, cosine)³, made symmetric."""
    from scipy.sparse import csr_array  # a tenth of a second of a command's start

    count = len(points)
    cosines, columns = nearest(points, k)
    values = cosines.clamp(min=0, max=1).pow(POWER).numpy().ravel()
    rows = np.repeat(np.arange(count), cosines.shape[1])
    directed = csr_array((values, (rows, columns.numpy().ravel())), shape=(count, count), dtype=np.float32)
    symmetric = directed + directed.T
    degree = np.asarray(symmetric.sum(axis=1)).ravel()
    scale = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    scaled = symmetric.multiply(scale[:, None]).multiply(scale[None, :])
    return Graph(csr_array(scaled, dtype=np.float32))


def propagate(graph: Graph, seeds: NDArray[np.float32], spread: float = SPREAD) -> NDArray[np.float32]:
    """Scores float32 (N, C), none negative: F = αWF + Y, at its fixed point.

    `seeds` (N, C) is Y: the one-hot label of a labeled image, zeros for an unlabeled one. An image that no labeled
    one is connected with has a row of zeros.
    """
    scores = seeds.astype(np.float32, copy=True)
    # W's eigenvalues are at most 1 in size, so the error shrinks by α or more a step.
    for _ in range(int(np.ceil(np.log(TOLERANCE) / np.log(spread)))):
        scores = spread * (graph.weights @ scores) + seeds
    return scores


def extend(points: Tensor, scores: Tensor, queries: Tensor, k: int = NEIGHBORS) -> Tensor:
    """Scores (Q, C) of queries (Q, d) that the graph of N points (N, d) with scores (N, C) does not hold.

    The mean of those of its k nearest points, weighted as edges are: max(0, cosine)³. A query with no point in its
    half of the sphere has a row of zeros. All are of length 1.

    Source: Delalleau et al. 2005 (Efficient non-parametric function induction in semi-supervised learning), equation 7.
    """
    told = torch.empty(len(queries), scores.shape[1], dtype=scores.dtype)
    for start in range(0, len(queries), QUERIES_AT_A_TIME):
        cosines, rows = (queries[start : start + QUERIES_AT_A_TIME] @ points.T).topk(min(k, len(points)), dim=1)
        weights = cosines.clamp(min=0, max=1).pow(POWER).to(scores.dtype)
        total = weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)
        told[start : start + len(rows)] = ((weights / total)[..., None] * scores[rows]).sum(dim=1)
    return told


def shares(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores (N, C) as probabilities that sum to 1; of an image that nothing is known of, all classes alike."""
    total = scores.sum(axis=1, keepdims=True)
    alike = np.full_like(scores, 1 / scores.shape[1])
    probabilities: NDArray[np.float32] = np.divide(scores, total, out=alike, where=total > 0)
    return probabilities
