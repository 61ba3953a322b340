"""Which unlabeled images are of none of the classes, as the baseline sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from semisup.config import PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.own_images.images import units_at
from semisup.data.roles.split import Role, Split
from semisup.errors import UserError
from semisup.networks.classifier import Classifier
from semisup.open_world.groups import IN_NO_GROUP, MOST, SHOWN, groups_of, most_typical
from semisup.open_world.unknown import (
    NOT_AMONG_THEM,
    Detector,
    fit_detector,
    held_out_scores,
    share_at_least,
    threshold_of,
)
from semisup.pipeline.log import StageLog
from semisup.stages.support.features import last_layer_inputs, looked_at
from semisup.stages.support.images import pool_of
from semisup.stages.support.models.saved import load_placed
from semisup.system.randomness import numpy_generator
from semisup.wording import counted

REFERENCE = 10_000
"""Images of the pool that the others are held against, and most labeled images that are."""
FOLDS = 5
FEWEST = 11
"""Unlabeled images."""
AT_A_TIME = 16_384
JUDGES: tuple[Role, ...] = ("calibration", "validation")
"""Held-out images that make the threshold, those that nothing else looked at first."""


@dataclass(frozen=True, eq=False)
class Unknown:
    """What was found among N unlabeled images."""

    flagged: NDArray[np.bool_]
    """(N,)."""
    scores: NDArray[np.float32]
    """(N,), high for unknown classes."""
    groups: NDArray[np.int64]
    """(N,), the group of those flagged that look alike, from 1 on; IN_NO_GROUP of all others."""
    summary: Mapping[str, Any]
    """Of `summary.json`: flagged, share, at_least, false_alarms, threshold (null: too few held-out images), held_out,
    judges, groups (images of each group, the largest first)."""
    examples: Sequence[NDArray[np.int64]] = ()
    """Of each group the rows of a few images that show what it is."""


def find_unknown(
    config: PipelineConfig, inputs: Mapping[str, Path], split: Split, facts: DatasetFacts, log: StageLog
) -> Unknown | None:
    """Scores and flags of the unlabeled images, in the split's order; None where nobody asked.

    The threshold is that of calibration images or, without any, of validation images; where all labels are learned
    from, of labeled images that are held out in turn, which only a frozen network has not learned by heart.
    """
    false_alarms = config.pseudo_label.unknown.false_alarms
    if false_alarms is None:
        return None
    unlabeled, rng = split.indices("unlabeled"), numpy_generator(config.seed, "unknown images")
    look = _looking(config, inputs, facts, log)
    chosen = np.sort(rng.permutation(len(split.ids("labeled")))[:REFERENCE])
    labeled, labels = look(split.indices("labeled")[chosen]), split.labels("labeled")[chosen].numpy()
    rows = np.sort(rng.permutation(len(unlabeled))[:REFERENCE])
    pool = look(unlabeled[rows])
    judges = next((role for role in JUDGES if len(split.ids(role))), None)
    if judges is None:
        units = units_at(config.data, split.indices("labeled")[chosen])
        most = len(labeled) if units is None else len(np.unique(units))
        judged = held_out_scores(labeled, labels, pool, folds=min(FOLDS, most), rng=rng, units=units)
        detector, before = fit_detector(labeled, labels, pool, int(rng.integers(2**31))), 0
    else:
        known = look(split.indices(judges))
        detector = fit_detector(labeled, labels, np.concatenate([known, pool]), int(rng.integers(2**31)))
        judged, before = detector(known, np.arange(len(known))), len(known)
    places = np.full(len(unlabeled), NOT_AMONG_THEM)
    places[rows] = before + np.arange(len(rows))
    scores = _scores(detector, look, unlabeled, places, log)
    threshold = threshold_of(judged, false_alarms)
    flagged = scores >= threshold
    count, held_out = int(flagged.sum()), len(judged)
    at_least = share_at_least(count, len(unlabeled), held_out, false_alarms)
    # Where false alarms explain all of them, a group would be one of known classes.
    groups, examples = _groups(detector, look, unlabeled, scores, flagged & (at_least > 0))
    summary = {
        "flagged": count,
        "share": count / len(unlabeled),
        "at_least": at_least,
        "false_alarms": false_alarms,
        "threshold": threshold if np.isfinite(threshold) else None,
        "held_out": held_out,
        "judges": judges or "held-out labeled",
        "groups": np.bincount(groups)[IN_NO_GROUP + 1 :].tolist(),
    }
    _tell(summary, log)
    return Unknown(flagged, scores, groups, summary, examples)


def check_enough(config: PipelineConfig, unlabeled: int) -> None:
    """Can unknown images be looked for among so many, if that is asked for?

    Raises:
        UserError: there are too few.
    """
    false_alarms = config.pseudo_label.unknown.false_alarms
    if false_alarms is not None and unlabeled < FEWEST:
        raise UserError(
            f"pseudo_label.unknown.false_alarms={false_alarms:g}, but "
            f"{counted(unlabeled, 'unlabeled image is', 'unlabeled images are')} too few to find other classes among; "
            f"use at least {FEWEST}, or leave it out"
        )


def _looking(config: PipelineConfig, inputs: Mapping[str, Path], facts: DatasetFacts, log: StageLog) -> Any:
    """A function from rows of the pool (n,) to the baseline's features of these images, float32 (n, D)."""
    model, pool = load_placed(inputs["baseline"], config), pool_of(config, facts)
    assert isinstance(model, Classifier), "a baseline is one network"
    asked, shown = looked_at(config, model, pool, "pool", log)
    batch = config.pseudo_label.batch_size

    def look(indices: Tensor) -> NDArray[np.float32]:
        found: NDArray[np.float32] = last_layer_inputs(model, asked, shown, indices, batch).numpy()
        return found

    return look


def _scores(
    detector: Detector, look: Any, indices: Tensor, places: NDArray[np.int64], log: StageLog
) -> NDArray[np.float32]:
    """(N,) of the pool's images, a part at a time: no table of their features is ever in memory."""
    parts = []
    for start in range(0, len(indices), AT_A_TIME):
        part = slice(start, start + AT_A_TIME)
        parts.append(detector(look(indices[part]), places[part]))
        log.progress(min(start + AT_A_TIME, len(indices)), len(indices), "images compared")
    return np.concatenate(parts)


def _groups(
    detector: Detector, look: Any, indices: Tensor, scores: NDArray[np.float32], flagged: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], Sequence[NDArray[np.int64]]]:
    """Which of the images flagged look alike, of at most MOST those of the highest scores; and examples of each."""
    found, examples = np.full(len(indices), IN_NO_GROUP, np.int64), list[NDArray[np.int64]]()
    rows = np.sort(np.argsort(-np.where(flagged, scores, -np.inf), kind="stable")[: min(MOST, int(flagged.sum()))])
    if not len(rows):
        return found, examples
    points = detector.space(look(indices[rows]))
    found[rows] = groups_of(points)
    for group in range(IN_NO_GROUP + 1, int(found.max()) + 1):
        members = np.flatnonzero(found[rows] == group)
        examples.append(rows[members[most_typical(points[members], SHOWN)]])
    return found, examples


def _tell(summary: Mapping[str, Any], log: StageLog) -> None:
    log.metrics({f"unknown.{name}": summary[name] for name in ("flagged", "share", "at_least", "held_out")})
    if summary["threshold"] is None:
        log.warning(
            f"pseudo_label.unknown.false_alarms={summary['false_alarms']:g} cannot be kept by "
            f"{counted(summary['held_out'], summary['judges'] + ' image')}, so that no image is "
            "called unknown; use a larger one, or more images"
        )
        return
    shown = (
        f"at least {summary['at_least']:.1%} of the pool are, 95% sure"
        if summary["at_least"]
        else "no more than false alarms explain"
    )
    log.info(
        f"{counted(summary['flagged'], 'unlabeled image')} ({summary['share']:.1%}) look as if they were of none of "
        f"the classes; {shown}"
    )
    if summary["groups"]:
        log.info(
            f"{counted(sum(summary['groups']), 'of them looks', 'of them look')} alike in "
            f"{counted(len(summary['groups']), 'group')}, each perhaps a class that nobody labeled; `semisup review` "
            "asks what they are"
        )
