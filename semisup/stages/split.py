"""Stage `split`: gives every image exactly one role."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from semisup.config import PipelineConfig
from semisup.data.datasets import UNLABELED, ImageSet, digest
from semisup.data.facts import DatasetFacts
from semisup.data.own_images import own_images
from semisup.data.own_images.images import units_at
from semisup.data.roles.annotations import (
    Applied,
    apply_annotations,
    before_annotations,
    read_annotations,
    write_annotations,
)
from semisup.data.roles.changes import Changes, changes_between
from semisup.data.roles.contradictions import FILE as CONTRADICTIONS
from semisup.data.roles.contradictions import contradiction_warnings, contradictions
from semisup.data.roles.few_tests import few_test_images
from semisup.data.roles.growing import draw_by_content, read_memory, write_memory
from semisup.data.roles.known_roles import Contents, KnownRoles, contents_of
from semisup.data.roles.split import (
    REMOVED,
    ROLES,
    Role,
    Split,
    draw_roles,
    find_leaks,
    long_tail,
)
from semisup.data.rows import IMAGES_AT_A_TIME, gather
from semisup.data.tables import read_csv, write_csv
from semisup.errors import UserError
from semisup.networks.classifier import LEAST_DEVIATION, divisors
from semisup.networks.families.own import PATCH
from semisup.pipeline.log import StageLog
from semisup.stages.support.images import ids_for_test, pool_of
from semisup.system.json_files import write_json
from semisup.system.randomness import derive_seed, numpy_generator
from semisup.wording import counted

MOST_PATCHES = 2**20
"""From so many a covariance of a dozen numbers is known; large images hold that many in a few."""

FEWEST_GROUPS = 2
MOST_NAMED = 3
"""Classes, in a warning."""
Roles = NDArray[np.object_]
Leaks = dict[int, tuple[Role, int]]
"""As :func:`find_leaks` finds them."""


def run(config: PipelineConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """Leaves `split.parquet`, `dataset.json` and `class_counts.png`.

    Of one's own images also `broken_files.csv` and `duplicates.csv`: what was left out, and why; where equal files are
    of different classes, `contradictions.csv`; and, where `before` among the inputs is the folder of an earlier split
    of these images, whose roles they keep, `changes.md`. Where people have annotated, `annotations.csv`, and in
    `annotations_applied.json` what became of them.
    """
    from semisup.plots import class_counts, save_png  # only now: `semisup status` looks at splits and draws nothing

    pool, test_ids = pool_of(config), ids_for_test(config)
    before = inputs.get("before")
    if before is not None and DatasetFacts.read(before).name != config.data.name:
        before = None  # of a data set that never changes
    known = read_memory(before) if before else KnownRoles.none()
    split, leaks, apart, drawn, said, applied = _plan(config, pool, test_ids, known)
    facts = describe(config, pool, split)
    _warn_of_constant_channels(facts, log)
    split.write(out_dir / "split.parquet")
    facts.write(out_dir)
    save_png(class_counts(facts.class_counts, facts.class_names), out_dir / "class_counts.png")
    if config.data.facts.own_images:
        _tell_what_is_short(config, facts, log)
        _tell_what_is_left_out(config, duplicates_table(pool.ids, test_ids, drawn, leaks), out_dir, log)
        _tell_what_contradicts(config, pool, said, out_dir, log)
        tested = np.bincount(own_images(config.data).test.labels.numpy(), minlength=facts.num_classes).tolist()
        for warning in few_test_images(dict(zip(facts.class_names, tested, strict=True)), config.data):
            log.warning(warning)
        if config.data.group is not None:
            _tell_what_is_apart(config, duplicates_table(pool.ids, test_ids, drawn, apart), out_dir, log)
    if config.data.annotations is not None:
        write_annotations(read_annotations(config.data.annotations).values(), out_dir / "annotations.csv")
        write_json(out_dir / "annotations_applied.json", vars(applied))
        _tell_what_was_annotated(applied, log)
    if before:
        write_memory(known, split, out_dir)
        _tell_what_changed(_changes(before, known, split, [*pool.ids, *test_ids], facts), out_dir, log)
    sizes = {role: size for role in ROLES if (size := len(split.ids(role)))}
    log.metrics(
        {f"{role}_images": size for role, size in sizes.items()}
        | {
            f"{role}_per_class.{name}": count
            for role, counts in facts.class_counts.items()
            for name, count in zip(facts.class_names, counts, strict=True)
        }
    )
    *others, (last, count) = sizes.items()
    roles = [*(f"{size:,} {role}" for role, size in others), counted(count, f"{last} image")]
    log.info(f"{', '.join(roles)} of {counted(facts.num_classes, 'class')}")


def plan(config: PipelineConfig, pool: ImageSet, test_ids: tuple[str, ...], before: KnownRoles | None = None) -> Split:
    """The split of a config, decided by its seed, by annotations of people and, of one's own images, by their roles
    `before`.

    Raises:
        UserError: as in :func:`semisup.data.roles.split.draw_roles`, :func:`semisup.data.roles.split.long_tail` and
            :func:`semisup.data.roles.annotations.apply_annotations`; or copies of validation or test images were all
            that a class, or the unlabeled images, had.
    """
    return _plan(config, pool, test_ids, before or KnownRoles.none()).split


class _Planned(NamedTuple):
    split: Split
    leaks: Leaks
    apart: Leaks
    """The same of `data.group`: images that share their group with one in a role that they must not know."""
    drawn: Roles
    """(N,), before what leaks was removed."""
    said: NDArray[np.int64]
    """(N,) the class of each image, as its place or people say; UNLABELED of those that they discarded, too."""
    applied: Applied


def _plan(config: PipelineConfig, pool: ImageSet, test_ids: tuple[str, ...], before: KnownRoles) -> _Planned:
    """What a person annotated goes before the draw's labels, and what would leak into a test image goes out last."""
    annotations, contents = read_annotations(config.data.annotations), contents_of(pool.ids)
    drawn = _draw(config, pool, contents, before_annotations(before, annotations) if before else before)
    labels, drawn, applied = apply_annotations(annotations, contents, pool.labels.numpy(), drawn, pool.class_names)
    said = np.where(drawn == REMOVED, UNLABELED, labels)
    leaks, roles = _leaks(config, drawn) if config.data.facts.own_images else {}, drawn.copy()
    if leaks and config.data.duplicates == "remove":
        roles[list(leaks)] = REMOVED
        way_out = "add other images, or use duplicates: warn"
        _check_what_remains(config, labels, roles, pool.class_names, ("data.duplicates='remove'", "copies of", way_out))
    apart = _apart(config, roles)
    if apart:
        roles[list(apart)] = REMOVED
        why = (f"data.group={config.data.group!r}", "in a group with", "move images, or leave data.group out")
        _check_what_remains(config, labels, roles, pool.class_names, why)
    return _Planned(Split.build(pool.ids, labels, roles, test_ids), leaks, apart, drawn, said, applied)


def _draw(config: PipelineConfig, pool: ImageSet, contents: Contents, before: KnownRoles) -> NDArray[np.object_]:
    labels, asked = pool.labels.numpy(), config.split.labeled_per_class
    per_class = None if asked == "all" else long_tail(asked, config.split.imbalance_ratio, len(pool.class_names))
    if not config.data.facts.own_images:
        return draw_roles(
            labels,
            pool.class_names,
            labeled_per_class=per_class,
            validation_per_class=config.split.validation_per_class,
            calibration_images=config.split.calibration_images,
            rng=numpy_generator(config.seed, "split"),
        )
    return draw_by_content(
        labels,
        pool.class_names,
        contents,
        labeled_per_class=per_class,
        validation_per_class=config.split.validation_per_class,
        calibration_images=config.split.calibration_images,
        seed=derive_seed(config.seed, "split"),
        given=own_images(config.data).given,
        before=before,
        units=own_images(config.data).units,
    )


def _apart(config: PipelineConfig, roles: Roles) -> Leaks:
    """Images that have to go, for their group is also where they must not be known."""
    if config.data.group is None:
        return {}
    labeled = np.flatnonzero(roles == "labeled")
    units = units_at(config.data, torch.from_numpy(labeled))
    if units is not None and len(np.unique(units)) < FEWEST_GROUPS:
        raise UserError(
            f"data.group={config.data.group!r} has one group for {counted(len(labeled), 'labeled image')}, so "
            "that none could be held out; use another pattern or column, or leave it out"
        )
    own = own_images(config.data)
    assert own.units is not None
    assert own.test_units is not None
    numbers, _ = pd.factorize(np.array([*own.units, *own.test_units], dtype=object))
    found = find_leaks(roles, numbers[: len(roles)], numbers[len(roles) :])
    return {row: where for row, where in found.items() if roles[row] != REMOVED}


def _leaks(config: PipelineConfig, roles: Roles) -> Leaks:
    own = own_images(config.data)
    return find_leaks(roles, own.groups, own.test_groups)


def _check_what_remains(
    config: PipelineConfig,
    labels: NDArray[np.int64],
    roles: Roles,
    class_names: Sequence[str],
    why: tuple[str, str, str],
) -> None:
    """`why`: the key that took images out, what they are of others, and the way out."""
    key, are, way_out = why
    for label, name in enumerate(class_names):
        if not ((roles == "labeled") & (labels == label)).any():
            raise UserError(
                f"{key} takes all labeled images of class {name!r}: they are {are} validation or test images; {way_out}"
            )
    if config.split.validation_per_class and not (roles == "validation").any():
        raise UserError(f"{key} takes all validation images: they are {are} test images; {way_out}")
    if not (roles == "unlabeled").any():
        raise UserError(f"{key} takes all unlabeled images: they are {are} validation or test images; {way_out}")


def _tell_what_is_short(config: PipelineConfig, facts: DatasetFacts, log: StageLog) -> None:
    """Of one's own images a class may have fewer labels than are asked for."""
    learned, validating = (facts.class_counts.get(role, [0] * facts.num_classes) for role in ("labeled", "validation"))
    asked = config.split.labeled_per_class
    wanted = 1 if asked == "all" or config.split.imbalance_ratio > 1 else asked
    least = 0 if own_images(config.data).names_validation else config.split.validation_per_class
    short = [
        f"{name!r} has {learned[label]:,} to learn from and {validating[label]:,} to validate with"
        for label, name in enumerate(facts.class_names)
        if learned[label] < wanted or validating[label] < least
    ]
    if short:
        more = f" and {counted(len(short) - MOST_NAMED, 'class')} more" if len(short) > MOST_NAMED else ""
        log.warning(
            f"some classes have fewer labels than split.labeled_per_class={asked} and split.validation_per_class="
            f"{config.split.validation_per_class} ask for: {'; '.join(short[:MOST_NAMED])}{more}"
        )


def _tell_what_is_left_out(config: PipelineConfig, copies: pd.DataFrame, out_dir: Path, log: StageLog) -> None:
    own = own_images(config.data)
    write_csv(own.broken, out_dir / "broken_files.csv")
    write_csv(copies, out_dir / "duplicates.csv")
    log.metrics({"broken_files": len(own.broken), "leaking_copies": len(copies)})
    for warning in own.warnings:
        log.warning(warning)
    if len(copies):
        was, is_ = ("was", "is") if len(copies) == 1 else ("were", "are")
        removed = config.data.duplicates == "remove"
        what = f"{was} removed" if removed else f"{is_} used all the same (data.duplicates)"
        kinds = ", ".join(
            counted(count, f"of a {role} image", f"of {role} images")
            for role, count in copies["copy_of_role"].value_counts().items()
        )
        log.warning(
            f"{counted(len(copies), 'image that is a copy of another', 'images that are copies of others')} ({kinds}) "
            f"{what}; duplicates.csv names {'it' if len(copies) == 1 else 'them'}"
        )


def _tell_what_contradicts(
    config: PipelineConfig, pool: ImageSet, said: NDArray[np.int64], out_dir: Path, log: StageLog
) -> None:
    """Equal files of different classes, after what people said of them; the file is there while there are any."""
    test = own_images(config.data).test
    found = contradictions([*pool.ids, *test.ids], np.concatenate([said, test.labels.numpy()]), pool.class_names)
    if len(found):
        write_csv(found, out_dir / CONTRADICTIONS)
    for warning in contradiction_warnings(found, listed=True):
        log.warning(warning)


def _tell_what_is_apart(config: PipelineConfig, rows: pd.DataFrame, out_dir: Path, log: StageLog) -> None:
    table = rows.rename(columns={"copy_of": "group_with", "copy_of_role": "group_with_role"})
    write_csv(table, out_dir / "same_group.csv")
    log.metrics({"same_group_images": len(table)})
    if len(table):
        kinds = ", ".join(
            counted(count, f"with a {role} image", f"with {role} images")
            for role, count in table["group_with_role"].value_counts().items()
        )
        log.warning(
            f"{counted(len(table), 'image shares its', 'images share their')} group (data.group={config.data.group!r}; "
            f"{kinds}) and {'was' if len(table) == 1 else 'were'} "
            "removed; same_group.csv names them"
        )


def _tell_what_was_annotated(applied: Applied, log: StageLog) -> None:
    log.metrics({f"annotations.{name}": count for name, count in vars(applied).items()})
    log.info(
        f"annotations by people: {counted(applied.joined, 'image joins', 'images join')} the labeled ones, "
        f"{counted(applied.corrected, 'label')} "
        f"corrected, {applied.confirmed:,} confirmed, {counted(applied.discarded, 'image')} left out"
    )
    if applied.held_out or applied.missing:
        log.warning(
            f"annotations that are not used: {applied.held_out:,} about images that validate, calibrate or are left "
            f"out, {applied.missing:,} about images that are test images or not there any more"
        )


def _changes(folder: Path, known: KnownRoles, split: Split, ids: Sequence[str], facts: DatasetFacts) -> Changes | None:
    """What has changed since the split before, whose folder this is; None where that was of quite other images."""
    before, present = Split.read(folder / "split.parquet"), contents_of(ids)
    copies = folder / "duplicates.csv"
    removed = read_csv(copies, str(copies))["id"].tolist() if copies.exists() else []
    classes = (DatasetFacts.read(folder).class_names, facts.class_names)
    return changes_between(before, split, present, classes, without_role=removed, memory=known)


def _tell_what_changed(changes: Changes | None, out_dir: Path, log: StageLog) -> None:
    if changes is None:
        return
    # A page, not data: what earlier runs knew shall not make later stages stale where the roles are the same.
    (out_dir / "changes.md").write_text(changes.markdown(), encoding="utf-8")
    names = ("added", "vanished", "newly_labeled", "held_back")
    log.metrics({f"{name}_images": sum(getattr(changes, name).values()) for name in names})
    for line in changes.warnings():
        log.warning(line)
    for line in changes.notes():
        log.info(line)


def duplicates_table(
    ids: Sequence[str], test_ids: Sequence[str], roles: NDArray[np.object_], leaks: Mapping[int, tuple[Role, int]]
) -> pd.DataFrame:
    """A row for each leaking copy: id, the role it would have had, of which image it is a copy, that one's role."""
    rows = [
        (ids[row], roles[row], test_ids[other] if role == "test" else ids[other], role)
        for row, (role, other) in sorted(leaks.items())
    ]
    return pd.DataFrame(rows, columns=["id", "role", "copy_of", "copy_of_role"])


def describe(config: PipelineConfig, pool: ImageSet, split: Split) -> DatasetFacts:
    """Facts about the data set; the normalization looks at no validation and no test image."""
    looked_at = torch.cat([split.indices("labeled"), split.indices("unlabeled")])
    mean, std = channel_statistics(pool.images, looked_at)
    known: dict[Role, NDArray[np.int64]] = {  # of the split: people may have corrected those of the pool
        "labeled": split.labels("labeled").numpy(),
        "validation": split.labels("validation").numpy(),
        "calibration": split.labels("calibration").numpy(),
        "unlabeled": pool.labels[split.indices("unlabeled")].numpy(),
    }
    counts: dict[str, Sequence[int]] = {
        role: np.bincount(truth[truth != UNLABELED], minlength=pool.num_classes).tolist()
        for role, truth in known.items()
        if len(truth) or role == "validation"
    }
    return DatasetFacts(
        name=config.data.name,
        digest=digest(pool),
        class_names=list(pool.class_names),
        image_shape=pool.image_shape,
        mean=mean,
        std=std,
        patch_covariance=patch_covariance(pool.images, looked_at, mean, std),
        pool_size=len(pool),
        test_size=len(split.ids("test")),
        class_counts=counts,
        own_images=config.data.facts.own_images,
    )


def _warn_of_constant_channels(facts: DatasetFacts, log: StageLog) -> None:
    usual = {1: ("gray",), 3: ("red", "green", "blue")}
    names = usual.get(len(facts.std)) or tuple(map(str, range(1, len(facts.std) + 1)))
    for name, mean, deviation in zip(names, facts.mean, facts.std, strict=True):
        if deviation < LEAST_DEVIATION:
            log.warning(
                f"the channel {name} is the same in all images, or nearly so ({255 * mean:.3g} of 255): there is "
                "next to nothing to learn from it"
            )


def channel_statistics(images: Tensor, indices: Tensor) -> tuple[list[float], list[float]]:
    """(mean, standard deviation) per channel of uint8 images (N, C, H, W) at indices (n,), on the 0..1 scale.

    Taken from the histogram of the 256 values: exact, without a float copy of the data set, and without a copy at all
    of images that lie on disk.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for part in indices.sort().values.split(IMAGES_AT_A_TIME):
        for channel, pixels in enumerate(gather(images, part).transpose(0, 1)):
            counts[channel] += torch.bincount(pixels.flatten(), minlength=256)
    means, stds = [], []
    for shares in counts.double() / counts.sum(dim=1, keepdim=True):
        mean = float((shares * values).sum())
        means.append(mean)
        stds.append(float((shares * (values - mean) ** 2).sum().sqrt()))
    return means, stds


def patch_covariance(images: Tensor, indices: Tensor, mean: Sequence[float], std: Sequence[float]) -> list[list[float]]:
    """(K, K), K = 4C: covariance of the 2×2 patches of images (N, C, H, W) at `indices`, of about MOST_PATCHES at most.

    The images are spread evenly over `indices` (n,) and normalized as the network gets them; a patch is flattened
    channel by channel. Images that hold no patch give the identity.
    """
    size = images.shape[1] * PATCH**2
    down, across = (side - PATCH + 1 for side in images.shape[2:])
    if min(down, across) < 1:
        return torch.eye(size).tolist()
    looked_at = min(len(indices), -(-MOST_PATCHES // (down * across)))
    spread = torch.linspace(0, len(indices) - 1, looked_at, dtype=torch.float64).round().long()
    chosen = indices.sort().values[spread]
    near = (255 * torch.tensor(mean, dtype=torch.float64)).round().view(-1, 1, 1)
    total, products = torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
    for part in chosen.split(-(-MOST_PATCHES // (16 * down * across))):
        pixels = gather(images, part).double() - near
        patches = pixels.unfold(2, PATCH, 1).unfold(3, PATCH, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, size)
        total += patches.sum(dim=0)
        products += patches.T @ patches  # of whole numbers: exact, whatever threads add up in whatever order
    count = looked_at * down * across
    width = 255 * torch.tensor(divisors(std), dtype=torch.float64).repeat_interleave(PATCH**2)
    covariance: list[list[float]] = (
        (products / count - torch.outer(total / count, total / count)) / torch.outer(width, width)
    ).tolist()
    return covariance
