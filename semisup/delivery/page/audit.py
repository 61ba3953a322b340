"""A folder to audit accepted labels with: the labeling page, with a random sample of them that it does not show."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from semisup.config import CalibratedThreshold, PipelineConfig
from semisup.config.sources import SOURCES
from semisup.data.facts import DatasetFacts
from semisup.data.tables import write_csv
from semisup.delivery.export import folder_written
from semisup.delivery.page import build_page
from semisup.delivery.page.candidates import AUDIT
from semisup.delivery.sent import Sources
from semisup.errors import UserError
from semisup.open_world.audit import most_wrong
from semisup.system.json_files import write_json
from semisup.system.randomness import numpy_generator

PAGE, SAMPLE = "review.html", "audit.json"
AUDIT_FILES = (PAGE, SAMPLE, "candidates.csv")
USUAL_TARGET = 0.95
"""Where the run asks for no precision: what it takes to stop early."""


@dataclass(frozen=True)
class WrittenAudit:
    """What an audit asks."""

    audit: str
    """What it is known by."""
    images: int
    accepted: int
    target: float
    gone: tuple[str, ...]
    """Paths of files that are no more what they were; they count as images that nobody can tell."""


def write_audit(
    config: PipelineConfig,
    facts: DatasetFacts,
    table: pd.DataFrame,
    out: Path,
    *,
    run_id: str,
    count: int,
    force: bool,
) -> WrittenAudit:
    """Leaves `review.html`, `candidates.csv` and `audit.json`, which says which labels were drawn, in which order.

    `table` are the pseudo-labels of a run. Of one run the sample is always the same, and a larger one begins with the
    smaller: an audit can be gone on with.

    Raises:
        UserError: nothing was accepted, or as in :func:`folder_written` and :class:`Sources`.
    """
    accepted = table[table["accepted"].to_numpy(bool)]
    if not len(accepted):
        raise UserError("--audit: the run accepted no label; use a lower pseudo_label.threshold")
    order = numpy_generator(config.seed, "audit").permutation(len(accepted))[:count]
    drawn = accepted.iloc[order].reset_index(drop=True)
    own = SOURCES[facts.name].own_images
    rows = pd.DataFrame(
        {
            "id": drawn["id"],
            "index": drawn["index"],
            "path": drawn["id"].str.rpartition("@")[0] if own else drawn["id"],
            "section": AUDIT,
            "given": "",
            "reason": "one of the accepted labels, drawn at random; the label is not shown, so that it sways nobody",
        }
    )
    names = [facts.class_names[label] for label in drawn["label"]]
    wanted = config.pseudo_label.threshold
    target = wanted.least_right if isinstance(wanted, CalibratedThreshold) else USUAL_TARGET
    audit = audit_name(run_id, list(drawn["id"]))
    sources = Sources(config, facts)
    about: dict[str, Any] = {"run": run_id, "format": "audit", "images": len(rows)}
    with folder_written(out, sources.root, force=force, about=about) as aside:
        sent = list(sources(rows))
        there = rows.iloc[[image.row for image in sent]].reset_index(drop=True)
        page = build_page(
            f"Audit of {config.name}, run {run_id[:8]}",
            run_id,
            facts.class_names,
            there,
            [image.content for image in sent],
            span=config.data.range,
            audit={
                "name": audit,
                "target": target,
                "allowed": most_wrong(target, len(accepted), len(rows)),
                "places": [image.row for image in sent],
            },
            labels=[names[image.row] for image in sent],
        )
        (aside / PAGE).write_text(page, encoding="utf-8")
        write_csv(there.drop(columns="index"), aside / "candidates.csv")
        write_json(
            aside / SAMPLE,
            {
                "audit": audit,
                "run": run_id,
                "accepted": len(accepted),
                "target": target,
                "sample": [{"id": name, "label": label} for name, label in zip(drawn["id"], names, strict=True)],
                "gone": list(sources.gone),
            },
        )
    return WrittenAudit(audit, len(there), len(accepted), target, tuple(sources.gone))


def audit_name(run_id: str, ids: Sequence[str]) -> str:
    """What tells an audit from all others: of the run and of the images in their order."""
    return hashlib.sha256("\n".join([run_id, *ids]).encode()).hexdigest()[:16]
