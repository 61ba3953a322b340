"""The MLflow run that a review leaves: what was asked for, what came of it, the files to label with."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from flows.store.reviewable import FoundReview
from semisup.delivery.page.annotate import FILES, Written
from semisup.delivery.page.audit import AUDIT_FILES, WrittenAudit
from semisup.tracking.tracker import Tracker

STAGE = "review"
"""Tag of such runs: no step of a pipeline, and never reused."""


def record_review(
    found: FoundReview, written: Written, out: Path, *, asked: Mapping[str, str | int], seconds: float
) -> str:
    """The id of a complete run below the pipeline's, in its experiment; `asked` are its parameters.

    It is begun when the folder is whole: a mistake in the command leaves none.
    """
    reviewed = found.run
    tags = {name: reviewed.tags[name] for name in ("config", "seed")} | {"reviewed": reviewed.id}
    tracker = replace(Tracker.existing(Path.cwd()), experiment_id=reviewed.experiment_id)
    with tracker.run(f"{tags['config']}-review", tags | {"stage": STAGE, "step": STAGE}, reviewed.id) as run:
        run.log_params(asked)
        run.log_metrics(
            {
                "images_to_label": written.to_label,
                "labels_to_check": written.to_check,
                "groups_to_name": written.groups,
                "files_gone": len(written.gone),
            }
            | {f"mean_{name}": value for name, value in written.means.items()}
            | {"seconds": seconds}
        )
        run.log_files([out / name for name in FILES])
        run.set_tags({"complete": "true"})
    return run.id


def record_audit(found: FoundReview, written: WrittenAudit, out: Path, *, asked: int, seconds: float) -> str:
    """As :func:`record_review`, of an audit that is asked for: its tag finds it when the annotations come."""
    reviewed = found.run
    tags = {name: reviewed.tags[name] for name in ("config", "seed")}
    tags |= {"reviewed": reviewed.id, "audit": written.audit, "stage": STAGE, "step": STAGE}
    tracker = replace(Tracker.existing(Path.cwd()), experiment_id=reviewed.experiment_id)
    with tracker.run(f"{tags['config']}-audit", tags, reviewed.id) as run:
        run.log_params({"audit": asked})
        run.log_metrics(
            {"images_to_audit": written.images, "accepted": written.accepted, "files_gone": len(written.gone)}
            | {"seconds": seconds}
        )
        run.log_files([out / name for name in AUDIT_FILES])
        run.set_tags({"complete": "true"})
    return run.id
