"""Unlabeled images that come from elsewhere than the calibration images: by what they are called, by how they look."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semisup.config import PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.own_images import own_images
from semisup.data.roles.split import Role, Split
from semisup.data.rows import Rows
from semisup.networks.classifier import Classifier
from semisup.open_world.exchangeability import Comparison, compare_as_seen
from semisup.pipeline.log import StageLog
from semisup.stages.support.features import last_layer_inputs, looked_at
from semisup.stages.support.images import pool_of
from semisup.stages.support.models.saved import load_placed
from semisup.system.randomness import numpy_generator
from semisup.training.predict import predict_log_probabilities
from semisup.wording import counted

COMPARED: tuple[Role, ...] = ("labeled", "calibration", "unlabeled")
MOST_COMPARED = 2_000
"""Images of each."""


def named_unlabeled(config: PipelineConfig, indices: Tensor) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which images (N,) of the pool their folder or manifest calls unlabeled: no labeled image comes from there."""
    if not config.data.facts.own_images:
        return np.zeros(len(indices), dtype=bool)
    named: np.ndarray[tuple[int], np.dtype[np.bool_]] = own_images(config.data).given[indices.numpy()] == "unlabeled"
    return named


def from_elsewhere(config: PipelineConfig, split: Split) -> str:
    """Why nothing certified holds for all unlabeled images, where their place already says so; "" where it does not."""
    named = named_unlabeled(config, split.indices("unlabeled"))
    return told_from_elsewhere(int(named.sum()), len(named), by_manifest=config.data.manifest is not None)


def cannot_be_strict(config: PipelineConfig, split: Split) -> str:
    """The same as a warning, before anything is trained; "" where nothing speaks against a strict certificate."""
    foreign = from_elsewhere(config, split)
    return foreign and (
        f"pseudo_label.threshold: {foreign}, so that what calibration images show need not hold for them; have "
        "some of the accepted labels audited (semisup review RUN --audit 200)"
    )


def told_from_elsewhere(named: int, unlabeled: int, *, by_manifest: bool) -> str:
    """In words; "" of none."""
    if not named:
        return ""
    place, does = ("are unlabeled in the manifest", "is") if by_manifest else ("come from unlabeled/", "does")
    return f"{named:,} of {counted(unlabeled, 'unlabeled image')} {place}, and no calibration image {does}"


def compare_with_pool(
    config: PipelineConfig, inputs: Mapping[str, Path], split: Split, facts: DatasetFacts, log: StageLog
) -> Comparison | None:
    """Are calibration images and unlabeled ones drawn alike, as the `baseline` sees them? None: too few to tell.

    The baseline has learned from neither; the embedding of a probe is fitted on both, without labels. A student has
    learned from the unlabeled images: even of images that are alike, it would see the ones otherwise than the others.
    """
    model, pool = load_placed(inputs["baseline"], config), pool_of(config, facts)
    assert isinstance(model, Classifier), "a baseline is one network"
    rng = numpy_generator(config.seed, "calibration compared")
    chosen = {role: np.sort(rng.permutation(len(split.ids(role)))[:MOST_COMPARED]) for role in COMPARED}
    indices = torch.cat([split.indices(role)[rows] for role, rows in chosen.items()])
    asked, shown = looked_at(config, model, pool, "pool", log)
    logarithms = predict_log_probabilities(asked, Rows(shown, indices)).numpy()
    features = last_layer_inputs(model, asked, shown, indices).numpy()
    ends = np.cumsum([len(rows) for rows in chosen.values()])
    known, calibration, unlabeled = np.split(np.arange(len(indices)), ends[:-1])
    return compare_as_seen(
        (features[known], split.labels("labeled")[chosen["labeled"]].numpy()),
        (features[calibration], logarithms[calibration]),
        (features[unlabeled], logarithms[unlabeled]),
        rng,
    )
