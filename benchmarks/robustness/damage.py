"""What may happen to a person's files, at random: damaged caches, folders full of somebody else's files."""

import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from flows.start.workplace import scratch_folder, sweep
from semisup.config import DataConfig, PipelineConfig
from semisup.data.own_images import forget, own_images
from semisup.data.own_images.decoded.cache import Cache
from semisup.data.own_images.decoded.checksums import VERIFIED, await_verified, checksum, remember_verified
from semisup.data.own_images.decoded.feature_cache import Kept, kept_features
from semisup.data.own_images.decoded.pack import COLUMNS, FILES, LOCK, POOL, TEST, Pack
from semisup.data.own_images.decoded.seen import write_sealed
from semisup.data.own_images.reading.decode import Target
from semisup.errors import UserError
from semisup.system.own_files import mark

IMAGES, WIDTH = 600, 5
KINDS = ("pool.u8", "test.u8", "files-*.parquet", "copies-*.npy", "seen-*.parquet", "features.f32", "features.crc")
"""The files of a cache whose content counts."""
KEY = "0123456789abcdef" * 2
NAMES = ("photos", "resnet", "building-site", "lock", "root", "mlflow.db.new", ".cache", "notes.txt", "epoch-1", "old")
IN_A_HUNDRED_YEARS = 100 * 365 * 86_400.0


# --- damaged caches ---------------------------------------------------------------------------------------------------


@dataclass
class Cached:
    """A small data set of one's own with its cache, which can be damaged and put right again."""

    folder: Path

    def __post_init__(self) -> None:
        generator = np.random.default_rng(0)
        for number in range(IMAGES):
            role = ("labeled/a", "labeled/b", "unlabeled")[number % 3]
            file = self.folder / "photos" / role / f"{number:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file)
            os.utime(file, (file.stat().st_mtime - 3600,) * 2)  # what was just written is not trusted to stay
        self.expected, _ = self.opened()
        (self.folder / "cache").rename(self.folder / "whole")

    def opened(self) -> tuple[list[Tensor], list[str]]:
        """All that a run gets from the cache, and the lines that were said of it."""
        forget()
        cache, said = self.folder / "cache", list[str]()
        own = own_images(DataConfig(name="folder", root=self.folder / "photos", size=(8, 8), cache=cache))
        features = kept_features(Cache(cache, 10**9), KEY, Kept((IMAGES, WIDTH)), _features, warn=said.append)
        found = [own.pool.images, own.test.images, torch.from_numpy(own.groups), features]
        return [part.clone() for part in found], [*own.repaired, *said]

    def damaged(self, kind: str, generator: random.Random, *, cut: bool) -> tuple[str, str]:
        """Damage one file of a kind, by a byte or by cutting it short, and open all; what was done, what went wrong."""
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        shutil.copytree(self.folder / "whole", self.folder / "cache")
        file = generator.choice(sorted((self.folder / "cache").rglob(kind)))
        content = bytearray(file.read_bytes())
        at = generator.randrange(len(content))
        if cut:
            del content[at:]
        else:
            content[at] ^= generator.randrange(1, 256)
        file.write_bytes(content)
        what = f"{file.name} {'cut at' if cut else 'changed at'} {at}"
        try:
            found, said = self.opened()
            again, silence = self.opened()
        except Exception as error:
            return what, f"{type(error).__name__}: {error}"
        same = all(map(torch.equal, found, self.expected)) and all(map(torch.equal, again, self.expected))
        return what, ("" if said else "not said") if same and not silence else "used, or not mended"


def _features(rows: slice) -> Tensor:
    return torch.arange(rows.start, rows.stop).float()[:, None] * torch.arange(1, WIDTH + 1)


def damaged_caches(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """`count` damages; the figures."""
    cached, generator, problems = Cached(folder), random.Random(seed), []
    for number in range(count):
        what, problem = cached.damaged(generator.choice(KINDS), generator, cut=bool(number % 2))
        problems += [f"{number}: {what}: {problem}"] if problem else []
    return {"damages": count, "recognized, said and mended": count - len(problems), "problems": problems}


# --- foreign files ----------------------------------------------------------------------------------------------------


def foreign_files(root: Path, generator: random.Random, likely: Sequence[str]) -> None:
    """Up to twenty files below `root`, in random folders and in those that are `likely` to be taken for ours."""
    for number in range(generator.randint(1, 20)):
        folders = [generator.choice(NAMES[:5]) for _ in range(generator.randrange(3))]
        parent = root.joinpath(*folders) if generator.random() < 0.4 else root / generator.choice(likely)
        name = generator.choice([*NAMES, f"{number}.jpg", "pool.u8", "files.parquet", "epoch-00001.ckpt"])
        with suppress(OSError):  # a file where this one wants a folder, or the other way round
            parent.mkdir(parents=True, exist_ok=True)
            (parent / name).write_bytes(generator.randbytes(generator.randrange(100)))


def snapshot(root: Path) -> dict[str, bytes | None]:
    """Every path below a folder → what the file holds; None of a folder."""
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


def use_as_state(folder: Path, now: float) -> None:
    """What a run does with a state folder, and what it sweeps there a hundred years later."""
    config = PipelineConfig.model_validate({"runtime": {"state": str(folder)}})
    with suppress(UserError), scratch_folder(config):
        sweep(config, now=now + IN_A_HUNDRED_YEARS)


def use_as_cache(folder: Path, photos: Path) -> None:
    """What a run does with a cache folder in which it finds no room, twice."""
    forget()
    for size in (8, 9):
        data = DataConfig(name="folder", root=photos, size=(size, size), cache=folder, cache_limit="160 kB")
        with suppress(UserError):
            own_images(data)


def likely_places(owner: str) -> list[str]:
    """Folders that look like ours; `owner` names a process that has ended."""
    state = [
        "checkpoints/0123abcd-0123456789abcdef",
        f"scratch/{owner}-abcdefgh",
        "scratch/a-b-c-d",
        "checkpoints/resnet",
    ]
    cache = [f"0123456789abcdef/{KEY}", "0123456789abcdef/building-1-2", f"features/{KEY}", f"features/building-{KEY}"]
    places = [*state, *cache, "photos/building-site"]
    return [*places, *(f"{sub}/{place}" for sub in (".semisup", "semisup-cache") for place in (state[0], cache[0]))]


def foreign_layouts(folder: Path, count: int, seed: int, owner: str, now: float) -> dict[str, Any]:
    """`count` random layouts, each used as a state folder and as a cache; the figures."""
    photos = Cached(folder / "images").folder / "photos"
    problems = []
    for number in range(count):
        generator, root = random.Random(f"{seed}:{number}"), folder / f"layout-{number}"
        foreign_files(root, generator, generator.sample(likely_places(owner), 5))
        before = snapshot(root)
        use_as_state(root, now)
        use_as_cache(root, photos)
        after = snapshot(root)
        lost = [path for path in before if after.get(path) != before[path]]
        problems += [f"{number}: {path} was touched" for path in lost]
    touched = {problem.partition(":")[0] for problem in problems}
    return {"layouts": count, "layouts with a file touched": len(touched), "problems": problems}


# --- how long it takes to look ----------------------------------------------------------------------------------------


def opening(folder: Path, images: int, side: int) -> dict[str, Any]:
    """Seconds until a pack of random images can be used, and until all of it has been gone through."""
    target, name = Target(side, side, "crop", "rgb"), folder / KEY
    write_pack(name, images, target)
    figures: dict[str, Any] = {"images": images, "bytes": images * 3 * side * side}
    for what in ("seconds to open it", "seconds to open it again"):
        figures[what] = _seconds(lambda: Pack.open(name, target))
    figures["seconds until threads have gone through it twice"] = _seconds(await_verified)
    (name / VERIFIED).unlink()
    figures["seconds to open it where it was touched"] = _seconds(lambda: Pack.open(name, target))
    return figures


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return round(time.perf_counter() - started, 2)


def write_pack(folder: Path, images: int, target: Target) -> None:
    """A pack of random images of names as long as those of most people."""
    mark(folder)
    generator, checksums = np.random.default_rng(0), np.zeros(images, dtype=np.uint32)
    with (folder / POOL).open("wb") as file:
        for start in range(0, images, 4096):
            shape = (min(4096, images - start), *target.shape)
            block = generator.integers(0, 256, shape, dtype=np.uint8)
            checksums[start : start + len(block)] = [checksum(image.data.cast("B")) for image in block]
            file.write(block.data)
    (folder / TEST).touch()
    numbers = np.arange(images)
    values = {"path": [f"unlabeled/photo-{n:07}.jpg" for n in numbers], "size": 5000, "changed": numbers, "test": False}
    values |= {"sha": [f"{n:032x}" for n in numbers], "row": numbers, "checksum": checksums, "width": 64, "height": 64}
    values |= {"mode": "RGB", "animated": False, "reason": "", "low": np.nan, "high": np.nan, "flat": False}
    table = pd.DataFrame(values)[list(COLUMNS)]
    write_sealed(table, folder / FILES)
    remember_verified(folder, Pack(folder, table, target).blocks())
    (folder / LOCK).touch()
