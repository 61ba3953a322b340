"""Stage `labels`: the model that is kept labels every unlabeled image. These are the labels that a run stands for."""

from collections.abc import Mapping
from pathlib import Path

from semisup.config import PipelineConfig
from semisup.pipeline.log import StageLog
from semisup.stages.pseudo_label import label_all
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
    """Leaves what stage `pseudo_label` leaves, of the model in the folder `kept`, and perhaps `drift.png`.

    Of a method that labels at every step this is the only pass over all unlabeled images. Nobody learns from it:
    `export`, `review` and the report speak of it. `calibrate` has the kept model's temperature and perhaps its
    certified threshold. `before` is the split before of images of one's own.
    """
    label_all(config, inputs, out_dir, log, checkpoints, group=group)
