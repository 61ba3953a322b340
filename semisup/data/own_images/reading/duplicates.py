"""Which images show the same picture: found by a perceptual hash, confirmed by the pixels.

The hash of an image is the signs of the 64 lowest frequencies but the mean of its 32×32 gray version (Zauner 2010, the
"pHash"). Images whose hashes differ in at most MOST_BITS bits are candidates; they are copies where their pixels are as
good as equal, too, and where this sets them apart: of ones in MNIST or of blank forms any two look so, and a likeness
to many others that are no copies proves nothing. What was moved, zoomed or partly covered has another hash, and is
found by laying one picture onto the other (`alignment`).
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from semisup.data.own_images.reading.alignment import MOST_IMAGES, aligned_pairs
from semisup.data.rows import gather

RULE = 2
"""Raised when `find_groups` finds others in the same images."""
SIDE, FREQUENCIES = 32, 8
BANDS, BITS_PER_BAND = 4, 16
MOST_BITS = 7
"""Of 64. With four bands of 16 bits, of two such hashes one band differs by one bit at most, so that none is missed."""
LEAST_CORRELATION = 0.95
"""Of all pixels of two copies at 32×32, over all channels together. Between a small photo and its JPEG of quality 50 it
is lower in few of 100."""
SURELY = 0.9995
"""From this correlation on, no likeness to others speaks against it."""
MOST_LOOKALIKES = 2
"""An image with more candidates than so many that are no copies of it has no copies but sure ones."""
SMALLEST_SIDE = 16
"""Of images; smaller ones show too little to be told apart: only sure copies count, and none that are moved."""
LEAST_DEVIATION = 4.0
"""Of an image's pixels, on the 0..255 scale: of blank pages, all are alike."""
MOST_PER_BUCKET = 64
"""An image is compared with so many others of (nearly) the same hash band, the next ones in order of their hashes."""
CHUNK = 4096


def find_groups(
    parts: Sequence[Tensor],
    contents: Sequence[str],
    *,
    moved: bool = True,
    say: Callable[[int, int], None] = lambda done, total: None,
) -> NDArray[np.int64]:
    """The number (N,) of the group of copies that each image is in; one that is alone has a number of its own.

    `parts` are uint8 images (n, C, H, W), of which all together are N; `contents` (N,) are hashes of their files: files
    with the same bytes are copies whatever they show. Copies of copies are in one group. Pictures that were moved,
    stretched or partly covered are found unless `moved` is false; that takes longest, and `say` is told how many images
    have been compared so. The order of the images decides nothing.
    """
    large = min(parts[0].shape[2:]) >= SMALLEST_SIDE
    few = sum(len(part) for part in parts) <= MOST_IMAGES
    hashes, contrast, small = _hashes(parts, keep=moved and large and few)
    busy = np.flatnonzero(contrast >= LEAST_DEVIATION)
    first, second = (busy[rows] for rows in _candidates(hashes[busy]))
    correlation = _correlation(parts, first, second)
    alike = correlation >= (LEAST_CORRELATION if large else SURELY)
    lookalikes = np.bincount(np.r_[first[~alike], second[~alike]], minlength=len(hashes))
    apart = (lookalikes[first] <= MOST_LOOKALIKES) & (lookalikes[second] <= MOST_LOOKALIKES)
    same = (alike & apart) | (correlation >= SURELY)
    codes = np.unique(np.asarray(contents, dtype=str), return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    equal = np.flatnonzero(codes[order][1:] == codes[order][:-1])
    ones, others = np.r_[first[same], order[equal]], np.r_[second[same], order[equal + 1]]
    groups = _connected(ones, others, len(hashes))
    if not len(small):
        return groups
    # One of each group, in the order of contents: many copies of a picture are no crowd that it is lost in.
    heads = order[np.sort(np.unique(groups[order], return_index=True)[1])]
    still, onto = aligned_pairs(small[torch.from_numpy(heads)], say)
    return _connected(np.r_[ones, heads[still]], np.r_[others, heads[onto]], len(hashes))


def _connected(ones: NDArray[np.int64], others: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The number (N,) of each image's group, of pairs that belong together."""
    from scipy.sparse import coo_array  # with its graphs, and fft below, a sixth of a second of a command's start
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(ones), dtype=bool), (ones, others)), shape=(count, count))
    groups: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return groups


def perceptual_hashes(parts: Sequence[Tensor]) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    """The hash (N,) of each image, and the standard deviation (N,) of its 32×32 gray pixels on the 0..255 scale."""
    hashes, deviations, _ = _hashes(parts, keep=False)
    return hashes, deviations


def _hashes(parts: Sequence[Tensor], *, keep: bool) -> tuple[NDArray[np.uint64], NDArray[np.float64], Tensor]:
    """Hashes and deviations, and the 32×32 gray pixels themselves, float16 (N, 32, 32), or none, unless to `keep`."""
    from scipy.fft import dct

    hashes, deviations, kept = [], [], [torch.empty(0, SIDE, SIDE, dtype=torch.float16)]
    for images in parts:
        for rows in torch.arange(len(images)).split(CHUNK):
            chunk = gather(images, rows)
            gray = chunk.float().mean(dim=1, keepdim=True)
            pixels = F.interpolate(gray, (SIDE, SIDE), mode="bilinear", antialias=True).squeeze(1)
            if keep:
                kept.append(pixels.half())
            small = pixels.double().numpy()
            waves = dct(dct(small, axis=1, norm="ortho"), axis=2, norm="ortho")[:, :FREQUENCIES, :FREQUENCIES]
            flat = waves.reshape(len(chunk), -1)
            flat[:, 0] = 0  # the mean: brightness is no content
            bits = flat > np.median(flat[:, 1:], axis=1, keepdims=True)
            hashes.append(np.packbits(bits, axis=1).view(np.uint64)[:, 0])
            deviations.append(small.std(axis=(1, 2)))
    return np.concatenate(hashes), np.concatenate(deviations), torch.cat(kept)


def _candidates(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (P,), (P,) of rows whose hashes differ in at most MOST_BITS bits."""
    pairs = [pair for keys in _keys(hashes) for pair in _near(hashes, *keys)]
    if not pairs:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    unique = np.unique(np.concatenate(pairs), axis=0)
    return unique[:, 0], unique[:, 1]


def _keys(hashes: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint16]]]:
    """(rows, keys): rows with the same key may be near each other, and of every near pair some key is the same.

    A key is a band with one of its bits blotted out, or none: bands that differ in one bit then have one in common.
    """
    for band in hashes.view(np.uint16).reshape(len(hashes), BANDS).T:
        rows = np.arange(len(hashes))
        for bit in range(BITS_PER_BAND):
            yield rows, band & np.uint16(0xFFFF ^ (1 << bit))


def _near(hashes: NDArray[np.uint64], rows: NDArray[np.int64], keys: NDArray[np.uint16]) -> Iterator[NDArray[np.int64]]:
    """Pairs (P, 2) of rows with the same key and near hashes, the smaller row first."""
    order = np.lexsort((hashes[rows], keys))
    rows, keys = rows[order], keys[order]
    for step in range(1, min(MOST_PER_BUCKET, len(rows) - 1) + 1):
        same = np.flatnonzero(keys[step:] == keys[:-step])
        if not len(same):
            return
        one, other = rows[same], rows[same + step]
        near = np.bitwise_count(hashes[one] ^ hashes[other]) <= MOST_BITS
        if near.any():
            yield np.sort(np.stack([one[near], other[near]], axis=1), axis=1)


def _correlation(parts: Sequence[Tensor], first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of the pixels of the pairs (P,) of rows, over all channels, at 32×32 or as small as they are."""
    found = np.zeros(len(first))
    for start in range(0, len(first), CHUNK):
        pair = slice(start, start + CHUNK)
        one, other = (_centered(_gather(parts, rows[pair])) for rows in (first, second))
        product = (one * other).sum(dim=1) / (one.norm(dim=1) * other.norm(dim=1)).clamp(min=1e-6)
        found[pair] = product.numpy()
    return found


def _gather(parts: Sequence[Tensor], rows: NDArray[np.int64]) -> Tensor:
    """Images at rows of all parts together, small, float32 (n, C, h, w)."""
    offsets = np.cumsum([0, *(len(part) for part in parts)])
    _, channels, height, width = parts[0].shape
    images = torch.empty((len(rows), channels, height, width), dtype=torch.uint8)
    for part, low, high in zip(parts, offsets[:-1], offsets[1:], strict=True):
        inside = np.flatnonzero((rows >= low) & (rows < high))
        if len(inside):
            images[inside] = gather(part, torch.from_numpy(rows[inside] - low))
    return F.interpolate(images.float(), (min(height, SIDE), min(width, SIDE)), mode="area")


def _centered(images: Tensor) -> Tensor:
    flat = images.flatten(1)
    return flat - flat.mean(dim=1, keepdim=True)
