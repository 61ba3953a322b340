"""Stage `joint`: a fresh student learns from labels and pseudo-labels together; in every round another one."""

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from semisup.checks import training_warnings
from semisup.config import PipelineConfig
from semisup.data.split import Split
from semisup.pseudo_labels import Policy
from semisup.pseudo_labels.fixed import FixedLabels
from semisup.pseudo_labels.online import OnlineArgmax
from semisup.randomness import derive_seed
from semisup.stages import StageLog
from semisup.stages.files import DatasetFacts, fresh_model, pick_device, pool_of, save_model
from semisup.stages.training import EpochReporter, open_checkpoints, save_training
from semisup.training.loop import Examples, UnlabeledTerm, train


def run(
    config: PipelineConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog, checkpoints: Path | None = None
) -> None:
    """Leaves the student's best weights, the history with α and mask rate, and its curves.

    Training goes on from what lies in `checkpoints`.
    """
    joint, device = config.joint, pick_device(config)
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    images = pool_of(config).images
    labeled = Examples(images[split.indices("labeled")].to(device), split.labels("labeled").to(device))
    validation = Examples(images[split.indices("validation")].to(device), split.labels("validation").to(device))

    ledger = pd.read_parquet(inputs["pseudo_label"] / "pseudo_labels.parquet")
    round_number = int(ledger["round"].iloc[0])
    of_round = f" round {round_number}" if round_number > 1 else ""  # no student starts like the one before it
    indices, policy = _unlabeled_part(config, split, ledger, device)
    unlabeled = None
    if len(indices):
        unlabeled = UnlabeledTerm(
            images[indices].to(device),
            policy,
            batch_size=joint.unlabeled_batch_size,
            alpha_final=joint.alpha_final,
            ramp_start=joint.ramp_start,
            ramp_end=joint.ramp_end,
            mix=joint.mixup_pseudo_labels,
            smooth=joint.smooth_pseudo_labels,
        )
    else:
        log.warning("no pseudo-label was accepted: the student learns from the labelled images alone")
    if unlabeled and joint.epoch_over == "unlabeled":
        steps_per_epoch = math.ceil(len(indices) / joint.unlabeled_batch_size)
    else:
        steps_per_epoch = math.ceil(len(labeled.images) / joint.batch_size)
    reporter = EpochReporter(log, joint.epochs)
    result = train(
        fresh_model(config, facts, f"student{of_round}").to(device),
        joint,
        labeled,
        validation,
        num_classes=facts.num_classes,
        steps_per_epoch=steps_per_epoch,
        seed=derive_seed(config.seed, f"joint{of_round}"),
        unlabeled=unlabeled,
        on_epoch=reporter.on_epoch,
        checkpoints=open_checkpoints(checkpoints, device, log),
        on_resume=reporter.on_resume,
    )
    save_model(config, facts, result.weights, out_dir, stage="joint")
    summary = save_training(result, joint, out_dir, log, f"Student{of_round}: labels and pseudo-labels")
    for warning in training_warnings(summary, joint.alpha_final):
        log.warning(warning)


def _unlabeled_part(
    config: PipelineConfig, split: Split, ledger: pd.DataFrame, device: torch.device
) -> tuple[Tensor, Policy]:
    """Pool indices of the images in the unlabelled term, and the policy that gives them targets."""
    match config.joint.method:
        case "online":
            return split.indices("unlabeled"), OnlineArgmax()
        case "threshold":
            accepted = ledger[ledger["accepted"]]
            unlabeled = set(split.ids("unlabeled"))
            assert unlabeled.issuperset(accepted["id"]), "an image with another role was pseudo-labelled"
            indices, labels = (torch.from_numpy(accepted[name].to_numpy().copy()) for name in ("index", "label"))
            return indices, FixedLabels(labels.to(device))
