"""Which copies are found, and what is taken for one: `python -m benchmarks.robustness.copies`.

In `--data-root` lie CIFAR-10 (`cifar10/cifar10-jpg.tar.xz`) with half of the pairs that the ciFAIR project judged to
be near copies (`cifar10/near_copies.csv`), MNIST's files and photographs (`photos/photos.tar.xz`). Beside each figure
is that of the hash alone (`find_groups(…, moved=False)`). `--sheet FILE.png` shows pairs of a test and a training image
that are called and not listed, drawn at random, side by side: for a person to judge.

The rule's limits were set on the list's odd rows, the digits' first 28,000 and photographs; the figures are of even
rows and later digits.
"""

import argparse
import csv
import gzip
import io
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from benchmarks.output import publish, show
from semisup.data.own_images.reading.duplicates import find_groups

SIDE, CROP = 32, 128
FRAMES = 40
"""Of each kind."""
SIZES = (64, 256, 1000, 4000)
SHOWN, ACROSS, TIMES = 120, 12, 3
"""Pairs on the sheet, and in a row of it; how much larger a pixel is."""
Row = dict[str, Any]


def groups_of(images: Tensor, *, moved: bool) -> NDArray[np.int64]:
    """The groups of images of which no two files are equal."""
    return find_groups([images], [str(number) for number in range(len(images))], moved=moved)


def with_a_copy(images: Tensor, *, moved: bool) -> int:
    """How many images have a copy."""
    groups = groups_of(images, moved=moved)
    return int((np.bincount(groups)[groups] > 1).sum())


# --- what the folder holds --------------------------------------------------------------------------------------------


def unpacked(file: Path, opened: Callable[[bytes], Image.Image]) -> tuple[list[str], Tensor]:
    """Names in their order, and images (N, 3, H, W) of one size."""
    found = {}
    with tarfile.open(file) as archive:
        for member in archive:
            if member.name.endswith((".jpg", ".jpeg", ".png")):
                content = archive.extractfile(member)
                assert content is not None
                found[member.name.removeprefix("./")] = np.asarray(opened(content.read()))
    names = sorted(found)
    return names, torch.from_numpy(np.stack([found[name] for name in names]).transpose(0, 3, 1, 2).copy())


def opened(content: bytes) -> Image.Image:
    """As it is, in colors."""
    return Image.open(io.BytesIO(content)).convert("RGB")


def cropped(content: bytes) -> Image.Image:
    """The middle, 128×128."""
    image = opened(content)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).resize((CROP, CROP), Image.Resampling.BICUBIC)


def small(images: Tensor) -> Tensor:
    """Images (N, C, 32, 32)."""
    return F.interpolate(images.float(), (SIDE, SIDE), mode="area").round().byte()


# --- CIFAR-10 ---------------------------------------------------------------------------------------------------------


def cifar(folder: Path, sheet: Path | None) -> list[Row]:
    """How many of the pairs that people called the same shot are found, how many others, and how long it takes."""
    names, images = unpacked(folder / "cifar10-jpg.tar.xz", opened)
    place = {name: number for number, name in enumerate(names)}
    with (folder / "near_copies.csv").open(encoding="utf-8") as text:
        listed = [(place[row["test"]], place[row["train"]], row["judgment"]) for row in csv.DictReader(text)]
    tested = np.array([name.startswith("test/") for name in names])
    rows: list[Row] = []
    groups = {}
    for moved in (False, True):
        start = time.process_time()
        groups[moved] = groups_of(images, moved=moved)
        rows.append({"what": "CIFAR-10: CPU seconds", "rule": rule(moved), "found": round(time.process_time() - start)})
    for what, kept, judgment in (
        ("the same shot, rows that limits were set on", 1, "1"),
        ("the same shot, other rows", 0, "1"),
        ("very similar, another shot", None, "2"),
    ):
        pairs = [pair for number, pair in enumerate(listed) if kept in (None, number % 2) and pair[2] == judgment]
        for moved, found in groups.items():
            hits = sum(bool(found[one] == found[other]) for one, other, _ in pairs)
            rows.append({"what": f"CIFAR-10: {what}", "rule": rule(moved), "found": hits, "of": len(pairs)})
    for moved, found in groups.items():
        trained = set(found[~tested].tolist())
        count = sum(group in trained for group in found[tested].tolist())
        rows.append({"what": "CIFAR-10: test images with a copy in training", "rule": rule(moved), "found": count})
    known = {(one, other) for one, other, _ in listed}
    called = [pair for pair in _across(groups[True], tested) if pair not in known]
    print(f"{len(called)} pairs of a test and a training image are in one group and not listed")
    if sheet is not None:
        picked = np.random.default_rng(0).permutation(len(called))[:SHOWN]
        show_pairs(images, [called[number] for number in sorted(picked)], sheet)
    return rows


def _across(groups: NDArray[np.int64], tested: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Pairs of a test and a training image, one for each test image and group: the first of the training images."""
    first: dict[int, int] = {}
    for number in np.flatnonzero(~tested):
        first.setdefault(int(groups[number]), int(number))
    return [(int(one), first[int(groups[one])]) for one in np.flatnonzero(tested) if int(groups[one]) in first]


def show_pairs(images: Tensor, pairs: Sequence[tuple[int, int]], file: Path) -> None:
    """Side by side, in rows."""
    side, gap = SIDE * TIMES, 4
    sheet = np.full((-(-len(pairs) // ACROSS) * (side + gap), ACROSS * 2 * (side + gap), 3), 255, dtype=np.uint8)
    for number, pair in enumerate(pairs):
        top, left = number // ACROSS * (side + gap), number % ACROSS * 2 * (side + gap)
        for half, image in enumerate(pair):
            large = images[image].permute(1, 2, 0).numpy().repeat(TIMES, axis=0).repeat(TIMES, axis=1)
            sheet[top : top + side, left + half * (side + 1) : left + half * (side + 1) + side] = large
    Image.fromarray(sheet).save(file)


# --- photographs ------------------------------------------------------------------------------------------------------


def frames(photographs: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """40 pairs of frames of 32×32 of each kind, of other photographs each."""
    generator = np.random.default_rng(0)
    ones = photographs.split(FRAMES)
    step, half = CROP * 3 // SIDE, CROP * 9 // 128
    wide, less = CROP - step, CROP - half
    zoomed = CROP // 40
    return {
        "panned by 3 pixels of 32": (small(ones[0][:, :, :wide, :wide]), small(ones[0][:, :, :wide, step:])),
        "panned by 2 pixels both ways": (small(ones[1][:, :, :less, :less]), small(ones[1][:, :, half:, half:])),
        "zoomed by 5 %": (small(ones[2]), small(ones[2][:, :, zoomed:-zoomed, zoomed:-zoomed])),
        "an eighth covered": (small(ones[3]), covered(small(ones[3]), 11, generator)),
        "a sixth covered": (small(ones[4]), covered(small(ones[4]), 13, generator)),
    }


def covered(images: Tensor, side: int, generator: np.random.Generator) -> Tensor:
    """With a square of one gray on each, anywhere."""
    result = images.clone()
    for image, (top, left) in zip(result, generator.integers(0, SIDE - side + 1, (len(images), 2)), strict=True):
        image[:, top : top + side, left : left + side] = int(generator.integers(0, 256))
    return result


def recompressed(images: Tensor, quality: int) -> Tensor:
    """What a JPEG of that quality makes of them."""
    found = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=quality)
        found.append(np.asarray(opened(buffer.getvalue())).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(found))


def together(images: Tensor, count: int, *, moved: bool) -> NDArray[np.bool_]:
    """Which of the first `count` images are in one group with the one that is `count` places behind."""
    groups = groups_of(images, moved=moved)
    same: NDArray[np.bool_] = groups[:count] == groups[count : 2 * count]
    return same


def photographs(file: Path, others: Tensor) -> list[Row]:
    """Frames of them, JPEGs of them, and the same pairs in folders of other sizes, filled up with `others`."""
    start = time.process_time()
    _, images = unpacked(file, cropped)
    decoding = time.process_time() - start
    rows: list[Row] = []
    for moved in (False, True):
        start = time.process_time()
        alike = with_a_copy(images, moved=moved)
        seconds = time.process_time() - start
        rows.append({"what": "photographs that have a copy", "rule": rule(moved), "found": alike, "of": len(images)})
        share = round(100 * seconds / decoding, 1)
        rows.append({"what": "CPU time, % of that of decoding them", "rule": rule(moved), "found": share})
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(images)))
    drawn = images[order]
    count = FRAMES * 5
    rest = small(drawn[count : count + 600])
    kinds = frames(drawn[:count])
    ones, twos = (torch.cat([pair[side] for pair in kinds.values()]) for side in (0, 1))
    for moved in (False, True):
        hits = together(torch.cat([ones, twos, rest]), len(ones), moved=moved)
        for kind, found in zip(kinds, hits.reshape(len(kinds), FRAMES), strict=True):
            rows.append({"what": f"frames: {kind}", "rule": rule(moved), "found": int(found.sum()), "of": FRAMES})
    jpegs = torch.cat([small(drawn[:20]), recompressed(small(drawn[:20]), 50), small(drawn[20:80])])
    for moved in (False, True):
        hits = together(jpegs, 20, moved=moved)
        what = "JPEGs of quality 50 among 100 photographs"
        rows.append({"what": what, "rule": rule(moved), "found": int(hits.sum()), "of": 20})
    pick = torch.arange(0, count, 7)
    for size in SIZES:
        filled = torch.cat([ones[pick], twos[pick], rest, others])[:size]
        for moved in (False, True):
            hits = together(filled, len(pick), moved=moved)
            what = f"frames of all kinds in a folder of {size:,}"
            rows.append({"what": what, "rule": rule(moved), "found": int(hits.sum()), "of": len(pick)})
    return rows


# --- digits -----------------------------------------------------------------------------------------------------------


def digits(file: Path) -> list[Row]:
    """How many digits are taken for copies of others."""
    pixels = np.frombuffer(gzip.decompress(file.read_bytes()), dtype=np.uint8, offset=16).reshape(-1, 1, 28, 28)
    of_mnist = torch.from_numpy(pixels[30_000:].copy())
    of_eight = torch.from_numpy((load_digits().images * 15).astype(np.uint8))[:, None]
    larger = F.interpolate(of_eight.float(), (SIDE, SIDE), mode="bicubic").clamp(0, 255).round().byte()
    sets = {f"digits of MNIST, {size:,}": of_mnist[:size] for size in SIZES[1:]}
    sets |= {"the next 4,000": of_mnist[4000:8000], "scikit-learn's digits": of_eight, "these at 32×32": larger}
    return [
        {"what": what, "rule": rule(moved), "found": with_a_copy(images, moved=moved), "of": len(images)}
        for what, images in sets.items()
        for moved in (False, True)
    ]


def rule(moved: bool) -> str:
    """Its name in the table."""
    return "hash, or laid onto each other" if moved else "hash"


def main() -> None:
    """All of them, or some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sheet", type=Path, help="a PNG of pairs that are called and not listed")
    arguments = parser.parse_args()
    root = arguments.data_root
    _, others = unpacked(root / "cifar10" / "cifar10-jpg.tar.xz", opened)
    rows = photographs(root / "photos" / "photos.tar.xz", others[10_000::13])
    del others
    show("copies of photographs", rows, "")
    rows += cifar(root / "cifar10", arguments.sheet)
    show("copies in CIFAR-10, too", rows, "")
    rows += digits(root / "mnist" / "train-images-idx3-ubyte.gz")
    publish("copies", rows, "images that are in one group with their copy, or with any; one thread, 32×32")


if __name__ == "__main__":
    main()
