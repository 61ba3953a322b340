"""The champion: who it is before a pipeline runs, whom a new model is judged against, and how it is crowned."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.results import StageResult
from flows.steps import Reference
from semisup.config import PipelineConfig
from semisup.stages.files import load_model, pool_of, read_json
from semisup.tracking.model import Champion, champion, crown, log_model
from semisup.tracking.stored import StoredRun
from semisup.tracking.tracker import Tracker


def model_name(config: PipelineConfig) -> str:
    """The registered model of a pipeline."""
    return config.promote.model or config.name


def current_champion(tracker: Tracker, config: PipelineConfig) -> Champion | None:
    """The champion that this pipeline may start from or has to beat; None where there is none or nobody asks."""
    if not config.promote.enabled and config.pseudo_label.teacher != "champion":
        return None
    return champion(tracker, model_name(config))


def champion_as(tracker: Tracker, role: str, reigning: Champion, evaluate: Reference | None) -> Reference | None:
    """What a step reads of the champion: as `teacher` its training run, else the promotion that made it champion.

    A champion that this very evaluation made is not judged against itself but against its predecessor, or None: the
    question is the same as when it was decided, and so is the answer, which is reused.
    """
    if role == "teacher":
        return _reference(tracker.get(reigning.run_id))
    assert evaluate is not None, "a champion is judged after the evaluation"
    promotion = tracker.get(reigning.promoted_by)
    if promotion.tags.get("digest.evaluate") != evaluate.output_digest:
        return _reference(promotion)
    return _reference(tracker.get(reigning.predecessor)) if reigning.predecessor else None


def apply_decision(
    tracker: Tracker, config: PipelineConfig, promote: StageResult, models: Mapping[str, StageResult]
) -> str:
    """Crown the model that a `promote` run decided for, unless that has been done; what was decided, in one sentence.

    The run is complete before the registry is touched, so a crash in between is mended by doing it again.
    `models` maps "student" and "baseline" to the steps that trained them.
    """
    with tempfile.TemporaryDirectory(prefix="semisup-") as scratch:
        decision: dict[str, Any] = read_json(tracker.file(promote.run_id, "decision.json", Path(scratch)))
    if not decision["promoted"]:
        return str(decision["reason"])
    name, winner = model_name(config), models[decision["model"]]
    reigning = champion(tracker, name)
    predecessor = tracker.get(promote.run_id).tags.get("upstream.champion", "")
    if reigning is not None and tracker.get(reigning.run_id).tags.get("output_digest") == winner.output_digest:
        version = reigning.version
    elif reigning is not None and reigning.promoted_by != predecessor:
        return f"{name} got another champion while this was decided, version {reigning.version}; run again to compare"
    else:
        version = crown(
            tracker,
            name,
            model_id=_model_id(tracker, config, winner.run_id),
            run_id=winner.run_id,
            promoted_by=promote.run_id,
            predecessor=predecessor,
            reason=str(decision["reason"]),
        )
    return f"{decision['reason']}: {name} version {version} is the champion"


def _model_id(tracker: Tracker, config: PipelineConfig, run_id: str) -> str:
    """The logged model of a training run; a baseline's is exported only now, when it is wanted."""
    known = tracker.get(run_id).tags.get("model_id")
    if known:
        return known
    with tempfile.TemporaryDirectory(prefix="semisup-") as scratch:
        model = load_model(tracker.artifacts(run_id, Path(scratch)))
        return log_model(tracker, run_id, model, pool_of(config).images[:8])


def _reference(run: StoredRun) -> Reference:
    return Reference(run.id, run.tags["output_digest"])
