"""Pools with classes that nobody has labeled: what is certified, how right it is, and what is found to be unknown.

    python -m benchmarks.pools.open_world FOLDER [FOLDER ...] --data-root data [--splits 10]

Digits, MNIST (50 labels a class) and folders of photographs, `<class>/<file>` (20 labels a class, the embedded
network). In each split two random classes are left out of labels and calibration, and make up a fifth or two fifths of
the pool, or none of it. The truth of the pool is looked at for the figures alone. The splits are others than those on
which the score of unknown images was chosen.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmarks.output import publish
from benchmarks.pools.worlds import (
    BENCHES,
    LEFT_OUT,
    PROBE_STRENGTH,
    Array,
    Seen,
    World,
    frozen_world,
    photographs_seen,
    trained_world,
)
from semisup.calibration.certificate import certify
from semisup.data.datasets import UNLABELED
from semisup.open_world.exchangeability import compare_as_seen
from semisup.open_world.groups import MOST, groups_of
from semisup.open_world.space import fit_space
from semisup.open_world.unknown import Detector, fit_detector, held_out_scores, share_at_least, threshold_of
from semisup.system.randomness import numpy_generator

SHARES = (0.0, 0.2, 0.4)
TARGET, LEVEL = 0.95, 0.95
FALSE_ALARMS, FOLDS = 0.05, 5
LABELS, CALIBRATION = 20, 100
"""Of photographs: labels a class, calibration images."""
FIRST_SPLIT = 100
TOLD = 40
"""Images of the classes left out, labeled as such: how far labels take whoever has them."""
MOST_LABELED = 1_000
Figures = dict[str, float]


def main() -> None:
    """A row for each data set and share of unknown images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--data-root", type=Path, default=None)
    parser.add_argument("--splits", type=int, default=10)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, worlds in _worlds(asked.folders, asked.data_root, asked.splits):
        found: dict[float, list[Figures]] = {share: [] for share in SHARES}
        for number, world in worlds:
            for share in SHARES:
                found[share].append(measure(world, share, number))
        for share, figures in found.items():
            rows.append({"data": name, "unknown in the pool": f"{share:.0%}"} | _row(figures))
            print(rows[-1], flush=True)
    publish(
        "open_world",
        rows,
        f"{asked.splits} splits; precision: share of the accepted labels that are right where {TARGET:.0%} is asked, "
        f"in the mean (worst split); AUROC of unknown images, mean (worst), in %; false alarms: share of images of "
        f"known classes that are called unknown, at most {FALSE_ALARMS:.0%} asked",
    )


def _worlds(folders: list[Path], root: Path | None, splits: int) -> Iterator[tuple[str, Iterator[tuple[int, World]]]]:
    numbers = range(FIRST_SPLIT, FIRST_SPLIT + splits)
    for name in BENCHES:
        yield name, ((number, trained_world(name, number, root)) for number in numbers)
    for name, (features, labels) in photographs_seen(folders).items():
        yield name, ((number, frozen_world(features, labels, LABELS, CALIBRATION, number)) for number in numbers)


def measure(world: World, share: float, number: int) -> Figures:
    """The figures of one split, with this share of unknown images."""
    rng = numpy_generator(number, f"unknown {share}")
    world = world.with_unknown(share, rng)
    labeled, calibration, pool = world.labeled, world.calibration, world.pool
    said, known = pool.logarithms.argmax(axis=1), pool.truth != UNLABELED
    right = said == pool.truth
    confidence = np.exp(pool.logarithms.max(axis=1))
    certificate = certify(
        np.exp(calibration.logarithms.max(axis=1)),
        calibration.logarithms.argmax(axis=1) == calibration.truth,
        confidence,
        TARGET,
        LEVEL,
    )
    compared = compare_as_seen(
        (labeled.features, labeled.truth),
        (calibration.features, calibration.logarithms),
        (pool.features, pool.logarithms),
        rng,
    )
    assert compared is not None, "there are enough images"
    detector, scores, held_out = _unknown(world, rng)
    unknown = scores >= threshold_of(held_out, FALSE_ALARMS)
    figures: Figures = {"differ": float(compared.differ), "false alarms": float(unknown[known].mean())}
    if share:
        figures |= {"AUROC": float(roc_auc_score(~known, scores)), "found": float(unknown[~known].mean())}
        if (told := _told_of(world, rng)) is not None:
            figures["told"] = told
        if share_at_least(int(unknown.sum()), len(pool.truth), len(held_out), FALSE_ALARMS):
            highest = np.argsort(-scores, kind="stable")[: min(MOST, int(unknown.sum()))]
            figures |= _groups(detector, pool[np.sort(highest)])
    if certificate.certified:
        accepted = confidence >= np.float32(certificate.threshold)
        figures["untested"] = float(right[accepted].mean())
        if not compared.differ:
            figures["certified"] = figures["untested"]
        if (left := accepted & ~unknown).any():
            figures["without unknown"] = float(right[left].mean())
    return figures


def _groups(detector: Detector, flagged: Seen) -> Figures:
    """How many groups of alike images there are, how much of one class each is, and the classes left out found so."""
    groups = groups_of(detector.space(flagged.features))
    pure, found = [], set()
    for group in range(1, int(groups.max(initial=0)) + 1):
        origins = flagged.origin[groups == group]
        values, counts = np.unique(origins, return_counts=True)
        most = values[counts.argmax()]
        pure.append(counts.max() / counts.sum())
        if pure[-1] > 0.5 and (flagged.truth[flagged.origin == most] == UNLABELED).all():
            found.add(int(most))
    figures: Figures = {"groups": float(len(pure)), "classes found": len(found) / LEFT_OUT}
    return figures | ({"of one class": float(np.mean(pure))} if pure else {})


def _unknown(world: World, rng: np.random.Generator) -> tuple[Detector, Array, Array]:
    """The detector, and scores of the pool and of held-out images: calibration images, as the stage takes them."""
    calibration, pool = world.calibration.features, world.pool.features
    seed = int(rng.integers(2**31))
    if not len(calibration):
        held_out = held_out_scores(world.labeled.features, world.labeled.truth, pool, folds=FOLDS, rng=rng)
        detector = fit_detector(world.labeled.features, world.labeled.truth, pool, seed)
        return detector, detector(pool, np.arange(len(pool))), held_out
    reference = np.concatenate([calibration, pool])
    detector = fit_detector(world.labeled.features, world.labeled.truth, reference, seed)
    scores = detector(reference, np.arange(len(reference)))
    return detector, scores[len(calibration) :], scores[: len(calibration)]


def _told_of(world: World, rng: np.random.Generator) -> float | None:
    """AUROC of somebody who is told of some images of the classes left out: by labels alone hardly more can be had.

    A logistic regression of these against the labeled images, in the detector's space, asked about the rest of the
    pool; None where the pool has too few of them.
    """
    unknown = np.flatnonzero(world.pool.truth == UNLABELED)
    if len(unknown) < 2 * TOLD:
        return None
    labeled, pool = world.labeled, world.pool.features
    told, space = rng.permutation(unknown)[:TOLD], fit_space(pool, labeled.features, labeled.truth, 0)
    known = rng.permutation(len(labeled.features))[:MOST_LABELED]
    rows = np.concatenate([space(labeled.features[known]), space(pool[told])])
    model = LogisticRegression(C=PROBE_STRENGTH, class_weight="balanced", max_iter=2000)
    model.fit(rows, np.repeat([0, 1], [len(known), TOLD]))
    rest = np.setdiff1d(np.arange(len(pool)), told)
    return float(roc_auc_score(np.isin(rest, unknown), model.decision_function(space(pool[rest]))))


def _row(figures: list[Figures]) -> dict[str, Any]:
    """What the splits came to."""

    def spread(name: str, worst: Any = min) -> str:
        values = [100 * each[name] for each in figures if name in each]
        return f"{np.mean(values):.1f} ({worst(values):.1f})" if values else "–"

    def counted(name: str) -> str:
        return f"{sum(name in each for each in figures)} of {len(figures)}"

    return {
        "certified by calibration images alone": counted("untested"),
        "precision then": spread("untested"),
        "pool found to differ": f"{sum(each['differ'] == 1 for each in figures)} of {len(figures)}",
        "certified": counted("certified"),
        "precision of certified": spread("certified"),
        "AUROC of unknown": spread("AUROC"),
        f"told of {TOLD} unknown images": spread("told"),
        "unknown found": spread("found"),
        "false alarms": spread("false alarms", max),
        "pools with groups": counted("groups"),
        "groups": f"{np.mean([each['groups'] for each in figures if 'groups' in each] or [0]):.1f}",
        "of one class": spread("of one class"),
        "classes found by groups": spread("classes found"),
        "precision without what is called unknown": spread("without unknown"),
        "splits": [figures],
    }


if __name__ == "__main__":
    main()
