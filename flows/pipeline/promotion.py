"""The champion: who it is before a pipeline runs, whom a new model is judged against, and how it is crowned."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flows.pipeline.recorder import Logger, tell
from flows.pipeline.results import StageResult
from flows.pipeline.reuse import Reference
from flows.start import display
from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.pipeline.plan import CHAMPION, KEPT, KEPT_FILE, SPLIT_BEFORE, Step, kept_step
from semisup.pipeline.specs import AnyConfig
from semisup.stages.preflight.check import DataDigests
from semisup.system.json_files import read_json
from semisup.system.own_files import temporary_folder
from semisup.tracking.champions import OTHER_MODEL, Champion, champion, lost_files, lost_model
from semisup.tracking.places.stored import COMPLETE
from semisup.tracking.reader import Reader

if TYPE_CHECKING:
    from semisup.tracking.tracker import Tracker


def model_name(config: AnyConfig) -> str:
    """The registered model of a pipeline."""
    assert isinstance(config, PipelineConfig), "a regression crowns nobody"
    return config.promote.model or config.name


def current_champion(store: Reader, config: AnyConfig) -> Champion | None:
    """The champion that this pipeline may start from or has to beat; None where there is none or nobody asks.

    One whose files are gone is named, and is none any more.
    """
    if not isinstance(config, PipelineConfig):
        return None
    if not config.promote.enabled and config.pseudo_label.teacher != "champion":
        return None
    return _usable_champion(store, model_name(config))


def _usable_champion(store: Reader, name: str) -> Champion | None:
    found = champion(store, name)
    if found is None or (problem := lost_files(store, found)) is None:
        return found
    place = (store.uri, name, found.version)
    if place not in _told:
        _told.add(place)
        what = f"the champion, version {found.version} of {name!r}, is passed over: {problem}"
        display.current().line(f"{what}; the next model that may be champion takes its place", warning=True)
    return None


_told: set[tuple[str, str, str]] = set()
"""Store, name and version of the champions that a line of this process was about."""


def references(
    store: Reader,
    config: AnyConfig,
    step: Step,
    known: Mapping[str, Reference],
    *,
    digests: DataDigests,
    reigning: Champion | None,
) -> dict[str, Reference]:
    """What a step reads, under the names that its stage gives them; no champion where there is none to be read.

    `known` maps earlier steps to what they left.

    Raises:
        UserError: the champion's runs, or those of the split before, are not in the store any more, or damaged.
    """
    found: dict[str, Reference] = {}
    for role, source in step.upstream.items():
        if source == KEPT:
            if "keep" in known:
                found[role] = known[kept_among(store, config, known["keep"])]
        elif source == SPLIT_BEFORE:
            if (before := split_before(store, config, digests)) is not None:
                found[role] = before
        elif source != CHAMPION:
            found[role] = known[source]
        elif reigning is not None and (champions := _champion_as(store, config, role, reigning, known.get("evaluate"))):
            found[role] = champions
    return found


def kept_among(store: Reader, config: AnyConfig, keep: Reference) -> str:
    """The step that trained the model which a run of stage `keep` chose."""
    assert isinstance(config, PipelineConfig), "a regression has one model"
    with temporary_folder() as scratch:
        kept = read_json(store.file(keep.run_id, KEPT_FILE, scratch))
    return kept_step(config, kept["model"])


def split_before(store: Reader, config: AnyConfig, digests: DataDigests) -> Reference | None:
    """The newest split of this pipeline and seed that was made from other images, or other labels, than there are now.

    Not simply the newest: the split of what lies there now, made again, has to find the same one.

    Raises:
        UserError: its files are damaged.
    """
    wanted = f"tags.stage = 'split' and tags.config = '{config.name}' and tags.seed = '{config.seed}' and {COMPLETE}"
    # Compared here: to MLflow a run without the tag is not one whose tag differs.
    found = [run for run in store.search(wanted) if run.tags.get("dataset") != digests.pool]
    if not found:
        return None
    with temporary_folder() as scratch:
        problem = store.damage(found[0], scratch)
    if problem:
        raise UserError(
            f"the previous split of {config.name!r}, run {found[0].id[:8]}, is damaged ({problem}); mend its files, or "
            "delete the run: images then keep the roles of an older split"
        )
    return Reference(found[0].id, found[0].tags["output_digest"])


def _champion_as(
    store: Reader, config: AnyConfig, role: str, reigning: Champion, evaluate: Reference | None
) -> Reference | None:
    """What a step reads of the champion: as `teacher` its training run, else the promotion that made it champion.

    A champion that this very evaluation made is not judged against itself but against its predecessor, or None: the
    question is the same as when it was decided, and so is the answer, which is reused.
    """
    if role == "teacher":
        return _reference(store, reigning.run_id, config)
    assert evaluate is not None, "a champion is judged after the evaluation"
    promotion = store.known(reigning.promoted_by)
    if promotion is None or promotion.tags.get("digest.evaluate") != evaluate.output_digest:
        return _reference(store, reigning.promoted_by, config)
    return _reference(store, reigning.predecessor, config) if reigning.predecessor else None


def warn_of_other_splits(store: Reader, step: Step, upstream: Mapping[str, Reference], logger: Logger) -> None:
    """Say so when a champion that teaches knows labels of other splits, by itself or through its own teachers.

    Labeled images there may be validation images here, and validation figures then flatter.
    """
    if step.upstream.get("teacher") != CHAMPION:
        return
    known = set(store.get(upstream["teacher"].run_id).tags.get("splits", "").split())
    if known != {upstream["split"].output_digest}:
        tell(
            logger,
            "pseudo_label.teacher='champion' has learned from other splits: it may know labels of validation images of "
            "this one, so validation figures flatter; use the same seed and split",
            warning=True,
        )


def apply_decision(
    tracker: "Tracker", config: PipelineConfig, promote: StageResult, models: Mapping[str, StageResult]
) -> str:
    """Crown the model that a `promote` run decided for, unless that has been done; what was decided, in one sentence.

    The run is complete before the registry is touched, so a crash in between is mended by doing it again.
    `models` maps "student" and "baseline" to the steps that trained them.
    """
    with temporary_folder() as scratch:
        decision: dict[str, Any] = read_json(tracker.file(promote.run_id, "decision.json", scratch))
    if not decision["promoted"]:
        return str(decision["reason"])
    name, winner, reason = model_name(config), models[decision["model"]], str(decision["reason"])
    reigning = _usable_champion(tracker, name)
    if reigning is not None and _reigns(tracker, promote, winner, reigning):
        already = f"the {decision['model']} is the champion already, version {reigning.version} of {name}"
        return f"{already} ({reason})"
    # Two pipelines may end at the same time: whoever looks at the champion decides before the other looks.
    overthrown = tracker.exclusively(f"crown:{name}", lambda: _crown(tracker, config, promote, winner, reason))
    if overthrown is not None:
        return f"{name} got another champion while this was decided, version {overthrown}; run again to compare"
    reigning = champion(tracker, name)
    assert reigning is not None
    return f"the {decision['model']} is the champion, version {reigning.version} of {name} ({reason})"


def _reigns(tracker: "Tracker", promote: StageResult, model: StageResult, reigning: Champion | None) -> bool:
    if reigning is None:
        return False
    if reigning.promoted_by == promote.run_id:
        return True
    run = tracker.known(reigning.run_id)  # it may have been deleted since
    return run is not None and run.tags.get("output_digest") == model.output_digest


def _crown(
    tracker: "Tracker", config: PipelineConfig, promote: StageResult, winner: StageResult, reason: str
) -> str | None:
    """Crown the winner, unless somebody else than was decided against reigns by now: that one's version."""
    from semisup.tracking.model import crown

    name = model_name(config)
    reigning = _usable_champion(tracker, name)
    predecessor = tracker.get(promote.run_id).tags.get("upstream.champion", "")
    if _reigns(tracker, promote, winner, reigning):
        return None
    if reigning is not None and reigning.promoted_by != predecessor:
        return reigning.version
    crown(
        tracker,
        name,
        model_id=_model_id(tracker, config, winner.run_id),
        run_id=winner.run_id,
        promoted_by=promote.run_id,
        predecessor=predecessor,
        reason=reason,
    )
    return None


def _model_id(tracker: "Tracker", config: PipelineConfig, run_id: str) -> str:
    """The logged model of a training run; one that is lost, or a baseline's, is exported only now."""
    from flows.parallel.exporting import SAID, export_model

    known = tracker.get(run_id).tags.get("model_id")
    if known and lost_model(tracker, known) is None:
        return known
    display.current().line(f"{SAID}: it becomes the champion")
    return export_model(tracker, config, run_id)


def _reference(store: Reader, run_id: str, config: AnyConfig) -> Reference:
    at = f"promote.model={model_name(config)!r}: of its champion,"
    run = store.known(run_id)
    if run is None:
        raise UserError(f"{at} run {run_id[:8]} is not in this store any more; {OTHER_MODEL}")
    with temporary_folder() as scratch:
        problem = store.damage(run, scratch)
    if problem:
        raise UserError(f"{at} run {run_id[:8]} is damaged ({problem}); {OTHER_MODEL}")
    return Reference(run.id, run.tags["output_digest"])
