"""One file per stage: load what earlier stages left, call the library, save.

A stage is a pure function ``run(config, inputs, out_dir, log) -> None``: `inputs` maps what the stage
calls its inputs to the folders of earlier stages, `out_dir` is an empty folder of its own. The same inputs leave the
same bits (timings apart).
"""

from collections.abc import Callable, Iterable, Mapping
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

StageName = Literal[
    "split",
    "choose",
    "baseline",
    "member",
    "ensemble",
    "calibrate",
    "pseudo_label",
    "joint",
    "evaluate",
    "evaluate_ensemble",
    "promote",
]
STAGES: tuple[StageName, ...] = get_args(StageName)
CHAMPION = "champion"
"""Stands where a step's name would: what an earlier pipeline left and the registry calls its champion."""
SPLIT_BEFORE = "split before"
"""Stands there, too: the last split of this pipeline when its folder held other images. It may not be there."""

SECTIONS: dict[str, tuple[str, ...]] = {
    "split": ("seed", "data", "split"),
    "choose": ("seed", "data", "model", "probe", "runtime"),
    "baseline": ("seed", "data", "model", "baseline", "runtime"),
    "member": ("seed", "data", "model", "baseline", "ensemble", "runtime"),
    "ensemble": ("seed", "data", "ensemble", "runtime"),
    "calibrate": ("seed", "data", "calibrate", "pseudo_label", "runtime"),
    "pseudo_label": ("seed", "data", "pseudo_label", "runtime"),
    "joint": ("seed", "data", "model", "joint", "runtime"),
    "evaluate": tuple(PipelineConfig.model_fields),  # its report shows the whole config
    "evaluate_ensemble": ("seed", "data", "evaluate", "runtime"),
    "promote": ("name", "promote"),
    "regression_fit": ("seed", "data", "split", "model", "train", "runtime"),
    "regression_evaluate": ("seed", "data", "runtime"),
}
"""Which parts of the config each stage looks at: its parameters."""

UNREAD: dict[str, tuple[str, ...]] = {
    "member": ("ensemble.members", "ensemble.combine"),
    "evaluate_ensemble": ("evaluate.compound",),
}


@dataclass(frozen=True)
class Step:
    """One stage at its place in a pipeline; a stage that runs once a round makes several steps."""

    name: str
    """`joint`, and in later rounds `joint-2`, `joint-3` …"""
    stage: StageName
    upstream: Mapping[str, str]
    """What the stage calls an input → name of the step that leaves it, or CHAMPION or SPLIT_BEFORE, which may not be
    there."""
    number: int | None = None
    """Of steps that have the same stage and may have the same inputs: which of them, from 1."""


def plan(config: PipelineConfig, *, champion: bool = False) -> tuple[Step, ...]:
    """The steps of a pipeline in the order in which they run; `champion`: is there one that can teach?"""
    chosen = {"choose": "choose"} if config.model.train == "probe" else {}
    steps = [split_step(config)]
    if chosen:
        steps.append(Step("choose", "choose", {"split": "split"}))
    steps.append(Step("baseline", "baseline", {"split": "split"} | chosen))
    match config.pseudo_label.teacher:
        case "ensemble":
            steps += ensemble_steps(config)
            teacher = "ensemble"
        case "champion" if champion:
            teacher = CHAMPION
        case _:
            teacher = "baseline"
    previous: dict[str, str] = {}
    for number in range(1, config.rounds + 1):
        suffix = f"-{number}" if number > 1 else ""
        labels, student, calibration = f"pseudo_label{suffix}", f"joint{suffix}", {}
        hands_on = config.joint.start == "teacher" or (config.joint.start == "baseline" and number == 1)
        starts = {"teacher": teacher} if hands_on else {}
        graph = chosen if config.pseudo_label.teacher == "graph" and number == 1 else {}
        if config.calibrates:
            calibration = {"calibrate": f"calibrate{suffix}"}
            steps.append(Step(f"calibrate{suffix}", "calibrate", {"split": "split", "teacher": teacher} | graph))
        steps += [
            Step(
                labels,
                "pseudo_label",
                {"split": "split", "teacher": teacher} | graph | calibration | previous | before_of(config),
            ),
            Step(student, "joint", {"split": "split", "pseudo_label": labels} | starts | chosen),
        ]
        teacher, previous = student, {"previous": labels}
    models = {"baseline": "baseline", "pseudo_label": labels, "joint": student} | calibration | chosen
    steps.append(Step("evaluate", "evaluate", {"split": "split"} | models))
    if config.promote.enabled:
        steps.append(Step("promote", "promote", {"evaluate": "evaluate", CHAMPION: CHAMPION}))
    return tuple(steps)


def split_step(config: PipelineConfig) -> Step:
    """The first step; images of one's own keep the roles that they had, other data sets never change."""
    return Step("split", "split", before_of(config))


def before_of(config: PipelineConfig) -> dict[str, str]:
    """What the stages read that ask which images are new."""
    return {"before": SPLIT_BEFORE} if config.data.name == "folder" else {}


def ensemble_steps(config: PipelineConfig) -> list[Step]:
    """The members of an ensemble, which are independent in bagging and a chain in boosting, and what combines them."""
    names = [f"member-{number}" for number in range(1, config.ensemble.members + 1)]
    steps = []
    for number, name in enumerate(names, start=1):
        before = {"previous": names[number - 2]} if config.ensemble.method == "boosting" and number > 1 else {}
        steps.append(Step(name, "member", {"split": "split"} | before, number))
    return [*steps, Step("ensemble", "ensemble", {"split": "split"} | {name: name for name in names})]


def ensemble_plan(config: PipelineConfig) -> tuple[Step, ...]:
    """The steps of an ensemble that teaches nobody: it is held against the baseline on the test images."""
    evaluate = Step(
        "evaluate_ensemble",
        "evaluate_ensemble",
        {"split": "split", "baseline": "baseline", "ensemble": "ensemble"},
    )
    return (
        split_step(config),
        Step("baseline", "baseline", {"split": "split"}),
        *ensemble_steps(config),
        evaluate,
    )


def independent(steps: Iterable[Step]) -> list[list[Step]]:
    """The steps in their order; members of an ensemble that follow each other and need not wait stand together."""
    groups: list[list[Step]] = []
    for step in steps:
        before = groups[-1] if groups else []
        waits = {other.name for other in before} & set(step.upstream.values())
        if step.stage == "member" and before and before[-1].stage == "member" and not waits:
            before.append(step)
        else:
            groups.append([step])
    return groups


def load_stage(  # noqa: PLR0911, PLR0912 -- one case for each stage
    name: str, checkpoints: Path | None = None, number: int | None = None
) -> Stage:
    """The function of a stage; imported only now, for torch takes seconds.

    A training stage keeps its checkpoints in the folder `checkpoints`; the others need none. `number` is that of a
    step: which `member` of its ensemble.
    """
    match name:
        case "split":
            from semisup.stages.split import run
        case "choose":
            from semisup.stages.choose import run
        case "baseline":
            from semisup.stages.baseline import run as train_baseline

            return _perhaps_together("baseline", train_baseline, checkpoints)
        case "member":
            from semisup.stages.member import run as train_member

            assert number is not None, "plans number the members"
            return partial(train_member, number=number, checkpoints=checkpoints)
        case "ensemble":
            from semisup.stages.ensemble import run
        case "calibrate":
            from semisup.stages.calibrate import run
        case "pseudo_label":
            from semisup.stages.pseudo_label import run as label

            return _perhaps_together("pseudo_label", label, checkpoints)
        case "joint":
            from semisup.stages.joint import run as train_student

            return _perhaps_together("joint", train_student, checkpoints)
        case "evaluate":
            from semisup.stages.evaluate import run
        case "evaluate_ensemble":
            from semisup.stages.evaluate_ensemble import run
        case "promote":
            from semisup.stages.promote import run
        case "regression_fit":
            from semisup.stages.regression_fit import run as fit_regression

            return fit_regression  # type: ignore[return-value]  # of another kind of config
        case "regression_evaluate":
            from semisup.stages.regression_evaluate import run as evaluate_regression

            return evaluate_regression  # type: ignore[return-value]
        case _:
            raise ValueError(f"stage {name!r} does not exist; there are {', '.join(STAGES)}")
    return run


def _perhaps_together(
    name: Literal["baseline", "pseudo_label", "joint"], alone: Callable[..., None], checkpoints: Path | None
) -> Stage:
    """A stage that trains or asks the teacher, in this process or, if the config asks for it, in several."""

    def run(config: PipelineConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
        if config.runtime.processes == 1 or config.model.train == "probe":
            return alone(config, inputs, out_dir, log, checkpoints)
        from semisup.stages.together import run_together

        return run_together(name, config, inputs, out_dir, log, checkpoints=checkpoints)

    return run
