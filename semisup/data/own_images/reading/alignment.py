"""Which images show the same picture once one is moved and stretched onto the other: panned, zoomed, partly covered.

All is done on gray pictures of 32×32. Candidates are pairs whose edges run alike in 4×4 cells (histograms of oriented
gradients, Dalal & Triggs 2005) and whose fields of edges correlate somewhere within six pixels (by their spectra). One
picture is then fitted onto the other by moving and stretching it (Lucas & Kanade 1981, weighted so that what is covered
counts little).

They are copies where they agree on more than chance or a common kind of subject explains. The agreement is counted in
bits, −½ log₂(1 − ρ²) for each pixel, of which ρ is the correlation of the gradients around it. What is fainter than an
image's noise counts nothing, so that two digits, logos or blank pages cannot agree on much. Whether a pair is a copy
depends on the two images alone, not on how many others there are, unless many of them are like these two.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

SIDE = 32
MOST_IMAGES = 100_000
"""The time grows with the square of their number; of more, none are compared so."""
CELLS, ANGLES = 4, 8
LEAST_LIKENESS = 0.54
"""Cosine of the histograms of two candidates; one pair of CIFAR-10 in some 450 has it."""
REACH = 3
"""Pixels of 16×16 by which one picture may be moved against the other before it is fitted."""
LEAST_PEAK = 0.4
"""Correlation of the fields of edges of two candidates; one pair of CIFAR-10 in some 12,000 has this, too."""
MOST_ALIKE, MOST_FITTED = 256, 8
"""In a crowd an image is compared with so many of the later ones: first by spectrum, then fitted."""
NOISE, NOISE_OF_CONTRAST = 1.0, 0.03
"""Of gradients, in gray levels for each pixel: at least so much, and this part of the image's standard deviation."""
STEPS = 6
LARGEST, SURE = 0.99, 0.995
"""Correlations count as this much at most: beyond, they tell of the encoding."""
LEAST_BITS = 1300.0
"""An image that shares fewer with itself has too little detail for any copy to be told: blank pages, plain logos."""
FINE = 0.35
"""Energy of the changes of gradients through that of the gradients. Where it is lower, neighboring pixels tell much the
same, as in images that were tiny and were made larger, and their agreement counts in proportion."""
ZONE = 0.8
"""Correlation of fine detail around a pixel from which on two pictures agree there."""
WEIGHT = 224.0
LEAST_EVIDENCE = 2500.0
"""Of the bits, plus `WEIGHT` for each halving of what is unexplained of the fine detail where they agree. Set where of
4,000 digits of MNIST at most 20 are taken for copies."""
ALIKE, MOST_OTHERS = 1900.0, 6
"""An image that agrees on so much with more others than so many has no copies: forms that were filled in, or frames of
a camera that stands still, are alike because of what they have in common."""
LEAST_SHARE = 0.55
"""Of the pixels with detail in either picture, so many must agree: what is covered is the smaller part."""
CHUNK, PAIRS = 2048, 512
ROW_BYTES = 2**26

# --- what is known of each image --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Described:
    """What candidates are found by."""

    cells: Tensor
    """Float32 (N, 128): histograms of the directions of edges, of length 1."""
    spectra: Tensor
    """Float16 (N, 16, 16, 2): the Fourier transform of the field of edges, of which the field has length 1."""
    bits: Tensor
    """Float32 (N,): what an image shares with itself."""


def aligned_pairs(
    grays: Tensor, say: Callable[[int, int], None] = lambda done, total: None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (P,), (P,) of rows that show the same picture, the smaller row first.

    `grays` are (N, 32, 32) on the 0..255 scale, of any type of float. Of more than MOST_IMAGES none are compared. Who
    wants the same pairs in any order of the images gives them in one order: in a crowd, an image is compared with some
    of the later ones. `say` is told how many images have been compared.
    """
    found: list[tuple[Tensor, ...]] = []
    if 1 < len(grays) <= MOST_IMAGES:
        described = _describe(grays)
        for first, second, shift in _candidates(described, say):
            for one, other, places in zip(first.split(PAIRS), second.split(PAIRS), shift.split(PAIRS), strict=True):
                # The same one of a pair is moved in every folder, whichever comes first.
                turned = described.bits[one] < described.bits[other]
                still, moved = torch.where(turned, other, one), torch.where(turned, one, other)
                by = torch.where(turned[:, None], -places, places)
                evidence = evidence_of(grays[still].float(), grays[moved].float(), by)
                alike = evidence >= ALIKE
                found.append((one[alike], other[alike], evidence[alike]))
    if not found:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    ones, others, evidences = (torch.cat(kind).numpy() for kind in zip(*found, strict=True))
    crowded = np.bincount(np.r_[ones, others], minlength=len(grays)) > MOST_OTHERS
    same = (evidences >= LEAST_EVIDENCE) & ~crowded[ones] & ~crowded[others]
    return ones[same], others[same]


def _describe(grays: Tensor) -> Described:
    parts = [_described(chunk.float()) for chunk in grays.split(CHUNK)]
    cells, spectra, bits = (torch.cat(kind) for kind in zip(*parts, strict=True))
    return Described(cells, spectra, bits)


def _described(gray: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    across, down = _slopes(_blurred(_evened(gray), 0.6))
    square = across.square() + down.square()
    histograms = []
    for number in range(ANGLES):
        angle = 2 * math.pi * number / ANGLES
        along = (across * math.cos(angle) + down * math.sin(angle)).clamp(min=0)
        histograms.append(POOL @ (along**3 / (square + 1e-9)) @ POOL.T)
    cells = torch.stack(histograms, dim=1).clamp(min=0).sqrt()
    cells = F.normalize((cells - cells.mean(dim=(2, 3), keepdim=True)).flatten(1), dim=1)

    field = F.avg_pool2d(torch.stack([across, down], dim=1), 2)
    field = field / field.square().sum(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=1e-6)
    spectra = torch.view_as_real(torch.fft.fft2(torch.complex(field[:, 0], field[:, 1]))).half()

    across, down = _slopes(_blurred(gray, 0.7))
    energy = _blurred(across.square() + down.square(), 1.2)
    return cells, spectra, _bits(energy / (energy + _noise(gray))).sum(dim=(1, 2))


def _candidates(described: Described, say: Callable[[int, int], None]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows (P,), (P,) of pairs that may be copies, and by how many pixels (P, 2), across and down, the second one's
    picture is to be moved onto the first one's."""
    rows = torch.nonzero(described.bits >= LEAST_BITS)[:, 0]
    cells = described.cells[rows]
    step = max(1, ROW_BYTES // (4 * max(1, len(rows))))
    for start in range(0, len(rows), step):
        alike = torch.triu(cells[start : start + step] @ cells[start:].T, 1)  # later ones only
        crowded = torch.nonzero((alike >= LEAST_LIKENESS).sum(dim=1) > MOST_ALIKE)[:, 0]
        if len(crowded):
            best = alike[crowded].topk(MOST_ALIKE, dim=1)
            alike[crowded] = torch.zeros_like(alike[crowded]).scatter_(1, best.indices, best.values)
        ones, others = torch.nonzero(alike >= LEAST_LIKENESS, as_tuple=True)
        del alike
        first, second = rows[start + ones], rows[start + others]
        peak, shift = (
            torch.empty(len(first)),
            torch.empty(len(first), 2),
        )  # small pieces in a list would break up memory
        for pairs in torch.arange(len(first)).split(CHUNK):
            peak[pairs], shift[pairs] = _peaks(described.spectra[first[pairs]], described.spectra[second[pairs]])
        kept = _highest(first, peak)
        if len(kept):
            yield first[kept], second[kept], shift[kept]
        if step < len(rows):
            say(min(start + step, len(rows)), len(rows))


def _peaks(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """The largest correlation (P,) of two fields of edges within REACH, and where, in pixels of 32×32 (P, 2)."""
    product = torch.view_as_complex(one.float()) * torch.view_as_complex(other.float()).conj()
    width = 2 * REACH + 1
    moved = torch.fft.ifft2(product).real.roll((REACH, REACH), dims=(1, 2))[:, :width, :width].flatten(1)
    peak, place = moved.max(dim=1)
    return peak, 2.0 * torch.stack([place % width - REACH, place // width - REACH], dim=1)


def _highest(first: Tensor, peak: Tensor) -> Tensor:
    """Places of the MOST_FITTED highest peaks of each first row that are high enough, in the order of rows."""
    places = np.flatnonzero(peak.numpy() >= LEAST_PEAK)
    order = places[np.lexsort((places, -peak.numpy()[places], first.numpy()[places]))]
    of = first.numpy()[order]
    rank = np.arange(len(of)) - np.searchsorted(of, of, side="left")
    return torch.from_numpy(np.sort(order[rank < MOST_FITTED]))


# --- is a pair the same picture? --------------------------------------------------------------------------------------


def evidence_of(still: Tensor, moved: Tensor, shift: Tensor) -> Tensor:
    """On how much the pictures of each pair (P, 32, 32) agree, float (P,): the evidence that they are the same one.

    `shift` (P, 2) says by how many pixels, across and down, the second ones are to be moved at first.
    """
    fitted, inside = _warped(moved[:, None], _fit(still, moved, shift))
    evidence, share = _agreement(still, fitted[:, 0], 1 - F.max_pool2d(1 - inside[:, None], 3, 1, 1)[:, 0])
    fineness = (torch.minimum(_fineness(still), _fineness(moved)) / FINE).clamp(max=1)
    return evidence * fineness * (share >= LEAST_SHARE)


def _fit(still: Tensor, moved: Tensor, shift: Tensor) -> Tensor:
    """How much (P, 4) to stretch and move the second pictures, by Gauss and Newton's steps of weighted least squares.

    Scales across and down, then shifts, in units of half the picture.
    """
    goal, picture = _blurred(_evened(still), 0.8), _blurred(_evened(moved), 0.8)
    pose = torch.cat([torch.ones(len(still), 2), -2 * shift / SIDE], dim=1)
    across, down = _slopes(picture)
    layers = torch.stack([picture, across * (SIDE / 2), down * (SIDE / 2)], dim=1)
    for _ in range(STEPS):
        warped, inside = _warped(layers, pose)
        rest = goal - warped[:, 0]
        slopes = torch.stack([warped[:, 1] * PLACES, warped[:, 2] * PLACES.T, warped[:, 1], warped[:, 2]], dim=1)
        slopes = slopes.flatten(2)
        weighted = slopes * (inside / (1 + (rest / 0.7).square())).flatten(1)[:, None]
        square = weighted @ slopes.transpose(1, 2)
        damping = 1e-3 * square.diagonal(dim1=1, dim2=2).mean(dim=1) + 1e-3
        square = square + damping[:, None, None] * torch.eye(4)
        step: Tensor = torch.linalg.solve(square, weighted @ rest.flatten(1)[..., None])
        pose = pose + step[..., 0].clamp(-0.15, 0.15)
        pose = torch.cat([pose[:, :2].clamp(0.7, 1.4), pose[:, 2:].clamp(-0.6, 0.6)], dim=1)
    return pose


def _agreement(one: Tensor, other: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """On how much two pictures (P, 32, 32) that lie on each other agree where both are (`inside`, 0 or 1), float (P,),
    and on which share of the pixels with detail."""
    weights = _blurred(inside, 1.2).clamp(min=1e-3)

    def around(values: Tensor) -> Tensor:
        return _blurred(values * inside, 1.2) / weights

    def total(values: Tensor) -> Tensor:
        return (values * inside).sum(dim=(1, 2))

    (across, down), (over, under) = _slopes(_blurred(one, 0.7)), _slopes(_blurred(other, 0.7))
    energy, energies = around(across.square() + down.square()), around(over.square() + under.square())
    noise, noises = _noise(one), _noise(other)
    correlation = around(across * over + down * under) / ((energy + noise) * (energies + noises)).sqrt()
    bits = total(_bits(correlation))
    detailed = ((energy > 2 * noise) | (energies > 2 * noises)).float()
    share = total((correlation > 0.7) * detailed) / total(detailed).clamp(min=1)

    fine, finer = (_blurred(picture, 1.0) - _blurred(picture, 2.0) for picture in (one, other))
    product, square, squares = (
        _blurred(values * inside, 2.5) for values in (fine * finer, fine.square(), finer.square())
    )
    zone = (product / (square * squares).sqrt().clamp(min=1e-3) > ZONE).float()
    lengths = (total(fine.square() * zone) * total(finer.square() * zone)).sqrt()
    agreeing = total(fine * finer * zone) / lengths.clamp(min=1e-6)
    return bits - WEIGHT * torch.log2(1 - agreeing.clamp(0, SURE)), share


def _fineness(gray: Tensor) -> Tensor:
    gradients = _slopes(_blurred(gray, 0.7))
    energy = sum(gradient.square().sum(dim=(1, 2)) for gradient in gradients)
    changes = sum(change.square().sum(dim=(1, 2)) for gradient in gradients for change in _slopes(gradient))
    return torch.as_tensor(changes) / torch.as_tensor(energy).clamp(min=1e-6)


def _bits(correlation: Tensor) -> Tensor:
    """What two normal variables tell of each other, in bits; what goes against each other tells nothing."""
    return -0.5 * torch.log2(1 - correlation.clamp(0, LARGEST).square())


def _noise(gray: Tensor) -> Tensor:
    """The energy (P, 1, 1) of gradients that are noise."""
    return (NOISE_OF_CONTRAST * gray.std(dim=(1, 2), keepdim=True)).clamp(min=NOISE).square()


# --- pictures of 32×32 ------------------------------------------------------------------------------------------------


def _blur(width: float) -> Tensor:
    """A matrix (32, 32) that takes means over neighbors, weighted by a Gaussian."""
    places = torch.arange(SIDE, dtype=torch.float32)
    weights = torch.exp(-(places[:, None] - places).square() / (2 * width**2))
    return weights / weights.sum(dim=1, keepdim=True)


BLUR = {width: _blur(width) for width in (0.6, 0.7, 0.8, 1.0, 1.2, 2.0, 2.5, 3.0)}
POOL = torch.eye(CELLS).repeat_interleave(SIDE // CELLS, dim=1) / (SIDE // CELLS) @ BLUR[2.0]
PLACES = ((torch.arange(SIDE) + 0.5) / (SIDE / 2) - 1).expand(SIDE, SIDE)
"""Of pixels across, from -1 to 1."""


def _blurred(pictures: Tensor, width: float) -> Tensor:
    return BLUR[width] @ pictures @ BLUR[width].T


def _evened(gray: Tensor) -> Tensor:
    """Without brightness and with even contrast, in every neighborhood; contrasts far below six levels stay small."""
    rest = gray - _blurred(gray, 3.0)
    return rest / (_blurred(rest.square(), 3.0) + 36).sqrt()


def _slopes(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients across and down, for each pixel."""
    padded = F.pad(pictures[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    across = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    return across, down


def _warped(layers: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Layers (P, C, 32, 32) stretched and moved, and where (P, 32, 32) the result lies inside of the picture."""
    matrix = torch.zeros(len(pose), 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, :, 2] = pose[:, 0], pose[:, 1], pose[:, 2:]
    grid = F.affine_grid(matrix, [len(pose), 1, SIDE, SIDE], align_corners=False)
    warped = F.grid_sample(layers, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return warped, (grid.abs() <= 1).all(dim=3).float()
