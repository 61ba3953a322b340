"""Stage `joint`: a fresh student learns from labels and pseudo-labels together; in every round another one."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from semisup.budget import Budget
from semisup.checks.warnings import training_warnings
from semisup.config import JointConfig, PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.errors import UserError
from semisup.pipeline.log import StageLog
from semisup.pseudo_labels import REFUSED, TABLE_FILE, Policy
from semisup.pseudo_labels.method import Told
from semisup.pseudo_labels.modifiers import Aligned, Blended, Sharpened
from semisup.pseudo_labels.policies import method
from semisup.stages.open_world.shares import find_aim
from semisup.stages.rungs import PROBE, climb
from semisup.stages.support.frozen import read_choice
from semisup.stages.support.images import pool_of
from semisup.stages.support.learner import learner
from semisup.stages.support.models.configured import describe_network, fresh_model
from semisup.stages.support.models.device import pick_device
from semisup.stages.support.models.saved import load_model, save_model
from semisup.stages.support.probes import fit_student
from semisup.stages.support.training import EpochReporter, open_checkpoints, save_training
from semisup.system.json_files import read_json
from semisup.system.memory import give_back
from semisup.system.randomness import derive_seed
from semisup.training.loop import UnlabeledTerm, train
from semisup.training.process_group import ALONE, ProcessGroup

ALIGNMENT = "joint.policy.distribution_alignment"
LEARNED_FROM = ["index", "label", "confidence", "accepted", "reason", "round"]
"""What of the pseudo-label table a student needs."""


def run(
    config: PipelineConfig,
    inputs: Mapping[str, Path],
    out_dir: Path,
    log: StageLog,
    checkpoints: Path | None = None,
    *,
    group: ProcessGroup = ALONE,
) -> None:
    """Leaves the student's best weights, the history with α and mask rate, and its curves.

    `pseudo_label` among the inputs is the table that it learns from; a method that labels at every step reads none.
    `teacher` among the inputs is whose weights the student starts with; without one it starts anew. `baseline` is there
    where predictions are aligned: it estimates the pool's class shares. Training goes on from what lies in
    `checkpoints`. Every process of a `group` makes the same call; the first one leaves the results.
    """
    joint, device = config.joint, pick_device(config)
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    table = _read_table(joint, inputs["pseudo_label"]) if "pseudo_label" in inputs else None
    if config.model.chooses:
        weigh = method(joint.method).weigh
        assert weigh is not None, "a probe learns from labels that stand before it begins"
        assert table is not None
        rung, learned = read_choice(inputs["choose"])["student"], table[_learned_from(table, joint)]
        if rung == PROBE:
            fit_student(config, inputs, learned, out_dir, log, weigh=weigh)
        else:
            climb(config, rung, inputs, out_dir, log, pseudo_labels=learned)
        return
    round_number = int(table["round"].iloc[0]) if table is not None else _round_after(inputs.get("teacher"))
    of_round = f" round {round_number}" if round_number > 1 else ""  # no student starts like the one before it
    steps = known_steps(joint, len(split.indices("labeled")), len(split.indices("unlabeled")))
    aim = None
    if joint.alignment and group.rank == 0:
        aim = find_aim(joint.alignment, config, inputs, split, facts, key=ALIGNMENT, log=log)
    shares = group.from_first(aim.shares if aim else None)
    indices, policy = unlabeled_part(joint, split, table, facts.num_classes, device, steps=steps, shares=shares)
    reads_a_table = table is not None
    del table  # of a million images it is large, and training needs none of it
    give_back()
    student = fresh_model(config, facts, f"student{of_round}")
    if "teacher" in inputs:
        _check_alike(config, inputs["teacher"])
        student.load_state_dict(load_model(inputs["teacher"]).state_dict())
    learns = learner(config, joint, student.to(device), pool_of(config, facts), log)
    labeled = learns.examples(split, "labeled", device)
    unlabeled = None
    if len(indices):
        images = learns.shown(indices, device, joint.augment, joint.strong_augment or joint.augment)
        unlabeled = UnlabeledTerm.of(joint, joint.facts, images, policy)
    else:
        log.warning("no pseudo-label was accepted: the student learns from the labeled images alone")
    if unlabeled and joint.epoch_over == "unlabeled":
        steps_per_epoch = math.ceil(len(indices) / joint.unlabeled_batch_size)
    else:
        steps_per_epoch = math.ceil(len(labeled.images) / joint.batch_size)
    reporter = EpochReporter(log, joint.epochs)
    result = train(
        learns.network,
        joint,
        labeled,
        learns.examples(split, "validation", device),
        num_classes=facts.num_classes,
        steps_per_epoch=steps_per_epoch,
        seed=derive_seed(config.seed, f"joint{of_round}"),
        unlabeled=unlabeled,
        on_epoch=reporter.on_epoch,
        checkpoints=open_checkpoints(checkpoints, device, log),
        on_resume=reporter.on_resume,
        group=group,
        compiles=config.runtime.compile,
    )
    if group.rank:
        return  # the first process has the same weights
    save_model(config, facts, learns.weights(result.weights), out_dir, stage="joint", predicted_by=student.predicted_by)
    told: dict[str, Any] = {"alignment": dict(aim.summary)} if aim else {}
    told |= {} if reads_a_table else {"learned_from_table": False, "round": round_number}
    summary = save_training(result, joint, out_dir, log, f"Student{of_round}: labels and pseudo-labels", **told)
    for warning in training_warnings(summary, joint):
        log.warning(warning)


def _check_alike(config: PipelineConfig, teacher: Path) -> None:
    """A student can only start with the weights of a network like itself.

    Raises:
        UserError: the teacher is an ensemble, or built otherwise.
    """
    theirs, start = read_json(teacher / "model.json"), f"joint.start={config.joint.start!r}"
    if theirs["stage"] == "ensemble":
        raise UserError(f"{start}, but the teacher is an ensemble, whose weights no student can take; use start: fresh")
    for key, ours in describe_network(config).items():
        if key != "precision" and theirs.get(key, ours) != ours:  # that is no matter of weights
            raise UserError(
                f"{start}, but model.{key} is {ours!r} and that of the teacher {theirs[key]!r}; use the same, or "
                "start: fresh"
            )


def _read_table(joint: JointConfig, folder: Path) -> pd.DataFrame:
    columns = LEARNED_FROM + (["negative"] if joint.facts.learns_negatives else [])
    return pd.read_parquet(folder / TABLE_FILE, columns=columns)


def _round_after(teacher: Path | None) -> int:
    """Of a student without a table, which may start with the weights of the round before."""
    return 1 if teacher is None else int(read_json(teacher / "training.json").get("round", 0)) + 1


def known_steps(joint: JointConfig, labeled: int, unlabeled: int) -> int | None:
    """Steps of a training by a method that learns from all unlabeled images; None where its budget is time."""
    if joint.budget is not None:
        budget = Budget.parse(joint.budget)
        return int(budget.amount) if budget.unit == "steps" else None
    whole, batch = (
        (unlabeled, joint.unlabeled_batch_size) if joint.epoch_over == "unlabeled" else (labeled, joint.batch_size)
    )
    return joint.epochs * math.ceil(whole / batch)


def unlabeled_part(
    config: JointConfig,
    split: Split,
    table: pd.DataFrame | None,
    num_classes: int,
    device: torch.device,
    *,
    steps: int | None = None,
    shares: Tensor | None = None,
) -> tuple[Tensor, Policy]:
    """Pool indices of the images in the unlabeled term, and the policy that gives them targets.

    `table` is that of pseudo-labels, or None where the student reads none; `steps` those of the training, if known;
    `shares` (C,) what its predictions are aligned with, None: they are not.
    """
    unlabeled = split.indices("unlabeled")
    if table is not None:
        placed = np.isin(table["index"].to_numpy(), unlabeled.numpy())
        assert placed.all(), "an image with another role was pseudo-labeled"
    chosen, options = method(config.method), config.own_options()
    if not config.labels_every_step:
        assert table is not None, "the plan has a table for whoever learns from it"
        rows = table[_learned_from(table, config)]
        indices, labels, confidence, accepted = _tensors(rows, "index", "label", "confidence", "accepted")
        negative = _flags(rows["negative"], num_classes).to(device) if chosen.learns_negatives else None
        said = (labels.to(device), confidence.to(device), accepted.to(device), negative)
        return indices, chosen.policy(Told(config.policy, num_classes, *said, options=options))
    memory = config.policy.memory(steps, of_alignment=False)
    policy = chosen.policy(Told(config.policy, num_classes, momentum=memory, options=options))
    if config.policy.temperature != 1:
        policy = Sharpened(policy, config.policy.temperature)
    if shares is not None:
        policy = Aligned(policy, shares.to(device), config.policy.memory(steps, of_alignment=True))
    if table is None or not config.policy.ledger_share or (table["reason"] == REFUSED).any():
        return unlabeled, policy
    indices, labels, confidence = _tensors(table, "index", "label", "confidence")
    return indices, Blended(policy, labels.to(device), confidence.to(device), config.policy.ledger_share)


def _tensors(table: pd.DataFrame, *columns: str) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(table[name].to_numpy().copy()) for name in columns)


def _learned_from(pseudo_labels: pd.DataFrame, config: JointConfig) -> "pd.Series[bool]":
    """Of which images something is learned."""
    if not config.learns_from_accepted:
        return ~pseudo_labels["reason"].isin(["unknown", REFUSED])
    if config.facts.learns_negatives:
        return pseudo_labels["accepted"] | (pseudo_labels["negative"].map(len) > 0)
    return pseudo_labels["accepted"]


def _flags(classes: "pd.Series[Any]", num_classes: int) -> Tensor:
    """Lists of classes, one for each of N images, as bool (N, C)."""
    flags = torch.zeros(len(classes), num_classes, dtype=torch.bool)
    for place, named in enumerate(classes):
        flags[place, list(named)] = True
    return flags
