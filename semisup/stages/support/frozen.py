"""What the stages upon a frozen network share: its features of the pool, embedded, and what `choose` left."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from semisup.config import PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.data.rows import Rows
from semisup.frozen.embedding import Embedding, embed, fit_embedding
from semisup.frozen.learning import Points
from semisup.frozen.network import EmbeddedProbe, ProbedClassifier
from semisup.frozen.probe import Probe
from semisup.pipeline.log import StageLog
from semisup.stages.support.features import features_of
from semisup.stages.support.images import pool_of
from semisup.stages.support.models.configured import fresh_model
from semisup.stages.support.models.device import pick_device
from semisup.system.json_files import read_json, write_json

EMBEDDING, CHOICE = "embedding.safetensors", "choice.json"


@dataclass(frozen=True, eq=False)
class FrozenPool:
    """The pool as a frozen network sees it.

    Attributes:
        model: the network; its probe is a placeholder until :meth:`with_probe`.
        features: float32 (N, D), memory-mapped, of all images of the pool.
        labeled: int64 (n,), pool indices of the images that learning may know the label of.
        labels: int64 (n,).
        unlabeled: int64 (m,), pool indices.
        calibration: int64 (k,), pool indices of the images whose labels `calibrate` alone knows.
        num_classes: C.
    """

    model: ProbedClassifier
    features: Tensor
    labeled: Tensor
    labels: Tensor
    unlabeled: Tensor
    calibration: Tensor
    num_classes: int

    def fit_embedding(self) -> Embedding:
        """That of the labeled, the unlabeled and the calibration images: to a probe the last two shall be alike."""
        return fit_embedding(Rows(self.features, torch.cat([self.labeled, self.unlabeled, self.calibration])))

    def points(self, embedding: Embedding, unlabeled_rows: Tensor | None = None) -> Points:
        """The labeled and the unlabeled images, or in place of the latter others of the pool (k,), embedded."""
        without_label = self.unlabeled if unlabeled_rows is None else unlabeled_rows
        labeled, unlabeled = (embed(embedding, Rows(self.features, rows)) for rows in (self.labeled, without_label))
        return Points(labeled, self.labels, unlabeled, self.num_classes)

    def with_probe(self, embedding: Embedding, probe: Probe) -> dict[str, Tensor]:
        """The weights of the network with this probe."""
        self.model.probe = EmbeddedProbe.of(embedding, probe)
        return dict(self.model.state_dict())


def frozen_pool(config: PipelineConfig, split: Split, facts: DatasetFacts, log: StageLog) -> FrozenPool:
    """The pool's features, computed if nobody has done so yet."""
    config = as_probe(config)
    model = fresh_model(config, facts, "frozen").to(pick_device(config))
    assert isinstance(model, ProbedClassifier), "model.train: probe builds no other"
    model.preprocess.deskew = config.model.deskew  # the images are not looked at by anything else
    features = features_of(config, model, pool_of(config, facts), "pool", log)
    labeled, labels = split.indices("labeled"), split.labels("labeled")
    unlabeled, calibration = split.indices("unlabeled"), split.indices("calibration")
    return FrozenPool(model, features, labeled, labels, unlabeled, calibration, facts.num_classes)


def as_probe(config: PipelineConfig) -> PipelineConfig:
    """The config whose network is frozen below a probe, whatever else `model.train: auto` may lead to."""
    return config.model_copy(update={"model": config.model.model_copy(update={"train": "probe"})})


def write_choice(folder: Path, embedding: Embedding, choice: Mapping[str, Any]) -> None:
    """Leave what the other stages need."""
    tensors = {"mean": embedding.mean.contiguous(), "components": embedding.components.contiguous()}
    (folder / EMBEDDING).write_bytes(safetensors.torch.save(tensors))
    write_json(folder / CHOICE, choice)


def read_embedding(folder: Path) -> Embedding:
    """What :func:`write_choice` left."""
    return Embedding(**safetensors.torch.load_file(folder / EMBEDDING))


def read_choice(folder: Path) -> Any:
    """What :func:`write_choice` left."""
    return read_json(folder / CHOICE)
