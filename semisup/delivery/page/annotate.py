"""A folder to review: a page to label with, the same as a table, and as tasks for Label Studio."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from semisup.config.sources import SOURCES
from semisup.data.own_images.folders.new_classes import takes_new_classes
from semisup.data.tables import write_csv
from semisup.delivery.chosen import PSEUDO
from semisup.delivery.export import Served, folder_written, served_images, write_labelstudio
from semisup.delivery.page import build_page
from semisup.delivery.page.candidates import CHECK, LABEL, Material, Progress, to_check, to_label, to_name
from semisup.delivery.sent import Sources
from semisup.errors import UserError

PAGE, TABLE = "review.html", "candidates.csv"
FILES = (PAGE, TABLE, "tasks.json", "labels.xml")
SIGNALS = ("worth", "doubt", "disagreement", "flips")
"""Columns of numbers that say how much the images to label are worth a look."""


@dataclass(frozen=True)
class Written:
    """What a review came to."""

    to_label: int
    to_check: int
    groups: int
    """Of images of none of the classes that look alike, to be named."""
    gone: tuple[str, ...]
    """Paths of files that are no more what they were."""
    notes: tuple[str, ...]
    served: Served
    means: Mapping[str, float]
    """Of SIGNALS, over the images to label; empty where there are none."""


def write_review(
    material: Material,
    out: Path,
    *,
    run_id: str,
    budget: int,
    suspects: int,
    force: bool,
    groups: int = 0,
    on_batch: Progress | None = None,
) -> Written:
    """Leaves `review.html`, `candidates.csv`, `tasks.json` and `labels.xml` in a folder, which is there when all are.

    `budget` unlabeled images to label and, in sections of their own, at most `suspects` labeled ones to check and
    images of at most `groups` groups that look alike and like none of the classes, by the run's final labels.

    Raises:
        UserError: as in :func:`folder_written` and :class:`Sources`; there is nothing to ask about.
    """
    parts, notes = list[pd.DataFrame](), list[str]()
    unnamed = to_name(material, groups) if groups else pd.DataFrame()
    if len(unnamed):
        parts.append(unnamed)
    if budget:
        leave_out = unnamed["id"].tolist() if len(unnamed) else []
        parts.append(to_label(material, budget, on_batch=on_batch, leave_out=leave_out))
    if suspects:
        checked = to_check(material, suspects)
        if isinstance(checked, str):
            notes.append(checked)
        else:
            parts.append(checked)
    rows = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True) if parts else pd.DataFrame()
    if not len(rows):
        why = "".join(f"; {note}" for note in notes) or "; ask for more"
        raise UserError(f"--budget {budget}, --suspects {suspects}, --groups {groups}: no image to ask about{why}")
    rows = rows.assign(group=rows.get("group", pd.Series(0, rows.index)).fillna(0).astype(np.int64))
    rows["reason"] = [" ".join(reason.split()) for reason in rows["reason"]]  # a class's name may have several lines
    own = SOURCES[material.facts.name].own_images
    rows = rows.assign(path=rows["id"].str.rpartition("@")[0] if own else rows["id"])
    sources = Sources(material.config, material.facts)
    about: dict[str, Any] = {"run": run_id, "format": "review", "images": len(rows)}
    with folder_written(out, sources.root, force=force, about=about) as aside:
        sent = list(sources(rows))
        there = rows.iloc[[image.row for image in sent]].reset_index(drop=True)
        title = f"Review of {material.config.name}, run {run_id[:8]}"
        contents = [image.content for image in sent]
        page = build_page(
            title,
            run_id,
            material.facts.class_names,
            there,
            contents,
            span=material.config.data.range,
            naming=takes_new_classes(material.config),
        )
        (aside / PAGE).write_text(page, encoding="utf-8")
        write_csv(there.drop(columns="index"), aside / TABLE)
        tasks = rows.assign(label=rows["label_1"], confidence=rows["probability_1"], source=PSEUDO, teacher=run_id[:8])
        served = sources.served_root(rows["path"])
        write_labelstudio(tasks, sent, aside, material.facts.class_names, served)
    counts = there["section"].value_counts()
    return Written(
        int(counts.get(LABEL, 0)),
        int(counts.get(CHECK, 0)),
        int(there["group"].nunique() - (there["group"] == 0).any()),
        tuple(sources.gone),
        tuple(notes),
        served_images(served, out),
        _means(there[there["section"] == LABEL]),
    )


def _means(asked: pd.DataFrame) -> dict[str, float]:
    return {name: float(asked[name].mean()) for name in SIGNALS} if len(asked) else {}
