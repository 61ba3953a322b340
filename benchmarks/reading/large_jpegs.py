"""First pass over large JPEG photographs, against ImageFolder with torchvision's transforms and the decoder alone.

Photographs of 4 and 12 megapixels are made of the two that scikit-learn ships: pieces of them, enlarged, with a
sensor's noise, so that a file has the bytes for each pixel that the table says. Ours lists, reads, hashes, decodes,
makes small (224 a side), writes the pixels with checksums, and opens the result; the other side is torchvision's
`ImageFolder`, `Resize`, `CenterCrop`, tensors and batches; "the decoder alone" is libjpeg-turbo at our fraction.
`--before CHECKOUT` holds this version against another one of this repository, each in processes of its own. Seconds are
those that the processors worked, so that a ratio is one of rates per core.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms.v2 import CenterCrop, Compose, PILToTensor, Resize

from benchmarks.output import Figure, in_turns, publish_figures
from benchmarks.reading.images import cpu_seconds
from semisup.config import DataConfig
from semisup.data.own_images import forget, own_images
from semisup.data.own_images.reading.decode import ORIENTATION, Target, decode
from semisup.data.own_images.reading.resize import eighths_for

SIDE, TURNS, QUICK_TURNS = 224, 3, 2
NOISE = 4.0
"""Standard deviation of a pixel's brightness, of 255; half of it of each color."""
KINDS = {
    "4 megapixels, quality 75": ((2464, 1632), 75, 1),
    "4 megapixels, quality 90": ((2464, 1632), 90, 1),
    "4 megapixels, quality 90, turned by EXIF": ((2464, 1632), 90, 6),
    "12 megapixels, quality 90": ((4032, 3024), 90, 1),
}
"""(width, height), quality and EXIF's orientation."""
PHOTOS, TEST_PHOTOS = 4, 1
MEGAPIXELS = 400
"""Of all files of a kind: each photograph is there several times, so that what is done once counts for little."""
BEFORE = "4 megapixels, quality 90"
FIRST_PASS = """
import sys, tempfile, time, torch
from pathlib import Path
from semisup.config import DataConfig
from semisup.data.own_images import own_images
torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as cache:
    data = DataConfig(
        name="folder", root=Path(sys.argv[1]), cache=Path(cache) / "cache", size=(224, 224), duplicates="ignore"
    )
    started = time.process_time()
    own_images(data)
    print(time.process_time() - started)
"""


def main() -> None:
    """Print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout of another version, whose .venv is this one's")
    publish_figures("large_jpegs", measure(quick=False, before=parser.parse_args().before))


def measure(*, quick: bool, before: Path | None = None) -> list[Figure]:
    """Rates and pixels of every kind of file; of the other version one kind."""
    torch.set_num_threads(1)
    figures, turns = [], QUICK_TURNS if quick else TURNS
    photographs: dict[tuple[int, int], list[Image.Image]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, (kind, (pixels, quality, orientation)) in enumerate(KINDS.items()):
            if quick and kind != BEFORE:
                continue
            root = Path(scratch) / str(number)
            if pixels not in photographs:
                photographs[pixels] = list(_photographs(pixels))
            size = _write(root, photographs[pixels], quality, orientation)
            figures += _rates(f"{kind} ({size:.2f} bytes a pixel)", root, Path(scratch), turns)
            if kind == BEFORE:
                figures.append(_pixels(kind, root))
                figures += _against(before, kind, root, turns) if before is not None else []
    return figures


def _photographs(size: tuple[int, int]) -> Iterator[Image.Image]:
    """PHOTOS of the one, PHOTOS of the other; then TEST_PHOTOS of each."""
    rng = np.random.default_rng(0)
    for count in (PHOTOS, TEST_PHOTOS):
        for pixels in load_sample_images().images:
            for _ in range(count):
                yield _enlarged(Image.fromarray(pixels), size, rng)


def _write(root: Path, photographs: list[Image.Image], quality: int, orientation: int) -> float:
    """`train/<class>/` and `test/<class>/`; bytes a pixel, on average."""
    exif = Image.Exif()
    if orientation > 1:
        exif[ORIENTATION] = orientation
    written, (width, height) = 0, photographs[0].size
    for number, photograph in enumerate(photographs):
        place, count = ("train", PHOTOS) if number < 2 * PHOTOS else ("test", TEST_PHOTOS)
        name = ("buildings", "flowers")[(number - (0 if place == "train" else 2 * PHOTOS)) // count]
        file = root / place / name / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        photograph.save(file, quality=quality, exif=exif)
        written += file.stat().st_size
        for copy in range(1, max(round(MEGAPIXELS * 1e6 / (len(photographs) * width * height)), 1)):
            shutil.copy(file, file.with_stem(f"{number} again {copy}"))
    return written / (len(photographs) * width * height)


def _enlarged(photograph: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A piece of the photograph, as a camera of that many pixels might have taken it."""
    height = int(rng.uniform(0.6, 1) * photograph.height)
    width = min(height * size[0] // size[1], photograph.width)
    left, top = (
        int(rng.uniform(0, whole - part)) for whole, part in zip(photograph.size, (width, height), strict=True)
    )
    piece = photograph.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
    pixels = np.asarray(piece, dtype=np.float32)
    noise = NOISE * rng.standard_normal((*pixels.shape[:2], 1), dtype=np.float32)
    noise = noise + NOISE / 2 * rng.standard_normal(pixels.shape, dtype=np.float32)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def _rates(kind: str, root: Path, scratch: Path, turns: int) -> list[Figure]:
    contents = [file.read_bytes() for file in sorted(root.rglob("*.jpg"))]
    transform = Compose([Resize(SIDE), CenterCrop(SIDE), PILToTensor()])

    def by_torchvision() -> int:
        return sum(len(images) for images, _ in DataLoader(ImageFolder(root / "train", transform), 8))

    def ours() -> int:
        with tempfile.TemporaryDirectory(dir=scratch) as cache:
            forget()
            own = own_images(
                DataConfig(
                    name="folder", root=root, cache=Path(cache) / "cache", size=(SIDE, SIDE), duplicates="ignore"
                )
            )
            count = len(own.pool) + len(own.test)
            forget()
        return count

    def timed(way: Callable[[], int]) -> float:
        started = cpu_seconds()
        count = way()
        return count / (cpu_seconds() - started)

    sides: dict[str, Callable[[], int]] = {
        "ours": ours,
        "torchvision": by_torchvision,
        "decoder": partial(_decoded_alone, contents),
    }
    rates = in_turns({name: partial(timed, way) for name, way in sides.items()}, turns)
    return [
        Figure.ratio(f"{kind}: first pass / ImageFolder, transforms", rates["ours"], rates["torchvision"], "≥ 4"),
        Figure.ratio(f"{kind}: first pass / the decoder alone", rates["ours"], rates["decoder"], "≥ 0.9"),
    ]


def _decoded_alone(contents: list[bytes]) -> int:
    for content in contents:
        height, width, *_ = simplejpeg.decode_jpeg_header(content)
        eighths = eighths_for(width, height, (SIDE, SIDE), "crop")
        simplejpeg.decode_jpeg(content, min_height=height * eighths // 8, min_width=width * eighths // 8)
    return len(contents)


def _pixels(kind: str, root: Path) -> Figure:
    """How far ours is from the whole file made small by Pillow's bicubic filter; unit: how far its bilinear one is."""
    ratios = []
    for file in sorted(root.rglob("?.jpg")):
        with Image.open(file) as image:
            inner = min(image.size)
            left, top = ((side - inner) // 2 for side in image.size)
            bicubic, bilinear = (
                np.asarray(image.resize((SIDE, SIDE), way, box=(left, top, left + inner, top + inner)), dtype=int)
                for way in (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR)
            )
        pixels = decode(file.read_bytes(), Target(SIDE, SIDE, "crop", "rgb")).pixels.transpose(1, 2, 0)
        ratios.append(float(np.abs(pixels - bicubic).mean() / np.abs(bilinear - bicubic).mean()))
    return Figure.of(f"{kind}: distance from the whole file's pixels, bicubic / bilinear's", ratios, "≤ 1")


def _against(before: Path, kind: str, root: Path, turns: int) -> list[Figure]:
    def first_pass(checkout: Path) -> float:
        command = [sys.executable, "-c", FIRST_PASS, str(root)]
        done = subprocess.run(
            command, cwd=checkout, env={"PYTHONPATH": str(checkout)}, capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    sides = {"now": Path(__file__).parents[2], "before": before.resolve()}
    seconds = in_turns({name: partial(first_pass, checkout) for name, checkout in sides.items()}, turns)
    return [
        Figure.ratio(f"{kind}: first pass / that of the version before", seconds["before"], seconds["now"], "≥ 1.5")
    ]


if __name__ == "__main__":
    main()
