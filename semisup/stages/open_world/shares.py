"""Which class shares distribution alignment aims at, and how far these are from those of the pool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semisup.config import AlignmentConfig, PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.data.rows import Rows
from semisup.errors import UserError
from semisup.open_world.shares import Shares, estimate_shares
from semisup.pipeline.log import StageLog
from semisup.stages.support.features import looked_at
from semisup.stages.support.images import pool_of
from semisup.stages.support.models.saved import load_placed
from semisup.system.randomness import numpy_generator
from semisup.training.predict import predict_log_probabilities
from semisup.wording import counted

SAMPLE = 2_000
"""Images of the pool, drawn at random, that the estimate is made of: of more, held-out images would still be few."""
FAR = 0.1
"""Total variation distance: ten images in a hundred would have to be of another class."""
SHOWN = 3
"""Classes whose estimated shares are told, those furthest from the labeled images'."""
WHOSE = {"labeled": "the labeled images' class shares", "uniform": "equal class shares", "given": "the given shares"}


@dataclass(frozen=True, eq=False)
class Aim:
    """What alignment scales the mean of the predictions to."""

    shares: Tensor
    """float32 (C,), of sum 1."""
    summary: Mapping[str, Any]
    """As it is saved: target, shares, labeled, estimate, low, high, held_out, pool."""


def find_aim(
    alignment: AlignmentConfig,
    config: PipelineConfig,
    inputs: Mapping[str, Path],
    split: Split,
    facts: DatasetFacts,
    *,
    key: str,
    log: StageLog,
    leave_out: NDArray[np.bool_] | None = None,
) -> Aim:
    """The shares that the `alignment` of a config's `key` asks for; how they compare with the pool's is logged.

    These are estimated from predictions of the `baseline` among the inputs, which has learned from labels alone, and
    from validation images. `leave_out` (N,) are unlabeled images that are of none of the classes.

    Raises:
        UserError: shares are given for other classes, or an estimate is asked for and there is no validation image.
    """
    labels = split.labels("labeled").numpy()
    labeled = np.bincount(labels, minlength=facts.num_classes) / len(labels)
    rows = np.arange(len(split.ids("unlabeled"))) if leave_out is None else np.flatnonzero(~leave_out)
    found = _estimate(config, inputs, split, facts, log, rows=rows)
    match alignment.target:
        case "labeled":
            shares = labeled
        case "uniform":
            shares = np.full(facts.num_classes, 1 / facts.num_classes)
        case "given":
            shares = given_shares(key, alignment, facts.class_names)
        case "estimated":
            if found is None:
                raise UserError(
                    f"{key}.target='estimated' needs validation images and unlabeled ones, but there are "
                    f"{len(split.ids('validation'))} and {len(rows)}; use more split.validation_per_class, or "
                    "target: given"
                )
            shares = found.estimate
    summary: dict[str, Any] = {"target": alignment.target, "shares": shares.tolist(), "labeled": labeled.tolist()}
    if found is not None:
        summary |= {name: getattr(found, name).tolist() for name in ("estimate", "low", "high")}
        summary |= {"held_out": found.held_out, "pool": found.pool}
        if alignment.target == "estimated":
            _tell(found, labeled, facts.class_names, log)
        elif (label := found.far_from(shares, FAR)) is not None:
            log.warning(
                f"{key} aims at {WHOSE[alignment.target]}, which are hardly the pool's: class "
                f"{facts.class_names[label]!r} has {shares[label]:.1%} of them, and an estimated {found.shown(label)} "
                f"of the unlabeled images; use {key}.target: estimated, or given with shares that you know"
            )
    return Aim(torch.from_numpy(shares).float(), summary)


def given_shares(key: str, alignment: AlignmentConfig, class_names: Sequence[str]) -> NDArray[np.float64]:
    """Those of `shares`, (C,), in the order of the classes.

    Raises:
        UserError: they are not of these classes.
    """
    given = alignment.shares
    wrong = [f"it has no class {name!r}" for name in class_names if name not in given]
    wrong += [f"{name!r} is no class of this data set" for name in given if name not in class_names]
    if wrong:
        names = ", ".join(class_names[:10]) + (", …" if len(class_names) > 10 else "")
        raise UserError(f"{key}.shares: {wrong[0]}; use one share for each of {names}")
    shares = np.array([given[name] for name in class_names], dtype=np.float64)
    return shares / float(shares.sum())


def _estimate(
    config: PipelineConfig,
    inputs: Mapping[str, Path],
    split: Split,
    facts: DatasetFacts,
    log: StageLog,
    *,
    rows: NDArray[np.int64],
) -> Shares | None:
    """Of the unlabeled images at `rows` of the split's list; None without them, or without validation images."""
    known, rng = split.indices("validation"), numpy_generator(config.seed, "class shares")
    if not (len(known) and len(rows)):
        return None
    chosen = split.indices("unlabeled")[np.sort(rng.permutation(rows)[:SAMPLE])]
    pool = pool_of(config, facts)
    asked, shown = looked_at(config, load_placed(inputs["baseline"], config), pool, "pool", log)
    said = predict_log_probabilities(asked, Rows(shown, torch.cat([known, chosen]))).numpy()
    return estimate_shares(said[: len(known)], split.labels("validation").numpy(), said[len(known) :], rng)


def _tell(found: Shares, labeled: NDArray[np.float64], class_names: Sequence[str], log: StageLog) -> None:
    furthest = np.argsort(-np.abs(labeled - found.estimate), kind="stable")[:SHOWN]
    named = "; ".join(f"{class_names[k]!r} {found.shown(k)}, of the labeled images {labeled[k]:.1%}" for k in furthest)
    log.info(f"class shares of the pool, estimated with {counted(found.held_out, 'validation image')}: {named}")
