"""Which steps a pipeline consists of, in which order they run and what each reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from semisup.config import PipelineConfig
from semisup.pipeline.specs import SPECS, StageName, StageSpec

CHAMPION = "champion"
"""Stands where a step's name would: what an earlier pipeline left and the registry calls its champion."""
SPLIT_BEFORE = "split before"
"""Stands there, too: the last split of this pipeline when its folder held other images. It may not be there."""


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

    @property
    def spec(self) -> StageSpec:
        """What is known of its stage."""
        return SPECS[self.stage]


def plan(config: PipelineConfig, *, champion: bool = False) -> tuple[Step, ...]:
    """The steps of a pipeline in the order in which they run; `champion`: is there one that can teach?"""
    chosen = {"choose": "choose"} if config.model.chooses else {}
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
            asks = {"split": "split", "teacher": teacher, "baseline": "baseline"} | graph
            steps.append(Step(f"calibrate{suffix}", "calibrate", asks))
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
    return {"before": SPLIT_BEFORE} if config.data.facts.own_images else {}


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
