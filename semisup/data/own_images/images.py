"""A data set of one's own, ready to be split: pool and test images, roles that are given, copies, broken files."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from semisup.config import DataConfig, parse_bytes, resolve_base, resolve_data_root
from semisup.config.sources import SOURCES
from semisup.data.datasets import UNLABELED, ImageSet, digest
from semisup.data.listing import Listing
from semisup.data.own_images.decoded.building import Progress
from semisup.data.own_images.decoded.cache import Cache, cache_folder
from semisup.data.own_images.decoded.checksums import is_intact, seal
from semisup.data.own_images.decoded.pack import InTest, Pack
from semisup.data.own_images.decoded.seen import hashes_of
from semisup.data.own_images.folders.units import units_of
from semisup.data.own_images.reading import many
from semisup.data.own_images.reading.decode import Target
from semisup.data.own_images.reading.depth import Depth, depth_warnings
from semisup.data.own_images.reading.duplicates import RULE, find_groups
from semisup.data.own_images.remote.kept import told_to
from semisup.data.roles.few_tests import more_test_images
from semisup.data.source import Source
from semisup.errors import UserError
from semisup.system.memory import give_back
from semisup.wording import counted

MOST_SHOWN = 3
WITHOUT_FURTHER_USE = ["size", "changed", "sha", "checksum", "low", "high", "flat"]
"""Columns of a pack's table that nobody asks for once images have their ids; of a million files they take 77 MB."""


@dataclass(frozen=True, eq=False)
class OwnImages:
    """What the folder holds.

    Attributes:
        pool: all that can be read and is no test image; labels where they are known.
        test: the test images.
        given: (N,) of the pool, "unlabeled" or "validation" where that is fixed, "" where the split decides.
        groups: int64 (N,), then those of the test images (M,): images in one group are copies of each other.
        units: name of the group that each image (N,) is in by `data.group`, then those of the test images (M,); None
            where that is unset.
        pack: where the pixels are; nobody deletes it while it is held.
        files: path, reason and what else is known of every file, as in :class:`Pack`, broken ones included.
        named_test: does the data set name its test images itself?
        depth: of the files of more than 8 bits.
        warnings: what its owner should know, one line each.
        repaired: what was damaged in the cache and has been made anew, one line each.
    """

    pool: ImageSet
    test: ImageSet
    given: NDArray[np.object_]
    groups: NDArray[np.int64]
    test_groups: NDArray[np.int64]
    units: tuple[str, ...] | None
    test_units: tuple[str, ...] | None
    pack: Pack
    files: pd.DataFrame
    named_test: bool
    depth: Depth
    warnings: tuple[str, ...]
    repaired: tuple[str, ...]

    @cached_property
    def pool_digest(self) -> str:
        """What :func:`digest` says of the pool."""
        return digest(self.pool)

    @property
    def names_validation(self) -> bool:
        """Does the data set name its validation images itself?"""
        return bool((self.given == "validation").any())

    @property
    def broken(self) -> pd.DataFrame:
        """path and reason of every file that cannot be used."""
        return self.files.loc[self.files["row"] < 0, ["path", "reason"]].reset_index(drop=True)


_opened: dict[tuple[DataConfig, Path | None], OwnImages] = {}


def forget() -> None:
    """Look at the folders anew, the next time: until then, all stages of a process see the same images."""
    _opened.clear()
    give_back()


def own_images(data: DataConfig, say: Progress = lambda done, total, note: None) -> OwnImages:
    """The images of a config, decoded if they are not yet.

    Raises:
        UserError: as in :func:`list_images` and :meth:`Cache.pack`; more files are broken than allowed; a class has no
            readable image; there would be no test images.
    """
    key = data, resolve_data_root(data)
    if key not in _opened:
        forget()  # of a process, one data set is enough in memory
        _opened[key] = _open(data, say)
    return _opened[key]


def units_at(data: DataConfig, indices: Tensor) -> NDArray[np.int64] | None:
    """Numbers (n,) of the groups that the pool's images at `indices` (n,) are in; None without `data.group`."""
    if data.group is None:
        return None
    units = own_images(data).units
    assert units is not None, "the key was set when they were opened"
    return np.unique([units[row] for row in indices.tolist()], return_inverse=True)[1].astype(np.int64)


def listing_of(data: DataConfig) -> Listing:
    """The images of a config whose source lists them, before any is read.

    Raises:
        UserError: as the source says.
    """
    found = SOURCES[data.name]
    assert isinstance(found, Source), "configs name nothing else"
    assert found.listing is not None, "of a source of one's own images"
    return found.listing(data)


def _open(data: DataConfig, say: Progress) -> OwnImages:
    with told_to(say):
        listing = listing_of(data)
    if isinstance(data.channels, int) and data.name != "arrays" and not many.INSTALLED:
        raise UserError(f"data.channels={data.channels} needs another package to read TIFF files; type: {many.INSTALL}")
    target = Target(*data.size, data.resize, data.channels, data.range)
    named_test = bool((listing.roles == "test").any())
    units = None
    if data.group is not None:
        units = np.array(
            units_of(data.group, listing.paths, listing.labels, resolve_base(data), data.manifest), dtype=object
        )
        if not named_test:
            listing.roles[_tested(units, listing, data.test_share)] = "test"
    in_test = no_test if named_test or units is not None else share_in_test(data.test_share)
    pack = Cache(cache_folder(data.cache), parse_bytes(data.cache_limit)).pack(listing, target, in_test, say)
    files = pack.files
    files["path"] = listing.paths  # a pack may have been made of the same files under other names
    _check_broken(files, data.max_broken)
    readable = files["row"].to_numpy() >= 0
    sides = [np.flatnonzero(readable & (files["test"].to_numpy() == test)) for test in (False, True)]
    _check_classes(data, listing, *sides)
    of_sides = [None if units is None else tuple(units[rows].tolist()) for rows in sides]
    pool, test = (
        _image_set(listing, pack, rows, test=bool(side), units=of_sides[side]) for side, rows in enumerate(sides)
    )
    groups, repaired = _groups(pack, say) if data.duplicates != "ignore" else (np.arange(len(pool) + len(test)), ())
    depth = Depth.of(files)
    warnings = (*_warnings(files), *depth_warnings(files, data.range))
    for column in WITHOUT_FURTHER_USE:
        del files[column]
    notes, given = listing.notes, listing.roles[sides[0]]
    del listing  # a million paths, which are in the ids by now
    give_back()
    return OwnImages(
        pool=pool,
        test=test,
        given=given,
        groups=groups[: len(pool)],
        test_groups=groups[len(pool) :],
        units=of_sides[0],
        test_units=of_sides[1],
        pack=pack,
        files=files,
        named_test=named_test,
        depth=depth,
        warnings=(*notes, *warnings),
        repaired=(*pack.notes, *repaired),
    )


def no_test(sha: str) -> bool:
    """The data set names its test images itself."""
    return False


def share_in_test(share: float) -> InTest:
    """Draws test images by their content alone.

    No file's fate depends on another's, so that images that are added move none between test and training, and equal
    files are on one side.
    """

    def in_test(sha: str) -> bool:
        drawn = int.from_bytes(hashlib.sha256(f"test {sha}".encode()).digest()[:8], "big")
        return drawn < share * 2**64

    return in_test


def _tested(units: NDArray[np.object_], listing: Listing, share: float) -> NDArray[np.bool_]:
    """Which images are tested with, where nothing names them: those with a label whose group's own lot says so."""
    in_test = share_in_test(share)
    lots = {unit: in_test(unit) for unit in set(units.tolist())}
    drawn: NDArray[np.bool_] = np.array([lots[unit] for unit in units], dtype=bool)
    decided: NDArray[np.bool_] = (listing.roles == "").astype(bool) & (listing.labels != UNLABELED)
    return drawn & decided


def _image_set(
    listing: Listing, pack: Pack, rows: NDArray[np.int64], *, test: bool, units: tuple[str, ...] | None
) -> ImageSet:
    hashes = hashes_of(pack.files)[rows]
    ids = (f"{listing.paths[row]}@{content[:12].decode()}" for row, content in zip(rows, hashes, strict=True))
    return ImageSet(
        images=pack.images(test=test),
        labels=torch.from_numpy(listing.labels[rows]),
        ids=tuple(ids),
        class_names=listing.class_names,
        pixel_digest=f"{pack.folder.parent.name}/{pack.folder.name}",
        # Who is in which group decides the roles.
        group_digest="" if units is None else hashlib.sha256("\n".join(units).encode()).hexdigest(),
    )


def _groups(pack: Pack, say: Progress) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Which images are copies of each other, looked for once; files with the same bytes always are. And a line, where
    what was known of it is damaged."""
    stem = pack.folder / f"copies-{RULE}"
    for file in pack.folder.glob(f"{stem.name}-*.npy"):
        if is_intact(file):
            groups: NDArray[np.int64] = np.load(file, allow_pickle=False)
            return groups, ()
    damaged = [
        f"data.cache: {file} is damaged; copies are looked for anew" for file in pack.folder.glob(f"{stem.name}-*")
    ]
    files = pack.files[pack.files["row"] >= 0]
    contents = [sha for test in (False, True) for sha in files.loc[files["test"] == test, "sha"]]
    parts = [pack.images(test=False), pack.images(test=True)]
    groups = find_groups(parts, contents, say=lambda done, total: say(done, total, "images compared"))
    aside = stem.with_suffix(".aside.npy")
    np.save(aside, groups, allow_pickle=False)
    sealed = seal(aside, stem, ".npy")
    for file in pack.folder.glob(f"{stem.name}-*.npy"):
        if file != sealed:
            file.unlink(missing_ok=True)
    return groups, tuple(damaged)


def _check_broken(files: pd.DataFrame, most: float) -> None:
    broken = files[files["row"] < 0]
    if len(broken) / len(files) <= most:  # as a share is written: 0.29 · 100 is less than 29
        return
    shown = "; ".join(f"{row.path} {_said(str(row.reason))}" for row in broken.head(MOST_SHOWN).itertuples())
    raise UserError(
        f"data.max_broken={most:g}, but {len(broken):,} of {counted(len(files), 'file')} cannot be used: {shown}"
        f"{' …' if len(broken) > MOST_SHOWN else ''}; mend or delete them, or allow more"
    )


def _said(reason: str) -> str:
    """A reason as what a file is, or what cannot be done with it."""
    return reason if reason.startswith("cannot ") else f"is {reason}"


def _check_classes(data: DataConfig, listing: Listing, pool: NDArray[np.int64], test: NDArray[np.int64]) -> None:
    """Every class can be learned, and something is left to test with."""
    learned = set(listing.labels[pool][listing.roles[pool] == ""].tolist())
    for label, name in enumerate(listing.class_names):
        if label in learned:
            continue
        members = listing.labels == label
        to_learn = int((members & (listing.roles == "")).sum())
        if to_learn:
            its = (
                "its only image to learn from is"
                if to_learn == 1
                else f"all of its {counted(to_learn, 'image')} to learn from are"
            )
            why = f"{its} broken, or set apart to test with"
        else:
            why = "it has no images to learn from" + (", only to validate or test with" if members.any() else "")
        raise UserError(f"class {name!r} has nothing to learn from: {why}; add images, or delete its folder or rows")
    if not len(test):
        raise UserError(f"there are no test images; {more_test_images(data)}")
    if (listing.labels[test] == UNLABELED).any():
        raise UserError("there are test images without a label; give them one, or role unlabeled")


def _warnings(files: pd.DataFrame) -> list[str]:
    broken, animated = files[files["row"] < 0], files[files["animated"] & (files["row"] >= 0)]
    warnings = []
    if len(broken):
        kinds = Counter(reason.partition(":")[0] for reason in broken["reason"]).most_common(MOST_SHOWN)
        reasons = ", ".join(f"{count:,} {kind}" for kind, count in kinds)
        warnings.append(
            f"{len(broken):,} of {counted(len(files), 'image file')} cannot be used and are left out ({reasons}), "
            f"such as {broken['path'].iloc[0]}; the split's broken_files.csv names all"
        )
    if len(animated):
        warnings.append(
            f"of {counted(len(animated), 'animated file')}, such as {animated['path'].iloc[0]}, the first frame counts"
        )
    return warnings
