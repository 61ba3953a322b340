"""Stage `baseline`: supervised training on the labeled images alone."""

import math
from collections.abc import Mapping
from pathlib import Path

from semisup.config import PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.pipeline.log import StageLog
from semisup.stages.rungs import PROBE, climb
from semisup.stages.support.frozen import read_choice
from semisup.stages.support.images import pool_of
from semisup.stages.support.learner import learner
from semisup.stages.support.models.configured import fresh_model
from semisup.stages.support.models.device import pick_device
from semisup.stages.support.models.saved import save_model
from semisup.stages.support.probes import fit_baseline
from semisup.stages.support.training import EpochReporter, open_checkpoints, save_training
from semisup.system.randomness import derive_seed
from semisup.training.loop import train
from semisup.training.process_group import ALONE, ProcessGroup


def run(
    config: PipelineConfig,
    inputs: Mapping[str, Path],
    out_dir: Path,
    log: StageLog,
    checkpoints: Path | None = None,
    *,
    group: ProcessGroup = ALONE,
) -> None:
    """Leaves the best epoch's weights, the history and its curves; goes on from what lies in `checkpoints`.

    With `model.train: probe` or `auto`, `choose` is among the inputs and says what learns: a probe, or more.

    Every process of a `group` makes the same call, and the first one leaves the results.
    """
    if config.model.chooses:
        rung = read_choice(inputs["choose"])["baseline"]
        if rung == PROBE:
            fit_baseline(config, inputs, out_dir, log)
        else:
            climb(config, rung, inputs, out_dir, log)
        return
    device = pick_device(config)
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    model = fresh_model(config, facts, "baseline").to(device)
    learns = learner(config, config.baseline, model, pool_of(config, facts), log)
    labeled = learns.examples(split, "labeled", device)
    reporter = EpochReporter(log, config.baseline.epochs)
    result = train(
        learns.network,
        config.baseline,
        labeled,
        learns.examples(split, "validation", device),
        num_classes=facts.num_classes,
        steps_per_epoch=math.ceil(len(labeled.images) / config.baseline.batch_size),
        seed=derive_seed(config.seed, "baseline"),
        on_epoch=reporter.on_epoch,
        checkpoints=open_checkpoints(checkpoints, device, log),
        on_resume=reporter.on_resume,
        group=group,
        compiles=config.runtime.compile,
    )
    if group.rank:
        return  # the first process has the same weights
    save_model(
        config, facts, learns.weights(result.weights), out_dir, stage="baseline", predicted_by=model.predicted_by
    )
    save_training(result, config.baseline, out_dir, log, "Baseline: labeled images alone")
