"""What an audit's annotations say of a run's accepted labels, kept in MLflow with a report that says it first."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from flows.store.exportable import config_of, whole
from semisup.delivery.labels_file import Row
from semisup.delivery.page.audit import SAMPLE
from semisup.errors import UserError
from semisup.open_world.audit import Audited, audited
from semisup.stages.final.evaluate import write_report
from semisup.system.json_files import write_json
from semisup.system.own_files import temporary_folder
from semisup.tracking.places.stored import StoredRun
from semisup.tracking.tracker import Tracker

STAGE = "audit"
"""Tag of runs that hold what came of an audit: no step of a pipeline, and never reused."""
RESULT = "audited.json"


@dataclass(frozen=True)
class Concluded:
    """What an audit came to."""

    result: Audited
    run_id: str
    """The MLflow run that keeps it."""
    reviewed: str
    """The pipeline whose labels were audited."""
    report: str
    """Where the report is that says it first."""


def conclude(rows: Sequence[Row]) -> Concluded | None:
    """What the rows of an audit say; None where no row is of one.

    Raises:
        UserError: rows of several audits, or of one that this store does not know.
    """
    names = {row.audit for row in rows} - {""}
    if not names:
        return None
    if len(names) > 1:
        raise UserError(f"--import: rows of {len(names)} audits; import the table of each by itself")
    (name,) = names
    tracker = Tracker.existing(Path.cwd())
    with temporary_folder() as scratch:
        sample = _sample(tracker, name, scratch)
        result = counted(sample, rows)
        pipeline = tracker.get(sample["run"])
        out = scratch / "audit"
        out.mkdir()
        write_json(out / RESULT, {**asdict(result), "audit": name, "run": pipeline.id})
        _write_report(tracker, pipeline, asdict(result), scratch, out)
        tags = {key: pipeline.tags[key] for key in ("config", "seed")} | {"reviewed": pipeline.id, "audit": name}
        beside = replace(tracker, experiment_id=pipeline.experiment_id)
        with beside.run(f"{tags['config']}-audit", tags | {"stage": STAGE, "step": STAGE}, pipeline.id) as run:
            figures = {"looked_at": result.looked_at, "right": result.right, "wrong": result.wrong}
            ends = {"precision_low": result.low, "precision_high": result.high}
            known = {} if result.precision is None else {"precision": result.precision}
            run.log_metrics(figures | ends | known)
            run.log_files([out / RESULT, out / "report.html", out / "report.md", *sorted((out / "figures").iterdir())])
            run.set_tags({"complete": "true"})
        return Concluded(result, run.id, pipeline.id, tracker.locate(run.id, "report.html"))


def counted(sample: Mapping[str, Any], rows: Sequence[Row]) -> Audited:
    """The annotations counted in the order of the sample, up to the last image that was annotated.

    An image before it that nobody annotated, that nobody can tell or whose file is gone counts against both ends: left
    out, hard ones would make the labels look better than they are.

    Raises:
        UserError: a row is about no image of the sample.
    """
    annotations = {row.key: row for row in rows if row.audit}
    drawn = {each["id"] for each in sample["sample"]}
    for key, row in annotations.items():
        if key not in drawn:
            raise UserError(f"{row.where}: image {key!r} is not in that audit; import the table as it was saved")
    last = max(place for place, each in enumerate(sample["sample"]) if each["id"] in annotations)
    counts = {"right": 0, "wrong": 0, "unsure": 0}
    for each in sample["sample"][: last + 1]:
        said = annotations.get(each["id"])
        if said is None or said.kind == "discard":
            counts["unsure"] += 1
        else:
            counts["right" if said.kind == "label" and said.label == each["label"] else "wrong"] += 1
    return audited(**counts, accepted=sample["accepted"])


def _sample(tracker: Tracker, name: str, scratch: Path) -> dict[str, Any]:
    """What was drawn, as the store keeps it: not as the table says.

    Raises:
        UserError: the store has no such audit.
    """
    if not name.isalnum() or not (found := tracker.search(f"tags.audit = '{name}' and tags.stage = 'review'")):
        raise UserError(
            f"--import: audit {name[:16]!r} is not in this store; import the table in the folder where "
            "`semisup review RUN --audit` wrote its page"
        )
    sample: dict[str, Any] = json.loads(tracker.file(found[0].id, SAMPLE, scratch).read_text(encoding="utf-8"))
    return sample


def _write_report(tracker: Tracker, pipeline: StoredRun, audit: Mapping[str, Any], scratch: Path, out: Path) -> None:
    evaluate = tracker.get(pipeline.tags["step.evaluate"])
    inputs = {
        key.removeprefix("upstream."): whole(tracker, tracker.get(value), scratch)
        for key, value in evaluate.tags.items()
        if key.startswith("upstream.")
    }
    folder = whole(tracker, evaluate, scratch)
    write_report(config_of(tracker, evaluate, scratch), inputs, folder, out, audit=audit)
