"""Takes the annotations of a review into the data set of a config: all of them, or none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.start.exits import named_config
from flows.start.preparation import decoding_line
from semisup.config import PipelineConfig
from semisup.config.files import load_config
from semisup.data.own_images.folders.new_classes import add_classes
from semisup.data.roles.annotations import before_annotations, read_annotations, write_annotations
from semisup.data.roles.growing import read_memory
from semisup.data.roles.known_roles import KnownRoles
from semisup.delivery.labels_file import Known, check_rows, merged, read_labels, without_new
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

    The split that they lead to is drawn before anything is written. Images of new classes are copied into folders of
    these classes, below the data set's own.

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
    pool, test_ids = pool_of(bare), images_for_test(bare).ids
    before = known_before(bare, digests)
    split = plan(bare, pool, test_ids, before_annotations(before, old))
    known = Known.of(pool.ids, test_ids, split, own=config.data.facts.own_images)
    ordinary, new = without_new(rows, known, pool.class_names)
    said = check_rows(ordinary, known, pool.class_names)
    settled = {known.images[path][0] for paths in new.values() for path in paths}
    annotations, counts = merged({content: each for content, each in old.items() if content not in settled}, said)
    tried = aside(file, "tried")
    try:
        write_annotations(annotations.values(), tried)
        plan(with_annotations(config, tried), pool, test_ids, before)
    finally:
        tried.unlink(missing_ok=True)
    concluded = None
    if any(row.audit for row in rows):
        from flows.store.auditing import conclude  # MLflow takes seconds, and only an audit is kept there

        concluded = conclude(rows)
    folders = add_classes(config, new, pool.class_names) if new else []
    if annotations or file.exists():
        write_annotations(annotations.values(), file)
    added = {str(folder): len(paths) for folder, paths in zip(folders, new.values(), strict=True)}
    return Imported(file, config.data.annotations is not None, counts, len(annotations), added, concluded)


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
