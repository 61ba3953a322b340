"""What a folder holds, for people, and the config that suits it."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import yaml

from semisup.config import DataConfig
from semisup.data.listing import Listing
from semisup.data.own_images.containers.recognized import recognize, recognize_url
from semisup.data.own_images.decoded.building import Progress
from semisup.data.own_images.folders.class_names import look_alikes
from semisup.data.own_images.images import OwnImages, listing_of, own_images
from semisup.data.own_images.proposal import SplitProposal, propose_split
from semisup.data.own_images.reading import many, medical
from semisup.data.own_images.reading.decode import BrokenImageError, Target, decode
from semisup.data.own_images.reading.deep import GRAY_16
from semisup.data.own_images.reading.depth import written
from semisup.data.own_images.recipes import (
    OTHER_CLASSES,
    RECIPE,
    are_signs,
    graph_lines,
    pretrained_size,
    steps_lines,
    suits_pretrained,
)
from semisup.data.own_images.remote.kept import told_to
from semisup.data.roles.contradictions import contradiction_warnings, contradictions
from semisup.data.roles.few_tests import few_test_images
from semisup.wording import counted

USUAL_SIZE, LARGEST_KEPT_SIZE = 64, 96
LOOKED_AT = 200
"""Files, evenly spaced, that decide the proposed size and channels."""
MOST_NAMED = 3
USUAL_BROKEN: float = DataConfig.model_fields["max_broken"].default
GRAY_MODES = frozenset({"1", "L", "LA", "LA;16", "I", "F"}) | GRAY_16 | medical.GRAY
MOST_BROKEN = 0.1
"""Share of files that cannot be read, up to which a config is proposed that takes them as they are."""
BUDGETS, MOST_MINUTES = ((2_000, 1), (20_000, 2)), 5
"""Fewer files than this → minutes of CPU time that are proposed for a training."""


@dataclass(frozen=True)
class Survey:
    """A data set of one's own, looked through."""

    data: DataConfig
    """How it was read."""
    own: OwnImages
    photographs: bool
    """Color images that a network pretrained on photographs has something to say of."""

    def classes(self) -> list[tuple[str, int, int, int]]:
        """(name, images to learn from, validation images, test images) of each class."""
        pool, test, given = self.own.pool.labels.numpy(), self.own.test.labels.numpy(), self.own.given
        return [
            (
                name,
                int(((pool == label) & (given == "")).sum()),
                int(((pool == label) & (given == "validation")).sum()),
                int((test == label).sum()),
            )
            for label, name in enumerate(self.own.pool.class_names)
        ]

    @property
    def unlabeled(self) -> int:
        """Images without a label, or whose label is not to be used."""
        return int((self.own.given == "unlabeled").sum())

    def facts(self) -> list[tuple[str, str]]:
        """(what, how it is) of the files: sizes, kinds, copies, what cannot be used."""
        files = self.own.files[self.own.files["row"] >= 0]
        sizes = Counter(zip(files["width"], files["height"], strict=True))
        (width, height), most = sizes.most_common(1)[0]
        ends = f"{files['width'].min()}–{files['width'].max()} × {files['height'].min()}–{files['height'].max()}"
        of_sizes = f"{width} × {height}" if len(sizes) == 1 else f"{ends}, most often {width} × {height} ({most:,})"
        facts = [
            ("Image files", f"{len(self.own.files):,}"),
            ("Unlabeled", f"{self.unlabeled:,}"),
            ("Sizes (width × height)", of_sizes),
            ("Kinds of pixels", _counted(Counter(files["mode"]))),
            *self._deep_files(),
            *self._copies(),
            ("Files that cannot be used", f"{len(self.own.broken):,}"),
        ]
        kinds = Counter(reason.partition(":")[0] for reason in self.own.broken["reason"])
        return facts + [
            (f"  {kind}", f"{count:,}, such as {self._broken(kind)}") for kind, count in kinds.most_common()
        ]

    def warnings(self) -> list[str]:
        """What a person should know before a run, one line each."""
        found = [*self.own.repaired, *self.own.warnings, *contradiction_warnings(self._contradictions(), listed=False)]
        if self.most_broken > USUAL_BROKEN:
            found.append(
                f"{len(self.own.broken):,} of {counted(len(self.own.files), 'file')} cannot be used, so "
                f"data.max_broken is "
                f"{self.most_broken:g} in the config, not {USUAL_BROKEN:g}; mend or delete them if that is too much"
            )
        found += few_test_images({name: tested for name, _, _, tested in self.classes()}, self.data)
        return found + self._signs() + self._look_alikes()

    def _contradictions(self) -> pd.DataFrame:
        pool, test = self.own.pool, self.own.test
        labels = np.concatenate([pool.labels.numpy(), test.labels.numpy()])
        return contradictions([*pool.ids, *test.ids], labels, pool.class_names)

    def _signs(self) -> list[str]:
        names = [name for name, *_ in self.classes()]
        if not (self.photographs and are_signs(names)):
            return []
        shown = f"{', '.join(map(repr, names[:MOST_NAMED]))}{' …' if len(names) > MOST_NAMED else ''}"
        return [
            f"classes are called like digits or letters ({shown}): a mirrored one is another, so model.mirror is false "
            "in the config; and features of photographs say little of signs: compare with recipe: steps"
        ]

    def _look_alikes(self) -> list[str]:
        counts = {name: sum(images) for name, *images in self.classes()}
        pairs = look_alikes(list(counts))
        shown = ", ".join(
            f"{first!r} ({counted(counts[first], 'image')}) and {second!r} ({counts[second]:,})"
            for first, second in pairs[:MOST_NAMED]
        )
        more = f" and {len(pairs) - MOST_NAMED:,} more pairs" if len(pairs) > MOST_NAMED else ""
        return [f"classes look alike: {shown}{more}; put their images together if they are one"] if pairs else []

    @property
    def most_broken(self) -> float:
        """`data.max_broken` for a run that takes the files as they are, in full percent."""
        return max(USUAL_BROKEN, math.ceil(100 * len(self.own.broken) / len(self.own.files)) / 100)

    def _deep_files(self) -> list[tuple[str, str]]:
        if self.data.range is None:
            return []
        return [
            ("Of more than 8 bits", f"{self.own.depth.files:,}, with values {written(self.data.range)} (data.range)")
        ]

    def _broken(self, kind: str) -> str:
        """The first file that cannot be used for this kind of reason, and what else is known of it."""
        path, reason = next(row for row in self.own.broken.itertuples(index=False) if row[1].partition(":")[0] == kind)
        detail = reason.partition(":")[2].strip()
        return f"{path} ({detail})" if detail else str(path)

    def _copies(self) -> list[tuple[str, str]]:
        """How many images are copies of a test image or of one another, each with the first such pair."""
        own = self.own
        of_test = np.flatnonzero(np.isin(own.groups, own.test_groups))
        others = np.flatnonzero(~np.isin(own.groups, own.test_groups))
        _, first, of = np.unique(own.groups[others], return_index=True, return_inverse=True)
        further = np.flatnonzero(first[of] != np.arange(len(others)))
        facts = [("Copies of test images among the others", f"{len(of_test):,}")]
        if len(of_test):
            twin = np.flatnonzero(own.test_groups == own.groups[of_test[0]])[0]
            facts.append(("  such as", _pair(own.pool.ids[of_test[0]], own.test.ids[twin])))
        facts.append(("Further copies", f"{len(further):,}"))
        if len(further):
            twin = others[first[of[further[0]]]]
            facts.append(("  such as", _pair(own.pool.ids[others[further[0]]], own.pool.ids[twin])))
        return facts


def _pair(copy: str, original: str) -> str:
    return " and ".join(image.rpartition("@")[0] for image in (copy, original))


def survey(
    root: Path | str, manifest: Path | str | None, cache: Path | None, say: Progress, *, max_broken: float = MOST_BROKEN
) -> Survey:
    """Look through a folder, or what lies at a URL, which is a text, and decode it into the cache for the runs to come.

    Raises:
        UserError: as in :func:`own_images`, where more files than `max_broken` cannot be used.
    """
    if isinstance(root, str):
        data = DataConfig(name="folder", url=root, manifest=manifest, cache=cache)
        if manifest is None:
            data = data.model_copy(update={"name": recognize_url(str(data.url))})
    else:
        name = "folder" if manifest is not None else recognize(root.expanduser())
        data = DataConfig(name=name, root=root, manifest=manifest, cache=cache)
        data = data.model_copy(update={"root": root.expanduser().resolve()})
    with told_to(say):
        listing = listing_of(data)
    size, channels, photographs = _look(listing)
    data = data.model_copy(update={"size": size, "channels": channels})
    own = own_images(data.model_copy(update={"max_broken": max_broken}), say)
    if own.depth.range is not None:  # known only now that every file has been read
        data = data.model_copy(update={"range": own.depth.range})
        own = own_images(data.model_copy(update={"max_broken": max_broken}), say)
    return Survey(data, own, photographs)


def write_config(found: Survey) -> str:
    """A commented config that suits the folder; :func:`semisup.stages.preflight.check.check` says whether it can run.

    Raises:
        UserError: as in :func:`propose_split`.
    """
    data = found.data
    split = propose_split(
        [count for _, count, _, _ in found.classes()],
        unlabeled=found.unlabeled,
        named_validation=found.own.names_validation,
        validates=not found.photographs,
    )
    minutes = next((minutes for files, minutes in BUDGETS if len(found.own.files) < files), MOST_MINUTES)
    why = (
        "every label that is there"
        if found.unlabeled
        else "at most, of each class; no image is without a label, so the others are hidden as if they were"
    )
    usual = DataConfig.model_fields
    lines = [
        f"# One's own images: {counted(len(found.own.files), 'file')}, {counted(len(found.classes()), 'class')}.",
        *([RECIPE] if found.photographs else []),
        "data:",
        f"  name: {data.name}",
        f"  root: {_quoted(str(data.root))}" if data.url is None else f"  url: {_quoted(data.url)}",
        *([f"  manifest: {_quoted(_place(data.manifest))}"] if data.manifest else []),
        f"  size: [{data.size[0]}, {data.size[1]}]  # height and width; more shows more and takes longer",
        *([f"  channels: {data.channels}"] if data.channels != usual["channels"].default else []),
        *([f"  range: {written(data.range)}  # black and white in files of more than 8 bits"] if data.range else []),
        *(
            []
            if found.own.named_test
            else [f"  test_share: {data.test_share}  # of images with a label; none are named"]
        ),
        *([f"  cache: {_quoted(str(data.cache.resolve()))}"] if data.cache else []),
        *(
            [f"  max_broken: {found.most_broken:g}  # a run stops if more files than this share cannot be read"]
            if found.most_broken != USUAL_BROKEN
            else []
        ),
        *_split_lines(split, validates=not (found.photographs or found.own.names_validation), why=why),
        *(graph_lines(data.size, signs=are_signs([name for name, *_ in found.classes()])) if found.photographs else []),
        *([OTHER_CLASSES] if found.photographs and found.unlabeled else []),
        *([] if found.photographs else steps_lines(minutes)),
    ]
    return "\n".join(lines) + "\n"


def _split_lines(split: SplitProposal, *, validates: bool, why: str) -> list[str]:
    labeled = f"labeled_per_class: {split.labeled_per_class}"
    if not validates:
        return [f"split: {{{labeled}}}  # {why}"]
    return [
        f"split: {{{labeled}, validation_per_class: {split.validation_per_class}}}  # {why}; validation images have "
        "a label, choose the best epoch, and are not learned from"
    ]


def _look(listing: Listing) -> tuple[tuple[int, int], Literal["rgb", "gray"] | int, bool]:
    """(height, width) and channels that suit the files, and whether they are photographs.

    Of others their own size where it is one and small.
    """
    sizes, modes, counts = [], set(), Counter[int]()
    for number in np.unique(np.linspace(0, len(listing) - 1, LOOKED_AT).astype(int)):
        try:
            content = listing.contents.read(number)
            count = many.channels_of(content) if many.INSTALLED else None
            image = decode(content, Target(1, 1, "crop", count or "rgb"))
        except (OSError, BrokenImageError):
            continue
        if count is not None:
            counts[count] += 1
        sizes.append((image.height, image.width))
        modes.add(image.mode)
    channels: Literal["rgb", "gray"] | int = "gray" if modes and modes <= GRAY_MODES else "rgb"
    if 2 * counts.total() > len(sizes):
        ((channels, _),) = counts.most_common(1)
    sides = [min(size) for size in sizes]
    if suits_pretrained(channels, sides):
        side = pretrained_size(sides)
        return (side, side), channels, True
    if len(set(sizes)) == 1 and max(sizes[0]) <= LARGEST_KEPT_SIZE:
        return sizes[0], channels, False
    side = min([USUAL_SIZE, *(max(size) for size in sizes)])
    return (side, side), channels, False


def _place(named: Path | str) -> str:
    """A URL, or a path that holds wherever the config is used."""
    return named if isinstance(named, str) else str(named.resolve())


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def _quoted(text: str) -> str:
    """As YAML writes it, in one line."""
    return yaml.safe_dump(text, allow_unicode=True, width=10**6).splitlines()[0]
