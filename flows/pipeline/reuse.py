"""What a step's result follows from, and the finished run that may stand for it. Light: MLflow is not imported."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from semisup.lineage.fingerprints import Lineage, lineage_of
from semisup.pipeline.plan import Step
from semisup.pipeline.specs import AnyConfig
from semisup.stages.preflight.check import DataDigests
from semisup.tracking.places.stored import StoredRun
from semisup.tracking.reader import Reader


@dataclass(frozen=True)
class Reference:
    """What passes between steps: where a result is, and what it is."""

    run_id: str
    output_digest: str


def lineage_for(step: Step, config: AnyConfig, upstream: Mapping[str, Reference], digests: DataDigests) -> Lineage:
    """What a step's result follows from, given what it reads."""
    inputs = {role: reference.output_digest for role, reference in upstream.items()}
    lineage = lineage_of(step.spec, config, inputs, digests.seen_by(step.spec))
    read = {**lineage.config}
    if digests.weights and "model" in step.spec.sections:
        read["model.weights"] = digests.weights[:16]
        if digests.order:
            read["data.features.order"] = digests.order[:16]
    if step.number is not None:
        read["step.number"] = step.number
    return replace(lineage, config=read)


def reusable(store: Reader, lineage: Lineage, scratch: Path, damaged: dict[str, str]) -> StoredRun | None:
    """The newest complete run of a lineage whose artifacts are whole.

    `damaged` maps the ids of runs that are not to what is wrong with them; it is added to, and no run is judged twice.
    """
    for run in (run for fingerprint in lineage.fingerprints for run in store.finished(fingerprint)):
        if run.id not in damaged:
            problem = store.damage(run, scratch)
            if problem is None:
                return run
            damaged[run.id] = problem
    return None
