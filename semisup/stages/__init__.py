"""One file per stage: load what earlier stages left, call the library, save.

A stage is a pure function ``run(config, inputs, out_dir, log) -> None``: `inputs` maps what the stage
calls its inputs to the folders of earlier stages, `out_dir` is an empty folder of its own. The same inputs leave the
same bits (timings apart).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, get_args

from semisup.config import PipelineConfig


class StageLog(Protocol):
    """Where a stage says what it does; the caller decides who listens."""

    def info(self, message: str) -> None:
        """A line for people."""

    def warning(self, message: str) -> None:
        """A line for people that asks for attention."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Figures of one epoch (`step`, from 1) or of the whole stage (None)."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """How far the stage is, in units of its own (epochs, images)."""


class Silence:
    """A log that nobody listens to, for notebooks and tests."""

    def info(self, message: str) -> None:
        """Say nothing."""

    def warning(self, message: str) -> None:
        """Say nothing."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Keep nothing."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Show nothing."""


Stage = Callable[[PipelineConfig, Mapping[str, Path], Path, StageLog], None]

StageName = Literal["split", "baseline", "pseudo_label", "joint", "evaluate", "promote"]
STAGES: tuple[StageName, ...] = get_args(StageName)
CHAMPION = "champion"
"""Stands where a step's name would: what an earlier pipeline left and the registry calls its champion."""

SECTIONS: dict[str, tuple[str, ...]] = {
    "split": ("seed", "data", "split"),
    "baseline": ("seed", "data", "model", "baseline", "runtime"),
    "pseudo_label": ("seed", "data", "pseudo_label", "runtime"),
    "joint": ("seed", "data", "model", "joint", "runtime"),
    "evaluate": tuple(PipelineConfig.model_fields),  # its report shows the whole config
    "promote": ("name", "promote"),
}
"""Which parts of the config each stage looks at: its parameters."""


@dataclass(frozen=True)
class Step:
    """One stage at its place in a pipeline; a stage that runs once a round makes several steps."""

    name: str
    """`joint`, and in later rounds `joint-2`, `joint-3` …"""
    stage: StageName
    upstream: Mapping[str, str]
    """What the stage calls an input → name of the step that leaves it, or CHAMPION, which may not be there."""


def plan(config: PipelineConfig, *, champion: bool = False) -> tuple[Step, ...]:
    """The steps of a pipeline in the order in which they run; `champion`: is there one that can teach?"""
    steps = [Step("split", "split", {}), Step("baseline", "baseline", {"split": "split"})]
    teacher = CHAMPION if champion and config.pseudo_label.teacher == "champion" else "baseline"
    previous: dict[str, str] = {}
    for number in range(1, config.rounds + 1):
        suffix = f"-{number}" if number > 1 else ""
        labels, student = f"pseudo_label{suffix}", f"joint{suffix}"
        steps += [
            Step(labels, "pseudo_label", {"split": "split", "teacher": teacher} | previous),
            Step(student, "joint", {"split": "split", "pseudo_label": labels}),
        ]
        teacher, previous = student, {"previous": labels}
    models = {"baseline": "baseline", "pseudo_label": labels, "joint": student}
    steps.append(Step("evaluate", "evaluate", {"split": "split"} | models))
    if config.promote.enabled:
        steps.append(Step("promote", "promote", {"evaluate": "evaluate", CHAMPION: CHAMPION}))
    return tuple(steps)


def load_stage(name: str, checkpoints: Path | None = None) -> Stage:
    """The function of a stage; imported only now, for torch takes seconds.

    A training stage keeps its checkpoints in the folder `checkpoints`; the others need none.
    """
    match name:
        case "split":
            from semisup.stages.split import run
        case "baseline":
            from semisup.stages.baseline import run as train_baseline

            return partial(train_baseline, checkpoints=checkpoints)
        case "pseudo_label":
            from semisup.stages.pseudo_label import run
        case "joint":
            from semisup.stages.joint import run as train_student

            return partial(train_student, checkpoints=checkpoints)
        case "evaluate":
            from semisup.stages.evaluate import run
        case "promote":
            from semisup.stages.promote import run
        case _:
            raise ValueError(f"stage {name!r} does not exist; there are {', '.join(STAGES)}")
    return run
