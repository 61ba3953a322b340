"""Stage `joint`: a fresh student learns from labels and pseudo-labels together; in every round another one."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from semisup.checks.warnings import training_warnings
from semisup.config import JointConfig, PipelineConfig
from semisup.data.roles.split import Split
from semisup.errors import UserError
from semisup.pipeline.log import StageLog
from semisup.pseudo_labels import LEDGER, Policy
from semisup.pseudo_labels.method import Told
from semisup.pseudo_labels.modifiers import Aligned, Blended, Sharpened
from semisup.pseudo_labels.policies import method
from semisup.stages.rungs import PROBE, climb
from semisup.stages.support.files import (
    DatasetFacts,
    describe_network,
    fresh_model,
    load_model,
    pick_device,
    pool_of,
    read_json,
    save_model,
)
from semisup.stages.support.frozen import read_choice
from semisup.stages.support.learner import learner
from semisup.stages.support.probes import fit_student
from semisup.stages.support.training import EpochReporter, open_checkpoints, save_training
from semisup.system.memory import give_back
from semisup.system.randomness import derive_seed
from semisup.training.loop import UnlabeledTerm, train
from semisup.training.process_group import ALONE, ProcessGroup

LEARNED_FROM = ["index", "label", "confidence", "accepted", "round"]
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

    `teacher` among the inputs is whose weights the student starts with; without one it starts anew. Training goes on
    from what lies in `checkpoints`. Every process of a `group` makes the same call; the first one leaves the results.
    """
    joint, device = config.joint, pick_device(config)
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    columns = LEARNED_FROM + (["negative"] if joint.facts.learns_negatives else [])
    ledger = pd.read_parquet(inputs["pseudo_label"] / LEDGER, columns=columns)
    if config.model.chooses:
        weigh = method(joint.method).weigh
        assert weigh is not None, "a probe learns from labels that stand before it begins"
        rung = read_choice(inputs["choose"])["student"]
        if rung == PROBE:
            fit_student(config, inputs, ledger, out_dir, log, weigh=weigh)
        else:
            climb(config, rung, inputs, out_dir, log, ledger=ledger[_learned_from(ledger, joint)])
        return
    round_number = int(ledger["round"].iloc[0])
    of_round = f" round {round_number}" if round_number > 1 else ""  # no student starts like the one before it
    indices, policy = unlabeled_part(
        joint, split, ledger, facts.num_classes, device, starts_as_teacher="teacher" in inputs
    )
    del ledger  # of a million images it is large, and training needs none of it
    give_back()
    student = fresh_model(config, facts, f"student{of_round}")
    if "teacher" in inputs:
        _check_alike(config, inputs["teacher"])
        student.load_state_dict(load_model(inputs["teacher"]).state_dict())
    learns = learner(config, joint, student.to(device), pool_of(config, facts), log)
    labeled = learns.examples(split, "labeled", device)
    unlabeled = None
    if len(indices):
        unlabeled = UnlabeledTerm(
            learns.shown(indices, device, joint.augment, joint.strong_augment or joint.augment),
            policy,
            batch_size=joint.unlabeled_batch_size,
            alpha_final=joint.alpha_final,
            ramp_start=joint.ramp_start,
            ramp_end=joint.ramp_end,
            mix=joint.mixup_pseudo_labels,
            smooth=joint.smooth_pseudo_labels,
            augment=joint.strong_augment,
            teacher=joint.policy.teacher,
            view=joint.policy.view or joint.facts.view,
        )
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
    save_model(config, facts, learns.weights(result.weights), out_dir, stage="joint")
    summary = save_training(result, joint, out_dir, log, f"Student{of_round}: labels and pseudo-labels")
    for warning in training_warnings(summary, joint.alpha_final):
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
        if theirs.get(key, ours) != ours:
            raise UserError(
                f"{start}, but model.{key} is {ours!r} and that of the teacher {theirs[key]!r}; use the same, or "
                "start: fresh"
            )


def unlabeled_part(
    config: JointConfig,
    split: Split,
    ledger: pd.DataFrame,
    num_classes: int,
    device: torch.device,
    *,
    starts_as_teacher: bool = False,
) -> tuple[Tensor, Policy]:
    """Pool indices of the images in the unlabeled term, and the policy that gives them targets.

    A student that starts with its teacher's weights knows what the pseudo-label table says, and gets no share of it in
    its targets.
    """
    unlabeled = split.indices("unlabeled").numpy()
    assert np.isin(ledger["index"].to_numpy(), unlabeled).all(), "an image with another role was pseudo-labeled"
    chosen = method(config.method)
    rows = ledger[_learned_from(ledger, config)]
    indices, labels, confidence, accepted = (
        torch.from_numpy(rows[name].to_numpy().copy()) for name in ("index", "label", "confidence", "accepted")
    )
    negative = _flags(rows["negative"], num_classes).to(device) if chosen.learns_negatives else None
    labels, confidence = labels.to(device), confidence.to(device)
    policy = chosen.policy(
        Told(config.policy, num_classes, labels, confidence, accepted.to(device), negative, config.own_options())
    )
    if not config.labels_every_step:
        return indices, policy
    if config.policy.temperature != 1:
        policy = Sharpened(policy, config.policy.temperature)
    if config.policy.distribution_alignment:
        shares = torch.bincount(split.labels("labeled"), minlength=num_classes) / len(split.labels("labeled"))
        policy = Aligned(policy, shares.to(device), config.policy.momentum)
    if config.policy.ledger_share and not starts_as_teacher:
        policy = Blended(policy, labels, confidence, config.policy.ledger_share)
    return indices, policy


def _learned_from(ledger: pd.DataFrame, config: JointConfig) -> "pd.Series[bool]":
    """Of which images something is learned."""
    if not config.learns_from_accepted:
        return ledger["accepted"] | True
    if config.facts.learns_negatives:
        return ledger["accepted"] | (ledger["negative"].map(len) > 0)
    return ledger["accepted"]


def _flags(classes: "pd.Series[Any]", num_classes: int) -> Tensor:
    """Lists of classes, one for each of N images, as bool (N, C)."""
    flags = torch.zeros(len(classes), num_classes, dtype=torch.bool)
    for place, named in enumerate(classes):
        flags[place, list(named)] = True
    return flags
