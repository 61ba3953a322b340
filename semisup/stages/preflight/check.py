"""What can be known to be wrong before anything is started or written."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from torch import nn

from semisup.checks.warnings import config_warnings, too_few_to_certify
from semisup.config import CalibratedThreshold, PipelineConfig, alignment_of
from semisup.data.datasets import digest
from semisup.data.own_images import Progress
from semisup.data.own_images.vectors import order_digest, read_vectors
from semisup.data.roles.annotations import annotations_digest, read_annotations
from semisup.data.roles.split import ROLES, Role
from semisup.data.sources import source
from semisup.errors import UserError
from semisup.evaluation.compound import draw_pairs
from semisup.frozen.graph import EXACT
from semisup.lineage.fingerprints import sha256
from semisup.networks.classifier import Classifier
from semisup.networks.families import family
from semisup.networks.pretrained import expect_weights, own_normalization
from semisup.pipeline.specs import StageSpec
from semisup.pseudo_labels.uncertainty import drops_out
from semisup.stages.open_world.elsewhere import cannot_be_strict
from semisup.stages.open_world.shares import given_shares
from semisup.stages.open_world.unknown import check_enough
from semisup.stages.preflight.feasible import (
    check_batches,
    check_memory,
    check_network,
    check_processes,
    check_targets,
    check_unlabeled,
    idle_in_folder,
)
from semisup.stages.split import plan
from semisup.stages.support.images import images_for_test, pool_of
from semisup.stages.support.models.configured import check_inference, network, weights_files, weights_of
from semisup.system.memory import give_back
from semisup.wording import counted


@dataclass(frozen=True)
class DataDigests:
    """What the data set is, whatever folder it is read from: SHA-256 in hex."""

    pool: str
    test: str
    weights: str = ""
    """Of the file of pretrained weights; "" where there is none."""
    annotations: str = ""
    """Of what people said about single images; "": nothing."""
    order: str = ""
    """Of what says which row of `data.features` is whose; "" where the file itself does."""

    @property
    def version(self) -> str:
        """Of the pool and the annotations about it."""
        return sha256(f"{self.pool}+{self.annotations}".encode()) if self.annotations else self.pool

    def seen_by(self, spec: StageSpec) -> str:
        """Digest of what a stage reads."""
        parts = [self.pool]
        if "test" in spec.sees:
            parts.append(self.test)
        if "annotations" in spec.sees and self.annotations:
            parts.append(self.annotations)
        return "+".join(parts)


@dataclass(frozen=True)
class Checked:
    """A config that can run."""

    warnings: list[str]
    digests: DataDigests
    images: Mapping[Role, int]
    """How many play each role."""


def check(config: PipelineConfig, say: Progress = lambda done, total, note: None, *, ensemble: bool = False) -> Checked:
    """Make sure that the data are there, the split exists and the model can be built and trained here.

    `ensemble`: not for a pipeline, but for an ensemble alone.

    The test images and labels are hashed here and looked at nowhere but in `evaluate`. Images of one's own are decoded
    here if they are not yet: `say` is told of it.

    Raises:
        UserError: one of them is not so.
    """
    check_inference(config)
    repaired = source(config.data.name).prepare(config.data, say)
    pool, test = pool_of(config), images_for_test(config)
    check_targets(config, pool.num_classes)
    split = plan(config, pool, test.ids)
    roles = split.table["role"]
    images = {role: int((roles == role).sum()) for role in ROLES}
    wanted = config.pseudo_label.threshold
    foreign = cannot_be_strict(config, split) if isinstance(wanted, CalibratedThreshold) else ""
    del roles, split
    give_back()
    if (
        isinstance(wanted, CalibratedThreshold)
        and wanted.fallback == "stop"
        and (shortage := too_few_to_certify(config))
    ):
        raise UserError(f"{shortage}, or a number as pseudo_label.threshold.fallback")
    for key, aligned in (
        ("pseudo_label.distribution_alignment", alignment_of(config.pseudo_label.distribution_alignment)),
        ("joint.policy.distribution_alignment", config.joint.alignment),
    ):
        if aligned and aligned.target == "given":
            given_shares(key, aligned, pool.class_names)
    if config.evaluate.compound:
        draw_pairs(test.labels.numpy(), np.random.default_rng(0))  # whether there are any
    if config.data.features is not None:
        for part in (pool, test):
            read_vectors(config.data, part.ids)
    weights = expect_weights(weights_files(config)) if config.model.pretrained else ""
    check_batches(config, images["labeled"], images["unlabeled"])
    if not ensemble:
        check_enough(config, images["unlabeled"])
    warnings = _doubts(config)
    warnings += [*check_unlabeled(config, images["unlabeled"], pool.num_classes), *idle_in_folder(config)]
    warnings += [foreign] if foreign else []
    _check_frozen(config, images, ensemble=ensemble)
    check_network(config, pool.image_shape, pool.num_classes)
    channels = pool.image_shape[0]
    model = network(config, pool.image_shape, pool.num_classes, [0.5] * channels, [0.5] * channels, seed=0)
    if config.data.features is None:
        check_memory(config, model, pool.image_shape)
        _check_probe(config, model, pool.image_shape)
    passes = config.pseudo_label.uncertainty.passes
    if passes and not drops_out(model):
        raise UserError(
            f"pseudo_label.uncertainty.passes={passes}, but model.name={config.model.name!r} has no dropout, so that "
            "all passes would be equal; set for example model.dropout: 0.2"
        )
    if config.runtime.device == "cuda" and not torch.cuda.is_available():
        raise UserError("runtime.device='cuda', but torch finds no CUDA device; use 'auto' or 'cpu'")
    check_processes(config)
    annotations = annotations_digest(read_annotations(config.data.annotations))
    digests = DataDigests(digest(pool), digest(test), weights, annotations, order_digest(config.data))
    warnings = [*config_warnings(config, pool.num_classes, images["validation"], ensemble=ensemble), *warnings]
    return Checked([*repaired, *warnings], digests, images)


def _check_frozen(config: PipelineConfig, images: Mapping[Role, int], *, ensemble: bool) -> None:
    """Can stage `choose` compare so many images, and is there one?

    Raises:
        UserError: there is not.
    """
    train = f"model.train={config.model.train!r}"
    if not config.model.chooses:
        return
    if ensemble:
        raise UserError(f"{train}, but members of an ensemble are trained step by step; use train: head")
    compared = images["labeled"] + images["unlabeled"] + images["calibration"]
    if compared > EXACT and find_spec("faiss") is None:
        raise UserError(
            f"{train} compares {counted(compared, 'image')}, and beyond {EXACT:,} that needs faiss; install it "
            "(pip install 'semisup[faiss]'), or use model.train: head"
        )


def _doubts(config: PipelineConfig) -> list[str]:
    doubts = []
    for part in config.model.parts:
        doubt = None
        if part.weights is not None and part.normalize != "data":
            doubt = family(part.name).doubt(part.name, part.weights)
        if doubt and own_normalization(weights_of(part)) is None:
            doubts.append(doubt)
    return doubts


def _check_probe(config: PipelineConfig, model: Classifier, image_shape: tuple[int, int, int]) -> None:
    """Nothing may come after the layer that alone is trained, or its features say nothing."""
    if config.model.train not in {"head", "probe", "auto"}:
        return
    images = torch.randint(0, 256, (2, *image_shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model.eval()
    with torch.inference_mode():
        features = model.features(images)
        ends = features.dim() == 2
        if config.model.train == "head" and ends:  # of the others there is none yet
            ends = isinstance(model.head, nn.Linear) and torch.equal(model.head(features), model(images))
    if not ends:
        raise UserError(
            f"model.train={config.model.train!r}, but model.name={config.model.name!r} does not end with a linear "
            "layer; use train: all, or another network"
        )
