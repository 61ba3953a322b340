"""What a review needs of a run that a person names: its split, its labels, the tables of its rounds, its model."""

from dataclasses import dataclass
from pathlib import Path

from flows.store.exportable import config_of, final_labels, tables_of, whole
from flows.store.served import ServedModel, find_model
from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.tracking.looking import look
from semisup.tracking.places.stored import StoredRun


@dataclass(frozen=True)
class FoundReview:
    """Where the artifacts of the stages are, and what they were made with."""

    run: StoredRun
    """The pipeline's."""
    split: Path
    labels: Path
    """The final ones."""
    evaluated: Path
    tables: tuple[Path, ...]
    """Those that the students of its rounds learned from, in their order; none where they read none."""
    model: ServedModel
    config: PipelineConfig
    """Of the labels; where they were reused, another pipeline may have made them, under another name."""


def find_review(run_id: str, scratch: Path) -> FoundReview:
    """What a complete pipeline left.

    Raises:
        UserError: there is no such run, it is none or not complete, or its files are damaged.
    """
    store = look(Path.cwd())
    run = store.find(run_id)
    if run.tags.get("stage") != "pipeline" or not run.complete:
        raise UserError(
            f"run {run.id[:8]} is of stage {run.tags.get('stage')!r} ({run.status}); a review needs a complete "
            "pipeline (`semisup runs`)"
        )
    labels = store.get(final_labels(run))
    split = whole(store, store.get(run.tags["step.split"]), scratch)
    tables = tuple(whole(store, store.get(table), scratch) for table in tables_of(run))
    model = find_model(run.id, scratch)
    evaluated = whole(store, store.get(run.tags["step.evaluate"]), scratch)
    config = config_of(store, labels, scratch)
    return FoundReview(run, split, whole(store, labels, scratch), evaluated, tables, model, config)
