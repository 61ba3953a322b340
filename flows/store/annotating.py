"""Takes the annotations of a review into the data set of a config: all of them, or none."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.start.exits import named_config
from flows.start.preparation import decoding_line
from semisup.config import PipelineConfig
from semisup.config.files import load_config
from semisup.data.datasets import ImageSet
from semisup.data.own_images.folders.new_classes import add_classes
from semisup.data.roles.annotations import before_annotations, read_annotations, write_annotations
from semisup.data.roles.growing import read_memory
from semisup.data.roles.known_roles import KnownRoles, content_of
from semisup.delivery.labels_file import Known, check_rows, merged, read_labels, without_new
from semisup.errors import UserError
from semisup.stages.preflight.check import DataDigests, check
from semisup.stages.split import plan
from semisup.stages.support.images import images_for_test, pool_of
from semisup.system.own_files import aside, temporary_folder
from semisup.tracking.places.store import sqlite_path, store_uri

if TYPE_CHECKING:
    from flows.store.auditing import Concluded


@dataclass(frozen=True)
class Imported:
    """What became of a file of annotations."""

    file: Path
    """The `data.annotations` that they are in now."""
    named: bool
    """Does the config name it already?"""
    counts: Mapping[str, int]
    """How many are new, changed, the same."""
    total: int
    new_classes: Mapping[str, int]
    """Folder of each class that was added → images copied into it."""
    audit: "Concluded | None" = None
    """What they say of a run's accepted labels, where they are those of an audit."""


def take_in(labels: Path, name: str, overrides: Sequence[str]) -> Imported:
    """Check the annotations of a file, and add them to those that the config has.

    The split that they lead to is drawn before any annotation is written. Images of new classes are copied into folders
    of these classes, below the data set's own; where no run could use them, the copies are taken back.

    Raises:
        UserError: a mistake in config, data or annotations.
    """
    rows = read_labels(labels)
    config = load_config(named_config(name), overrides)
    file = config.data.annotations or _table_of(config.name)
    old = read_annotations(file) if file.exists() else {}
    bare = with_annotations(config, None)
    with decoding_line() as say:
        digests = check(bare, say).digests
    pool, test = pool_of(bare), images_for_test(bare)
    before = known_before(bare, digests)
    split = plan(bare, pool, test.ids, before_annotations(before, old))
    known = Known.of(pool.ids, test.ids, split, own=config.data.facts.own_images)
    classes = {content_of(name): known_as for part in (pool, test) for name, known_as in _classes(part)}
    found = without_new(rows, known, pool.class_names, classes)
    said, new = check_rows(found.ordinary, known, pool.class_names), found.paths
    moved = {known.images[path][0] for paths in new.values() for path in paths} & set(old)
    annotations, counts = merged({content: each for content, each in old.items() if content not in moved}, said)
    counts = counts | {"same": counts["same"] + found.settled, "changed": counts["changed"] + len(moved)}
    tried = aside(file, "tried")
    try:
        write_annotations(annotations.values(), tried)
        plan(with_annotations(config, tried), pool, test.ids, before)
    finally:
        tried.unlink(missing_ok=True)
    added = add_classes(config, new, pool.class_names) if new else None
    if added is not None:
        try:
            with decoding_line() as say:
                check(bare, say)
        except UserError as error:
            added.take_back()
            raise UserError(f"--import: no run could use the new classes: {error}; name more images of them") from None
    concluded = None
    if any(row.audit for row in rows):
        from flows.store.auditing import conclude  # MLflow takes seconds, and only an audit is kept there

        concluded = conclude(rows)
    if annotations or file.exists():
        write_annotations(annotations.values(), file)
    images = {} if added is None else {str(folder): count for folder, count in added.images.items()}
    return Imported(file, config.data.annotations is not None, counts, len(annotations), images, concluded)


def _classes(images: ImageSet) -> Iterator[tuple[str, str]]:
    """(id, class) of the images that have one by themselves."""
    labels = images.labels.tolist()
    return ((name, images.class_names[label]) for name, label in zip(images.ids, labels, strict=True) if label >= 0)


def _table_of(name: str) -> Path:
    """Where annotations are kept unless the config says it: what earlier imports began, by its name of before, too."""
    file, before = Path(f"{name}-annotations.csv"), Path(f"{name}-answers.csv")
    return before if before.exists() and not file.exists() else file


def with_annotations(config: PipelineConfig, file: Path | None) -> PipelineConfig:
    """The config with these annotations."""
    return config.model_copy(update={"data": config.data.model_copy(update={"annotations": file})})


def known_before(config: PipelineConfig, digests: DataDigests) -> KnownRoles:
    """The roles that the next run's split starts from; none where no run was made in this folder."""
    database = sqlite_path(store_uri(Path.cwd()))
    if not config.data.facts.own_images or (database is not None and not database.exists()):
        return KnownRoles.none()
    from flows.pipeline.promotion import split_before  # MLflow takes seconds, and only images of one's own have a past
    from semisup.tracking.tracker import Tracker

    tracker = Tracker.open(config.tracking.experiment, Path.cwd())
    before = split_before(tracker, config, digests)
    if before is None:
        return KnownRoles.none()
    with temporary_folder() as scratch:
        return read_memory(tracker.artifacts(before.run_id, scratch))
