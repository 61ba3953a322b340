"""The pseudo-labels that a person means by a run: its ledger, its split, its config."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.tracking.run import CONFIG
from semisup.tracking.stored import StoredRun
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
        rounds = {_round(key): value for key, value in run.tags.items() if key.startswith(STEP)}
        run = tracker.get(rounds[max(rounds)]) if rounds else run
    if run.tags.get("stage") != "pseudo_label" or not run.complete:
        raise UserError(
            f"run {run.id[:8]} is of stage {run.tags.get('stage')!r} ({run.status}) and has no pseudo-labels; name a "
            "pipeline (`semisup runs`), or a complete run of stage pseudo_label"
        )
    split = _whole(tracker, tracker.get(run.tags["upstream.split"]), scratch)
    return FoundLabels(run.id, split, _whole(tracker, run, scratch), _config(tracker, run, scratch))


def _round(step: str) -> int:
    return int(step.removeprefix(STEP).removeprefix("-") or 1)


def _whole(tracker: Tracker, run: StoredRun, scratch: Path) -> Path:
    problem = tracker.damage(run, scratch)
    if problem:
        raise UserError(f"run {run.id[:8]} cannot be exported: {problem}; run its config again")
    return tracker.artifacts(run.id, scratch)


def _config(tracker: Tracker, run: StoredRun, scratch: Path) -> PipelineConfig:
    text = tracker.file(run.id, CONFIG, scratch).read_text(encoding="utf-8")
    try:
        return PipelineConfig.model_validate(yaml.safe_load(text))
    except ValueError:
        raise UserError(
            f"run {run.id[:8]} was made with a config that this version does not read; run it again"
        ) from None
