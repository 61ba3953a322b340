"""The labels that a person means by a run: the table of them, its split, its config."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.tracking.looking import look
from semisup.tracking.places.stored import CONFIG, StoredRun
from semisup.tracking.reader import Reader

LABELS = "step.labels"
TABLE = "step.pseudo_label"
"""Tag of a pipeline: which run made the table that the student of a round learned from."""


@dataclass(frozen=True)
class FoundLabels:
    """Where the artifacts of the stages are, and what they were made with."""

    run_id: str
    """Of stage `labels`, or of stage `pseudo_label` where a person names such a run."""
    split: Path
    pseudo_labels: Path
    config_text: str

    @property
    def config(self) -> PipelineConfig:
        """What they were made with. To check it imports the code of its method, and torch: a table needs neither.

        Raises:
            UserError: another version of this project made it.
        """
        return _parsed(self.run_id, self.config_text)


def find_labels(run_id: str, scratch: Path) -> FoundLabels:
    """The final labels of a pipeline, or those of a run of stage `labels` or `pseudo_label`.

    Raises:
        UserError: there is no such run, it has no labels, or its files are damaged; or it is a pipeline of before final
            labels were made, whose table holds those of a teacher.
    """
    store = look(Path.cwd())
    run = store.find(run_id)
    if run.tags.get("stage") == "pipeline" and run.complete:
        run = store.get(final_labels(run))
    if run.tags.get("stage") not in {"labels", "pseudo_label"} or not run.complete:
        raise UserError(
            f"run {run.id[:8]} is of stage {run.tags.get('stage')!r} ({run.status}) and has no labels; name a complete "
            "pipeline (`semisup runs`), or a complete run of stage labels"
        )
    split = whole(store, store.get(run.tags["upstream.split"]), scratch)
    return FoundLabels(run.id, split, whole(store, run, scratch), _text_of(store, run, scratch))


def final_labels(pipeline: StoredRun) -> str:
    """The id of the run that made the final labels of a complete pipeline.

    Raises:
        UserError: it has none.
    """
    if LABELS in pipeline.tags:
        return pipeline.tags[LABELS]
    tables = tables_of(pipeline)
    instead = f", or name {tables[-1][:8]} for the table of its teacher" if tables else ""
    raise UserError(
        f"run {pipeline.id[:8]} is of an earlier version, in which the model that is kept labeled nothing; run its "
        f"config again{instead}"
    )


def tables_of(pipeline: StoredRun) -> list[str]:
    """The ids of the runs that made the tables of its rounds, in their order; none of a student that read none."""
    steps = sorted((key for key in pipeline.tags if key.startswith(TABLE)), key=_round_of)
    return [pipeline.tags[step] for step in steps]


def _round_of(step: str) -> int:
    """1 of `step.pseudo_label`, 2 of `step.pseudo_label-2` …"""
    return int(step.removeprefix(TABLE).removeprefix("-") or 1)


def whole(store: Reader, run: StoredRun, scratch: Path) -> Path:
    """The folder of a run's artifacts.

    Raises:
        UserError: they are damaged.
    """
    problem = store.damage(run, scratch)
    if problem:
        raise UserError(f"run {run.id[:8]} cannot be used: {problem}; run its config again")
    return store.artifacts(run.id, scratch)


def config_of(store: Reader, run: StoredRun, scratch: Path) -> PipelineConfig:
    """What a run was made with.

    Raises:
        UserError: another version of this project made it.
    """
    return _parsed(run.id, _text_of(store, run, scratch))


def _text_of(store: Reader, run: StoredRun, scratch: Path) -> str:
    return store.file(run.id, CONFIG, scratch).read_text(encoding="utf-8")


def _parsed(run_id: str, text: str) -> PipelineConfig:
    try:
        return PipelineConfig.model_validate(yaml.safe_load(text))
    except ValueError:
        raise UserError(
            f"run {run_id[:8]} was made with a config that this version does not read; run it again"
        ) from None
