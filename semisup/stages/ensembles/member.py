"""Stage `member`: one model of an ensemble, trained like the baseline on its own sample or its own weights."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from semisup.config import AugmentConfig, PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.evaluation.ensembles import bootstrap, samme_update, samme_weight, weighted_error
from semisup.pipeline.log import StageLog
from semisup.stages.support.images import pool_of
from semisup.stages.support.learner import learner
from semisup.stages.support.models.configured import fresh_model
from semisup.stages.support.models.device import pick_device
from semisup.stages.support.models.saved import save_model
from semisup.stages.support.training import EpochReporter, open_checkpoints, save_training
from semisup.system.json_files import write_json
from semisup.system.randomness import derive_seed, numpy_generator, torch_generator
from semisup.training.batches import augmented
from semisup.training.loop import Examples, train
from semisup.training.predict import predict_log_probabilities
from semisup.wording import counted

VIEWS = 16
"""Augmented views of each labeled image on which a boosted member's error is measured."""


def run(
    config: PipelineConfig,
    inputs: Mapping[str, Path],
    out_dir: Path,
    log: StageLog,
    *,
    number: int,
    checkpoints: Path | None = None,
) -> None:
    """Leaves the member's weights, its history and curves, and `member.json`; in boosting also `boosting.parquet`.

    `number` counts the members from 1. `previous` among the inputs is the folder of the boosted member before.
    Training goes on from what lies in `checkpoints`.
    """
    device = pick_device(config)
    torch.set_num_threads(1)  # whether members are trained at the same time or in turn must not show in their bits
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    model = fresh_model(config, facts, f"member {number}").to(device)
    learns = learner(config, config.baseline, model, pool_of(config, facts), log, keeps_views=False)
    labeled = learns.examples(split, "labeled", device)
    drawn, weights = np.arange(len(labeled.images)), np.ones(len(labeled.images))
    match config.ensemble.method:
        case "bagging":
            drawn = bootstrap(len(drawn), numpy_generator(config.seed, f"member {number} bootstrap"))
        case "boosting" if "previous" in inputs:
            weights = pd.read_parquet(inputs["previous"] / "boosting.parquet")["weight"].to_numpy().copy()

    reporter = EpochReporter(log, config.baseline.epochs)
    result = train(
        learns.network,
        config.baseline,
        _sample(labeled, drawn, weights),
        learns.examples(split, "validation", device),
        num_classes=facts.num_classes,
        steps_per_epoch=math.ceil(len(drawn) / config.baseline.batch_size),
        seed=derive_seed(config.seed, f"member {number}"),
        on_epoch=reporter.on_epoch,
        checkpoints=open_checkpoints(checkpoints, device, log),
        on_resume=reporter.on_resume,
        compiles=config.runtime.compile,
    )
    save_model(config, facts, learns.weights(result.weights), out_dir, stage="member", predicted_by=model.predicted_by)
    save_training(result, config.baseline, out_dir, log, f"Member {number} ({config.ensemble.method})")
    learns.network.load_state_dict(result.weights)  # so far it is that of the last epoch
    summary: dict[str, Any] = {"number": number, "method": config.ensemble.method}
    match config.ensemble.method:
        case "bagging":
            summary |= {"weight": 1.0} | _out_of_bag(learns.network, labeled, drawn, facts, log)
        case "boosting":
            shares = wrong_shares(
                learns.network,
                labeled,
                config.baseline.augment,
                torch_generator(config.seed, f"member {number} views", device),
            )
            summary |= _boost(weights, shares, facts.num_classes, log)
            table = pd.DataFrame({"id": split.ids("labeled"), "wrong": shares, "weight": summary.pop("sample_weights")})
            table.to_parquet(out_dir / "boosting.parquet", index=False)
    write_json(out_dir / "member.json", summary)


def _sample(labeled: Examples, drawn: NDArray[np.int64], weights: NDArray[np.float64]) -> Examples:
    indices = torch.from_numpy(drawn).to(labeled.images.device)
    in_loss = torch.from_numpy(weights).float().to(labeled.images.device)[indices]
    equal = bool((weights == 1).all())
    return Examples(labeled.images[indices], labeled.labels[indices], None if equal else in_loss)


def _out_of_bag(
    model: nn.Module, labeled: Examples, drawn: NDArray[np.int64], facts: DatasetFacts, log: StageLog
) -> dict[str, Any]:
    """How the member does on the labeled images that its sample left out: an accuracy that costs no label."""
    left_out = np.setdiff1d(np.arange(len(drawn)), drawn)
    never_seen = set(range(facts.num_classes)) - set(labeled.labels.cpu().numpy()[drawn].tolist())
    for label in sorted(never_seen):
        log.warning(
            f"the bootstrap sample holds no image of class {facts.class_names[label]!r}; "
            "use more split.labeled_per_class"
        )
    accuracy = None
    if len(left_out):
        indices = torch.from_numpy(left_out).to(labeled.images.device)
        predicted = predict_log_probabilities(model, labeled.images[indices]).argmax(dim=1)
        accuracy = float((predicted == labeled.labels[indices].cpu()).double().mean())
        log.metrics({"out_of_bag_accuracy": accuracy, "out_of_bag_images": len(left_out)})
        log.info(
            f"{accuracy:.1%} of the {counted(len(left_out), 'labeled image')} right that its bootstrap sample left out"
        )
    return {"out_of_bag_accuracy": accuracy, "out_of_bag_images": len(left_out)}


@torch.inference_mode()
def wrong_shares(
    model: nn.Module, labeled: Examples, config: AugmentConfig, generator: torch.Generator
) -> NDArray[np.float64]:
    """Which share of each image's augmented views the model gets wrong, (N,), in eval mode.

    Boosting lives on training errors. A network makes none on a few hundred images, but it learns from augmented views
    of them and makes some there. Without augmentation there is one view, the image itself, and this is plain SAMME.
    """
    views = 1 if config.changes_nothing else VIEWS
    wrong = torch.zeros(len(labeled.images), dtype=torch.float64)
    for _ in range(views):
        view = augmented(labeled.images[:], config, generator)
        wrong += (predict_log_probabilities(model, view).argmax(dim=1) != labeled.labels.cpu()).double()
    shares: NDArray[np.float64] = (wrong / views).numpy()
    return shares


def _boost(
    weights: NDArray[np.float64], shares: NDArray[np.float64], num_classes: int, log: StageLog
) -> dict[str, Any]:
    """The member's weight in the vote, its weighted error, and the `sample_weights` (N,) for the next one."""
    error = weighted_error(weights, shares)
    weight = samme_weight(error, num_classes)
    raised = samme_update(weights, shares, weight)
    log.metrics({"boosting_error": error, "boosting_weight": weight, "largest_sample_weight": float(raised.max())})
    log.info(f"weighted error {error:.1%}, weight {weight:.2f} in the vote; sample weights up to {raised.max():.1f}")
    if error == 0:
        log.warning(
            "this member fits every label, so no weight is raised for the next one: boosting adds only another start; "
            "use fewer baseline.epochs, a smaller model.width or stronger baseline.augment"
        )
    elif weight == 0:
        log.warning(
            f"this member is wrong on {error:.0%} of the weight, no better than guessing: it has no vote, and the "
            "weights begin anew; use more baseline.epochs or a larger model.width"
        )
    return {"weight": weight, "error": error, "sample_weights": raised}
