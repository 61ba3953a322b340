"""What a review needs of a run that a person names: its split, the tables of all rounds, the model that was kept."""

from dataclasses import dataclass
from pathlib import Path

from flows.store.exportable import STEP, config_of, round_of, whole
from flows.store.served import ServedModel, find_model
from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.tracking.places.stored import StoredRun
from semisup.tracking.tracker import Tracker


@dataclass(frozen=True)
class FoundReview:
    """Where the artifacts of the stages are, and what they were made with."""

    run: StoredRun
    """The pipeline's."""
    split: Path
    ledgers: tuple[Path, ...]
    """Of the rounds, in their order."""
    model: ServedModel
    config: PipelineConfig
    """Of the last pseudo-label table; where that was reused, another pipeline may have made it, under another name."""


def find_review(run_id: str, scratch: Path) -> FoundReview:
    """What a complete pipeline left.

    Raises:
        UserError: there is no such run, it is none or not complete, or its files are damaged.
    """
    tracker = Tracker.existing(Path.cwd())
    run = tracker.find(run_id)
    steps = sorted((key for key in run.tags if key.startswith(STEP)), key=round_of)
    if run.tags.get("stage") != "pipeline" or not run.complete or not steps:
        raise UserError(
            f"run {run.id[:8]} is of stage {run.tags.get('stage')!r} ({run.status}); a review needs a complete "
            "pipeline (`semisup runs`)"
        )
    rounds = [tracker.get(run.tags[step]) for step in steps]
    split = whole(tracker, tracker.get(run.tags["step.split"]), scratch)
    ledgers = tuple(whole(tracker, ledger, scratch) for ledger in rounds)
    model = find_model(run.id, scratch)
    return FoundReview(run, split, ledgers, model, config_of(tracker, rounds[-1], scratch))
