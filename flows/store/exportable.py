"""The pseudo-labels that a person means by a run: its pseudo-label table, its split, its config."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.tracking.places.stored import StoredRun
from semisup.tracking.run import CONFIG
from semisup.tracking.tracker import Tracker

STEP = "step.pseudo_label"


@dataclass(frozen=True)
class FoundLabels:
    """Where the artifacts of the stages are, and what they were made with."""

    run_id: str
    """Of the `pseudo_label` stage."""
    split: Path
    ledger: Path
    config: PipelineConfig


def find_labels(run_id: str, scratch: Path) -> FoundLabels:
    """Those of a pipeline's last round, or of a run of stage `pseudo_label`.

    Raises:
        UserError: there is no such run, it has no pseudo-labels, or its files are damaged.
    """
    tracker = Tracker.existing(Path.cwd())
    run = tracker.find(run_id)
    if run.tags.get("stage") == "pipeline":
        rounds = {round_of(key): value for key, value in run.tags.items() if key.startswith(STEP)}
        run = tracker.get(rounds[max(rounds)]) if rounds else run
    if run.tags.get("stage") != "pseudo_label" or not run.complete:
        raise UserError(
            f"run {run.id[:8]} is of stage {run.tags.get('stage')!r} ({run.status}) and has no pseudo-labels; name a "
            "pipeline (`semisup runs`), or a complete run of stage pseudo_label"
        )
    split = whole(tracker, tracker.get(run.tags["upstream.split"]), scratch)
    return FoundLabels(run.id, split, whole(tracker, run, scratch), config_of(tracker, run, scratch))


def round_of(step: str) -> int:
    """1 of `step.pseudo_label`, 2 of `step.pseudo_label-2` …"""
    return int(step.removeprefix(STEP).removeprefix("-") or 1)


def whole(tracker: Tracker, run: StoredRun, scratch: Path) -> Path:
    """The folder of a run's artifacts.

    Raises:
        UserError: they are damaged.
    """
    problem = tracker.damage(run, scratch)
    if problem:
        raise UserError(f"run {run.id[:8]} cannot be used: {problem}; run its config again")
    return tracker.artifacts(run.id, scratch)


def config_of(tracker: Tracker, run: StoredRun, scratch: Path) -> PipelineConfig:
    """What a run was made with.

    Raises:
        UserError: another version of this project made it.
    """
    text = tracker.file(run.id, CONFIG, scratch).read_text(encoding="utf-8")
    try:
        return PipelineConfig.model_validate(yaml.safe_load(text))
    except ValueError:
        raise UserError(
            f"run {run.id[:8]} was made with a config that this version does not read; run it again"
        ) from None
