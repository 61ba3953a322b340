"""The images of a finished run that are most worth a person's look, and in plain words why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor, nn

from semisup.calibration.measures import temper
from semisup.config import PipelineConfig
from semisup.data.datasets import ImageSet
from semisup.data.facts import DatasetFacts
from semisup.data.own_images.images import units_at
from semisup.data.own_images.vectors import read_vectors
from semisup.data.roles.split import Split
from semisup.data.rows import Rows
from semisup.errors import UserError
from semisup.networks.classifier import Classifier
from semisup.open_world.groups import SHOWN, most_typical
from semisup.review.acquisition import LARGEST_DEVIATION, Floats, Method, Signals, choose_batch, doubt, unit_length
from semisup.review.confident_learning import (
    FEWEST_PER_CLASS,
    agreement,
    out_of_sample_probabilities,
    suspected_labels,
    true_classes,
)
from semisup.stages.support.images import pool_of
from semisup.system.randomness import derive_seed, numpy_generator
from semisup.training.predict import predict_features, predict_log_probabilities
from semisup.wording import counted

MOST_COMPARED = 20_000
"""So many of the worthiest images are compared with each other: their features have to fit into memory."""
SHOWN_CLASSES = 3
STRATEGY: Method = "clusters"
"""How the images to label are chosen among the worthiest: see :func:`choose_batch`."""
LABEL, CHECK, AUDIT, NAME = "label", "check", "audit", "name"
LEAST_AGREEMENT = 0.4
"""Of held-out labels with a model of the others, between chance (0) and always (1): where it is less, most of what the
model suspects is its own mistake."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Material:
    """What a finished run left behind.

    Attributes:
        learned_from: the tables that the students of its rounds learned from, the last one last; none where they read
            none.
        student: the model that was kept, on its device. It is asked.
        temperature: divides its logits; None: it was never calibrated.
        labels: the final pseudo-labels of the run, in the order of the split's unlabeled images; None: not asked for.
        first_step: what the run's report advises, as the end of a sentence: see
            :func:`semisup.report.advice.first_step`.
    """

    config: PipelineConfig
    facts: DatasetFacts
    split: Split
    learned_from: Sequence[pd.DataFrame]
    student: Classifier
    temperature: float | None
    labels: pd.DataFrame | None = None
    first_step: str = "label more first"


def to_label(
    material: Material,
    budget: int,
    method: Method = STRATEGY,
    on_batch: Progress | None = None,
    leave_out: Sequence[str] = (),
) -> pd.DataFrame:
    """At most `budget` unlabeled images, a row each; none whose id shall be left out.

    Columns: id, index (row in the pool), section, given (the label that it has, "" here), label_1, probability_1 … of
    the student's likeliest classes, teacher_label, doubt, disagreement, flips, worth (see :class:`Signals`), reason.
    Images of any other role are never among them.

    Raises:
        UserError: the images are others than the run's.
    """
    split, names = material.split, material.facts.class_names
    pool = pool_of(material.config, material.facts)
    indices = split.indices("unlabeled")
    model, seen = _seen(material, pool)
    logarithms = predict_log_probabilities(model, Rows(seen, indices), on_batch=on_batch)
    probabilities = temper(logarithms.numpy(), material.temperature or 1.0)
    teacher, signals = _signals(material, probabilities)
    worth = signals.worth
    order = np.argsort(-worth, kind="stable")
    asked = ~pd.Index(split.ids("unlabeled")).isin(list(leave_out))
    compared = np.sort(order[asked[order]][:MOST_COMPARED])
    features = _features(material, seen, indices[compared])
    rng = numpy_generator(material.config.seed, "review")
    picked = choose_batch(worth[compared], features.numpy(), probabilities[compared], budget, rng=rng, method=method)
    rows = compared[picked]
    table = _table(split.ids("unlabeled"), indices.numpy(), probabilities, rows, names)
    table = table.assign(
        section=LABEL,
        given="",
        teacher_label="" if teacher is None else [names[label] for label in teacher[rows]],
        doubt=signals.doubt[rows],
        disagreement=signals.disagreement[rows],
        flips=signals.flips[rows],
        worth=worth[rows],
    )
    return table.assign(reason=[_why(row, len(material.learned_from)) for _, row in table.iterrows()])


def to_name(material: Material, most: int) -> pd.DataFrame:
    """Images of at most `most` groups that are of none of the classes and look alike, as :func:`to_label`.

    Of each group, the largest first, at most SHOWN images show what it is; they have its number in a column
    `group`. No rows where nobody looked for such images, or found none.
    """
    split, names, labels = material.split, material.facts.class_names, material.labels
    if labels is None or "group" not in labels:
        return pd.DataFrame()
    groups = labels["group"].to_numpy()
    sizes = np.bincount(groups)
    ids, indices = split.ids("unlabeled"), split.indices("unlabeled")
    model, seen = _seen(material, pool_of(material.config, material.facts))
    parts = []
    for group in range(1, min(most, len(sizes) - 1) + 1):
        members = np.flatnonzero(groups == group)
        points = unit_length(_features(material, seen, indices[members]).numpy())
        rows = members[most_typical(points, SHOWN)]
        logarithms = predict_log_probabilities(model, Rows(seen, indices[rows])).numpy()
        probabilities = temper(logarithms, material.temperature or 1.0)
        shown = [ids[row] for row in rows]
        table = _table(shown, indices.numpy()[rows], probabilities, np.arange(len(rows)), names)
        alike = counted(int(sizes[group]), "image looks", "images look")
        reason = f"{alike} alike, and like none of the classes: a new class? {len(rows):,} of them are shown"
        parts.append(table.assign(reason=reason, group=group))
    if not parts:
        return pd.DataFrame()
    empty = {name: np.float32(0) for name in ("doubt", "disagreement", "flips", "worth")}
    return pd.concat(parts, ignore_index=True).assign(section=NAME, given="", teacher_label="", **empty)


def to_check(material: Material, most: int) -> pd.DataFrame | str:
    """At most `most` labeled images whose label looks wrong, as :func:`to_label`; or why that cannot be told."""
    split, names = material.split, material.facts.class_names
    indices, labels = split.indices("labeled"), split.labels("labeled").numpy()
    _, seen = _seen(material, pool_of(material.config, material.facts))
    features = _features(material, seen, indices)
    seed = derive_seed(material.config.seed, "review folds")
    units = units_at(material.config.data, indices)
    probabilities = out_of_sample_probabilities(features.numpy(), labels, len(names), seed, units)
    if probabilities is None:
        return _too_few_to_check(material.config)
    agrees, by_chance = agreement(probabilities, labels)
    if agrees - by_chance < LEAST_AGREEMENT * (1 - by_chance):
        return (
            f"a model of the other labels calls only {agrees:.0%} of the labeled images as they are labeled "
            f"({by_chance:.0%} by chance): it knows too little to tell wrong labels; {material.first_step}"
        )
    likely = true_classes(probabilities, labels)
    rows, likelier = suspected_labels(likely, labels, most)
    table = _table(split.ids("labeled"), indices.numpy(), likely.astype(np.float32), rows, names)
    reasons = [
        f"labeled {names[labels[row]]}, which a model of the other labels gives {likely[row, labels[row]]:.0%}, and "
        f"{names[other]} {likely[row, other]:.0%}; it agrees with {agrees:.0%} of all labels ({by_chance:.0%} by "
        "chance)"
        for row, other in zip(rows, likelier, strict=True)
    ]
    given = [names[label] for label in labels[rows]]
    empty = np.zeros(len(rows), np.float32)
    return table.assign(
        section=CHECK, given=given, teacher_label="", doubt=empty, disagreement=empty, flips=empty,
        worth=1 - likely[rows, labels[rows]],
        reason=reasons,
    )  # fmt: skip


def _seen(material: Material, pool: ImageSet) -> tuple[nn.Module, Tensor]:
    """A model and the pool as it sees it: the student and images, or the probe alone and ready-made features (N, D)."""
    if material.config.data.features is None:
        return material.student, pool.images
    return material.student.head, read_vectors(material.config.data, pool.ids)


def _features(material: Material, seen: Tensor, rows: Tensor) -> Tensor:
    """float32 (n, D), what the last layer of the student gets to see of some rows (n,) of the pool."""
    if material.config.data.features is None:
        return predict_features(material.student, Rows(seen, rows))
    return seen[rows]


def _too_few_to_check(config: PipelineConfig) -> str:
    if config.data.group is not None:
        return "some class has labeled images of too few groups (data.group): wrong labels cannot be told"
    return f"some class has fewer than {FEWEST_PER_CLASS} labeled images: wrong labels cannot be told"


def _signals(material: Material, probabilities: Floats) -> tuple[NDArray[np.int64] | None, Signals]:
    """The last teacher's labels (N,), if there was one, and all that speaks for each of the unlabeled images."""
    ids = material.split.ids("unlabeled")
    nothing = np.zeros(len(ids), np.float32)
    tables = [table.set_index("id") for table in material.learned_from]
    if any(len(table) != len(ids) or not table.index.isin(ids).all() for table in tables):
        raise UserError("the run's pseudo-labels are of other images than its split; run its config again")
    if not tables:
        agrees = np.zeros(len(ids), dtype=bool)
        return None, Signals(doubt(probabilities), teacher_differs=agrees, disagreement=nothing, flips=nothing)
    tables = [table.loc[ids] for table in tables]
    teacher = tables[-1]["label"].to_numpy(np.int64)
    apart = tables[-1]["disagreement"].astype("Float32").fillna(0.0).to_numpy(np.float32)
    later = [table["flipped"].to_numpy(bool) for table in tables[1:]]
    return teacher, Signals(
        doubt=doubt(probabilities),
        teacher_differs=teacher != probabilities.argmax(axis=1),
        disagreement=np.clip(apart / LARGEST_DEVIATION, 0, 1),
        flips=np.mean(later, axis=0, dtype=np.float32) if later else nothing,
    )


def _table(
    ids: Sequence[str],
    indices: NDArray[np.int64],
    probabilities: Floats,
    rows: NDArray[np.int64],
    names: Sequence[str],
) -> pd.DataFrame:
    columns: dict[str, object] = {"id": [ids[row] for row in rows], "index": indices[rows]}
    order = np.argsort(-probabilities[rows], axis=1, kind="stable")[:, :SHOWN_CLASSES]
    for place in range(order.shape[1]):
        columns[f"label_{place + 1}"] = [names[label] for label in order[:, place]]
        columns[f"probability_{place + 1}"] = probabilities[rows, order[:, place]]
    return pd.DataFrame(columns)


def _why(row: "pd.Series[Any]", rounds: int) -> str:
    """The strongest reasons, in words."""
    first, second = (f"{row[f'label_{place}']} ({row[f'probability_{place}']:.0%})" for place in (1, 2))
    doubts = row["doubt"]
    if doubts >= 0.5:
        words = [f"undecided between {first} and {second}"]
    elif doubts >= 0.05:
        words = [f"rather {first}, perhaps {second}"]
    else:
        words = [f"thinks {first}; one of a group about which little is known"]
    if row["teacher_label"] not in {"", row["label_1"]}:
        words.append(f"its teacher said {row['teacher_label']}")
    if row["disagreement"] >= 0.2:
        words.append("the ensemble's members disagree")
    if (flips := row["flips"]) > 0:
        words.append(f"its label changed in {round(flips * (rounds - 1))} of {rounds - 1} later rounds")
    return "; ".join(words)
