"""Folders full of somebody else's files, some of them under names that look like ours."""

import random
from collections.abc import Sequence
from pathlib import Path

NAMES = ("photos", "resnet", "building-site", "lock", "root", "mlflow.db.new", ".cache", "notes.txt", "epoch-1", "old")


def foreign_files(root: Path, generator: random.Random, likely: Sequence[str]) -> None:
    """Up to twenty files below `root`, in random folders and in those that are `likely` to be taken for ours."""
    for number in range(generator.randint(1, 20)):
        folders = [generator.choice(NAMES[:5]) for _ in range(generator.randrange(3))]
        parent = root.joinpath(*folders) if generator.random() < 0.4 else root / generator.choice(likely)
        name = generator.choice([*NAMES, f"{number}.jpg", "pool.u8", "files.parquet", "epoch-00001.ckpt"])
        try:
            parent.mkdir(parents=True, exist_ok=True)
            (parent / name).write_bytes(generator.randbytes(generator.randrange(100)))
        except OSError:
            continue  # a file where this one wants a folder, or the other way round


def snapshot(root: Path) -> dict[str, bytes | None]:
    """Every path below a folder → what the file holds; None of a folder."""
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}
