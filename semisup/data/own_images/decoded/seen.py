"""What is known of files without reading them: the content's hash of those whose size and time have not changed."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semisup.data.listing import Listing
from semisup.data.own_images.decoded.checksums import SEAL, is_intact, seal

PARTS, ROOT = "part-*.parquet", "root"
"""Tables that a building leaves as it goes on, and the file that names the place whose files they are about."""
SECONDS_UNTIL_SURE = 2.0
"""A file that was changed just before it was read may change again within the same tick of the file system's clock."""
STAMP = ["path", "size", "changed", "sha"]
AT_A_TIME = 2**16
"""Rows that are texts of Python at a time: all of a million would take 80 MB, and leave holes behind."""


def known_hashes(settings: Path, listing: Listing, notes: list[str]) -> NDArray[np.bytes_]:
    """The content's hash of every file that has not changed since it was read, b"" of the others: (N,) of 32 bytes.

    What is damaged of what is known is added to the `notes`.
    """
    shas = np.zeros(len(listing), dtype="S32")
    for table in _tables(settings, listing.place, notes):
        same = len(table) == len(listing) and all(
            table["path"].iloc[rows].tolist() == listing.paths[rows] for rows in in_parts(len(table))
        )
        rows = np.arange(len(listing)) if same else _rows_of(listing.paths, table["path"])
        there = np.flatnonzero((rows >= 0) & (shas == b""))
        sizes, changed = (table[name].to_numpy()[rows[there]] for name in ("size", "changed"))
        there = there[(sizes == listing.sizes[there]) & (changed == listing.changed[there])]
        shas[there] = hashes_of(table)[rows[there]]
        if (shas != b"").all():
            break
    return shas


def remember(settings: Path, place: str, table: pd.DataFrame, began: float) -> None:
    """The next start need not read these files at `place` again; `began` is when their reading began, in seconds."""
    sure = (table["changed"] < (began - SECONDS_UNTIL_SURE) * 1e9) & (table["sha"] != "")
    older, stem = _seen_files(settings, place), _seen_stem(settings, place)
    seen = write_sealed(table.loc[sure, STAMP], stem)
    for file in older:
        if file != seen:
            file.unlink(missing_ok=True)


def write_sealed(table: pd.DataFrame, stem: Path) -> Path:
    """A Parquet file whose name, which begins as `stem`, ends with its checksum."""
    aside = stem.with_name(f"{stem.name}.{os.getpid()}")
    table.to_parquet(aside, index=False)
    return seal(aside, stem, ".parquet")


def hashes_of(table: pd.DataFrame) -> NDArray[np.bytes_]:
    """Its column `sha` (N,), as 32 bytes each; b"" of what cannot be read."""
    hashes = np.empty(len(table), dtype="S32")
    for rows in in_parts(len(table)):
        hashes[rows] = table["sha"].iloc[rows].to_numpy(dtype="S32")
    return hashes


def in_parts(count: int) -> Iterator[slice]:
    """All rows of so many, AT_A_TIME."""
    return (slice(start, min(start + AT_A_TIME, count)) for start in range(0, count, AT_A_TIME))


def read_parts(folder: Path) -> pd.DataFrame | None:
    """The files that a building had done when it was killed, but for damaged tables; None: not even the first ones."""
    parts = [pd.read_parquet(part) for part in sorted(folder.glob(PARTS)) if is_intact(part)]
    return pd.concat(parts, ignore_index=True) if parts else None


def _tables(settings: Path, place: str, notes: list[str]) -> Iterator[pd.DataFrame]:
    for seen in _seen_files(settings, place):
        if is_intact(seen):
            yield pd.read_parquet(seen)
        else:
            notes.append(f"{seen} is damaged")
    for file in settings.glob(f"*/{ROOT}"):
        same = file.read_bytes() == place.encode()
        if same and (table := read_parts(file.parent)) is not None:
            yield table[table["sha"] != ""][STAMP].reset_index(drop=True)


def _seen_files(settings: Path, place: str) -> list[Path]:
    stem = _seen_stem(settings, place)
    return [file for file in settings.glob(f"{stem.name}-*.parquet") if SEAL.fullmatch(file.name)]


def _seen_stem(settings: Path, place: str) -> Path:
    return settings / f"seen-{hashlib.sha256(place.encode()).hexdigest()[:16]}"


def _rows_of(paths: list[str], known: pd.Series) -> NDArray[np.int64]:
    place = {path: row for row, path in enumerate(known)}
    return np.array([place.get(path, -1) for path in paths], dtype=np.int64)
