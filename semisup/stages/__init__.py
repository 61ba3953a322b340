"""One file per stage: load what earlier stages left, call the library, save.

A stage is a pure function ``run(config, inputs, out_dir, log) -> None``: `inputs` maps the names of earlier stages to
their folders, `out_dir` is an empty folder of its own. The same inputs leave the same bits (timings apart).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

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

STAGES: tuple[str, ...] = ("split", "baseline", "pseudo_label", "joint", "evaluate")
UPSTREAM: dict[str, tuple[str, ...]] = {
    "split": (),
    "baseline": ("split",),
    "pseudo_label": ("split", "baseline"),
    "joint": ("split", "pseudo_label"),
    "evaluate": ("split", "baseline", "pseudo_label", "joint"),
}
"""Which earlier stages each stage reads."""

SECTIONS: dict[str, tuple[str, ...]] = {
    "split": ("seed", "data", "split"),
    "baseline": ("seed", "data", "model", "baseline", "runtime"),
    "pseudo_label": ("seed", "data", "model", "pseudo_label", "runtime"),
    "joint": ("seed", "data", "model", "joint", "runtime"),
    "evaluate": ("seed", "data", "model", "runtime"),
}
"""Which parts of the config each stage looks at: its parameters."""


def load_stage(name: str) -> Stage:
    """The function of a stage; imported only now, for torch takes seconds."""
    match name:
        case "split":
            from semisup.stages.split import run
        case "baseline":
            from semisup.stages.baseline import run
        case "pseudo_label":
            from semisup.stages.pseudo_label import run
        case "joint":
            from semisup.stages.joint import run
        case "evaluate":
            from semisup.stages.evaluate import run
        case _:
            raise ValueError(f"stage {name!r} does not exist; there are {', '.join(STAGES)}")
    return run
