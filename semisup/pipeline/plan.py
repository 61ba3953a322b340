"""Which steps a pipeline consists of, in which order they run and what each reads."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semisup.config import CalibratedThreshold, PipelineConfig
from semisup.pipeline.specs import SPECS, StageName, StageSpec

CHAMPION = "champion"
"""Stands where a step's name would: what an earlier pipeline left and the registry calls its champion."""
SPLIT_BEFORE = "split before"
"""Stands there, too: the last split of this pipeline when its folder held other images. It may not be there."""
KEPT = "kept"
"""Stands there, too: the step whose model stage `keep` chose, `baseline` or that of the last student."""
KEPT_FILE = "kept.json"


@dataclass(frozen=True)
class Step:
    """One stage at its place in a pipeline; a stage that runs once a round makes several steps."""

    name: str
    """`joint`, and in later rounds `joint-2`, `joint-3` …"""
    stage: StageName
    upstream: Mapping[str, str]
    """What the stage calls an input → name of the step that leaves it; KEPT; or CHAMPION or SPLIT_BEFORE, which may not
    be there."""
    number: int | None = None
    """Of steps that have the same stage and may have the same inputs: which of them, from 1."""

    @property
    def spec(self) -> StageSpec:
        """What is known of its stage."""
        return SPECS[self.stage]


def plan(config: PipelineConfig, *, champion: bool = False) -> tuple[Step, ...]:
    """The steps of a pipeline in the order in which they run; `champion`: is there one that can teach?

    Nothing is made that nobody reads: no table before the training of a student that labels at every step, no ensemble
    that would teach nobody, no round that takes nothing from the one before.
    """
    return tuple(_with_followers(_placed(config, champion=champion), config))


def _with_followers(steps: Iterable[Step], config: PipelineConfig) -> Iterator[Step]:
    """The steps, and behind each the stages that are known to follow it."""
    for step in steps:
        yield step
        behind = [spec for spec in SPECS.values() if spec.follows == step.name and spec.when(config)]
        followers = [Step(spec.name, spec.name, {role: role for role in spec.inputs}) for spec in behind]
        yield from _with_followers(followers, config)


def _placed(config: PipelineConfig, *, champion: bool) -> list[Step]:
    """The steps whose place or inputs depend on others."""
    chosen = {"choose": "choose"} if config.model.chooses else {}
    steps = [split_step(config), Step("baseline", "baseline", {"split": "split"} | chosen)]
    teacher = "baseline"
    if config.labels_before_training and config.pseudo_label.teacher == "ensemble":
        steps += ensemble_steps(config)
        teacher = "ensemble"
    elif config.pseudo_label.teacher == "champion" and champion:
        teacher = CHAMPION
    certified = isinstance(config.pseudo_label.threshold, CalibratedThreshold)
    compares = {"baseline": "baseline"} if certified else {}  # calibration images with the pool
    # for unknown images, or at the pool's class shares
    looks = config.pseudo_label.unknown.false_alarms or config.pseudo_label.distribution_alignment
    looking = {"baseline": "baseline"} if looks else {}
    aligned = {"baseline": "baseline"} if config.joint.alignment else {}
    last_table: dict[str, str] = {}
    for number in range(1, config.students + 1):
        suffix = f"-{number}" if number > 1 else ""
        student, table = f"joint{suffix}", f"pseudo_label{suffix}"
        starts = {"teacher": teacher} if config.joint.starts_with_a_teacher(number) else {}
        if config.labels_before_training:
            graph = config.pseudo_label.teacher == "graph" and number == 1
            asked = chosen if graph else {"teacher": teacher}
            calibration = {"calibrate": f"calibrate{suffix}"} if config.calibrates else {}
            if calibration:
                steps.append(Step(f"calibrate{suffix}", "calibrate", {"split": "split"} | asked | compares))
            previous = {"previous": last_table["pseudo_label"]} if last_table else {}
            steps.append(Step(table, "pseudo_label", {"split": "split"} | asked | calibration | previous | looking))
            last_table = {"pseudo_label": table}
        learns_from = last_table if config.joint.reads_the_table(number) else {}
        steps.append(Step(student, "joint", {"split": "split"} | learns_from | starts | chosen | aligned))
        teacher = student
    models = {"baseline": "baseline", "joint": student_step(config)}
    calibration = {"calibrate": "calibrate-kept"} if config.calibrates else {}
    steps.append(Step("keep", "keep", _judges(config) if chosen else {"split": "split"} | models))
    if calibration:
        steps.append(Step("calibrate-kept", "calibrate", {"split": "split", "kept": KEPT} | compares))
    return [
        *steps,
        Step("labels", "labels", {"split": "split", "kept": KEPT} | calibration | before_of(config) | looking),
        Step(
            "evaluate",
            "evaluate",
            {"split": "split"} | models | {"keep": "keep", "labels": "labels"} | last_table | calibration | chosen,
        ),
    ]


def student_step(config: PipelineConfig) -> str:
    """The step that trains the last student."""
    return "joint" if config.students == 1 else f"joint-{config.students}"


def kept_step(config: PipelineConfig, model: str) -> str:
    """The step that trained a model of `kept.json`: "baseline" or "student"."""
    return "baseline" if model == "baseline" else student_step(config)


def read_kept(folder: Path) -> Any:
    """What stage `keep` left: `model`, and how it was judged."""
    return json.loads((folder / KEPT_FILE).read_text(encoding="utf-8"))


def inputs_of(step: Step, config: PipelineConfig, folders: Mapping[str, Path]) -> dict[str, Path]:
    """What the stage calls an input → the folder that is read, given those of the steps before; others are left out."""
    inputs = {}
    for role, source in step.upstream.items():
        if source == KEPT and "keep" in folders:
            inputs[role] = folders[kept_step(config, read_kept(folders["keep"])["model"])]
        elif source in folders:
            inputs[role] = folders[source]
    return inputs


def _judges(config: PipelineConfig) -> dict[str, str]:
    """What says which of two probes to keep: validation images or, without any, labels that `choose` held out.

    A folder of one's own may hold validation images that no config speaks of.
    """
    models = {"split": "split", "baseline": "baseline", "joint": student_step(config)}
    if config.split.validation_per_class:
        return models
    return {"choose": "choose"} | (models if config.data.facts.own_images else {})


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
