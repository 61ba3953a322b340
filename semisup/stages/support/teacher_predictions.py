"""What a teacher thinks of every unlabeled image, shard by shard on disk: no table of all of it is ever in memory."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from semisup.calibration.measures import temper
from semisup.config import PipelineConfig
from semisup.data.datasets import ImageSet
from semisup.data.rows import Rows
from semisup.errors import UserError
from semisup.evaluation.ensembles import Ensemble, predict_with_disagreement
from semisup.pipeline.log import StageLog
from semisup.pseudo_labels.modifiers import align
from semisup.pseudo_labels.uncertainty import drops_out, mc_dropout
from semisup.stages.support.features import looked_at
from semisup.system.memory import keep_for_reuse
from semisup.system.randomness import derive_seed
from semisup.training.predict import predict_views
from semisup.training.process_group import ALONE, ProcessGroup

SHARD = 16_384
"""Images whose tables are computed, written and read at a time: a kill costs one shard, and memory holds one. It never
varies, for the draws of views and dropout are those of a shard, whichever process asks for it."""
Tables = Mapping[str, Tensor]


@dataclass(frozen=True)
class ShardPredictions:
    """What the teacher thinks of the n images of one shard."""

    rows: slice
    """Which of the unlabeled images they are."""
    probabilities: NDArray[np.float32]
    """(n, C), calibrated and aligned as configured."""
    raw_confidence: NDArray[np.float32]
    """(n,): what it said before that."""
    disagreement: NDArray[np.float32] | None = None
    """(n,), of an ensemble's members."""
    deviations: NDArray[np.float32] | None = None
    """(n, C), over the passes of Monte Carlo dropout."""

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(n,)."""
        labels: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return labels

    @property
    def uncertainty(self) -> NDArray[np.float32] | None:
        """Deviation of each image's label (n,), which alignment may have changed."""
        if self.deviations is None:
            return None
        return np.take_along_axis(self.deviations, self.labels[:, None], axis=1)[:, 0]


@dataclass(frozen=True)
class Shards:
    """Tables of `count` images in the files `shard-00000.safetensors` … of a folder; a file there is whole."""

    folder: Path
    count: int
    size: int = SHARD

    def slices(self) -> list[slice]:
        """The images of each shard."""
        return [slice(start, min(start + self.size, self.count)) for start in range(0, self.count, self.size)]

    def fill(
        self,
        compute: Callable[[int, slice], Tables],
        say: Callable[[int, int], None] = lambda done, total: None,
        group: ProcessGroup = ALONE,
    ) -> None:
        """Compute what is missing, each process of a process group every so many-th shard; then all of it is there.

        `compute` gets a shard's number and its images; `say` is told how many of how many images are done.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for number, rows in enumerate(self.slices()):
            if number % group.size == group.rank and not self._is_there(number):
                file = self._file(number)
                written = file.with_suffix(".tmp")
                tables = {name: table.contiguous() for name, table in compute(number, rows).items()}
                safetensors.torch.save_file(tables, written)
                with written.open("rb") as opened:
                    os.fsync(opened.fileno())
                written.replace(file)
            say(rows.stop, self.count)
        group.summed(0.0)  # whoever comes here has written all of its own

    def read(self, number: int) -> dict[str, NDArray[np.float32]]:
        """The tables of one shard."""
        return safetensors.numpy.load_file(self._file(number))

    def _file(self, number: int) -> Path:
        return self.folder / f"shard-{number:05d}.safetensors"

    def _is_there(self, number: int) -> bool:
        try:
            self.read(number)
        except (FileNotFoundError, SafetensorError):
            return False
        return True


@dataclass(frozen=True)
class TeacherPredictions:
    """The shards of a pass, read as often as they are needed, tempered and aligned."""

    shards: Shards
    temperature: float = 1.0
    class_shares: Tensor | None = None
    """(C,), which the whole table's probability is to be scaled to; None: it stays as it is."""
    mean: Tensor | None = None
    """(C,), of the calibrated probabilities that count, where there are shares."""

    @classmethod
    def of(
        cls,
        shards: Shards,
        temperature: float,
        class_shares: Tensor | None,
        *,
        leave_out: NDArray[np.bool_] | None = None,
    ) -> "TeacherPredictions":
        """With the mean that alignment needs, which takes a look at everything; some (N,) may not count in it."""
        if class_shares is None:
            return cls(shards, temperature)
        counted = np.ones(shards.count, bool) if leave_out is None or leave_out.all() else ~leave_out
        total = np.zeros(len(class_shares))
        for predicted in cls(shards, temperature):
            total += predicted.probabilities[counted[predicted.rows]].sum(axis=0, dtype=np.float64)
        return cls(shards, temperature, class_shares, torch.from_numpy(total / counted.sum()).float())

    def __iter__(self) -> Iterator[ShardPredictions]:
        """Shard after shard."""
        for number, rows in enumerate(self.shards.slices()):
            tables = self.shards.read(number)
            raw = temper(tables["log_probabilities"], 1.0)
            calibrated = raw if self.temperature == 1 else temper(tables["log_probabilities"], self.temperature)
            if self.class_shares is not None and self.mean is not None:
                calibrated = align(torch.from_numpy(calibrated), self.class_shares, self.mean).numpy()
            yield ShardPredictions(
                rows, calibrated, raw.max(axis=1), tables.get("disagreement"), tables.get("deviations")
            )


def ask(
    model: nn.Module,
    pool: ImageSet,
    indices: Tensor,
    shards: Shards,
    *,
    config: PipelineConfig,
    log: StageLog,
    group: ProcessGroup = ALONE,
) -> None:
    """Fill the shards with what a teacher on its device says of the pool's images at `indices` (N,).

    Raises:
        UserError: it shall be asked with dropout, and has none.
    """
    keep_for_reuse()
    settings = config.pseudo_label
    size, passes, views = settings.batch_size, settings.uncertainty.passes, settings.test_time.views
    if passes and not drops_out(model):
        raise UserError(
            f"pseudo_label.uncertainty.passes={passes}, but the teacher has no dropout; set model.dropout: 0.2"
        )
    shown = pool.images
    if not passes and views == 1:
        model, shown = looked_at(config, model, pool, "pool", log)

    def seed(number: int, purpose: str) -> int:
        return derive_seed(config.seed, f"{purpose} of shard {number}" if number else purpose)

    def compute(number: int, rows: slice) -> Tables:
        images = Rows(shown, indices[rows])

        def on_batch(done: int, total: int) -> None:
            log.progress(rows.start + done * (rows.stop - rows.start) // total, len(indices), "images")

        if isinstance(model, Ensemble):
            table, disagreement = predict_with_disagreement(model, images, size, on_batch)
            return {"log_probabilities": table, "disagreement": disagreement}
        if passes:
            mean, deviations = mc_dropout(model, images, passes, size, seed(number, "teacher's passes"))
            logarithms = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
            return {"log_probabilities": logarithms, "deviations": deviations}
        views_seed = seed(number, "teacher's views")
        table = predict_views(model, images, settings.test_time, seed=views_seed, batch_size=size, on_batch=on_batch)
        return {"log_probabilities": table}

    shards.fill(compute, lambda done, total: log.progress(done, total, "images"), group)
