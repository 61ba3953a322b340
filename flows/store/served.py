"""The model that a person means: a run, a registered model, or files; and the temperature that goes with it."""

from dataclasses import dataclass
from pathlib import Path

from flows.store.named import REGISTERED, pipeline_of
from semisup.errors import UserError
from semisup.stages.support.models.saved import WEIGHTS
from semisup.system.json_files import read_json
from semisup.tracking.champions import registered_run
from semisup.tracking.looking import look
from semisup.tracking.places.stored import COMPLETE, StoredRun
from semisup.tracking.reader import Reader

MODELS = {"joint": "student", "baseline": "baseline"}
"""Stage → what `evaluate` calls its model."""
WITH_WEIGHTS = (*MODELS, "ensemble", "member")


@dataclass(frozen=True)
class ServedModel:
    """A model's folder, its temperature (None: never calibrated), and what it is, for people."""

    folder: Path
    temperature: float | None
    words: str


def find_model(name: str, scratch: Path) -> ServedModel:
    """What `name` means: a folder or a file of weights, `models:/NAME@ALIAS`, or the beginning of a run's id.

    Of a pipeline it is the model that the validation images spoke for.

    Raises:
        UserError: there is none, or it is damaged, or incomplete.
    """
    path = Path(name)
    if path.is_file():
        if path.name not in {WEIGHTS, "model.json"}:
            raise UserError(f"model {name} is no {WEIGHTS}; name that file, its folder, or a run")
        path = path.parent
    if path.is_dir() or (len(path.parts) > 1 and not name.startswith(REGISTERED)):
        return ServedModel(path, None, f"the model in {path}")
    store = look(Path.cwd())
    if name.startswith(REGISTERED):
        run = store.get(registered_run(store, name))
        pipeline = pipeline_of(store, run) or run
        return _trained(store, run, None, scratch, prefix=f"{name}, ", named=pipeline)
    run = named = store.find(name)
    if run.tags.get("stage") == "pipeline" and run.complete:
        run = store.get(run.tags["step.evaluate"])
    if run.tags.get("stage") == "evaluate":
        kept = "joint" if run.metrics.get("student_kept", 1.0) else "baseline"
        return _trained(store, store.get(run.tags[f"upstream.{kept}"]), run, scratch, named=named)
    return _trained(store, run, None, scratch, named=named)


def _trained(
    store: Reader, run: StoredRun, evaluate: StoredRun | None, scratch: Path, *, named: StoredRun, prefix: str = ""
) -> ServedModel:
    """The model of a training run; `evaluate` is the evaluation that is asked for its temperature, else the newest.

    People are told the run that they `named`, or the pipeline that they know: `semisup runs` lists no other.
    """
    stage = run.tags.get("stage", "")
    if stage not in WITH_WEIGHTS:
        raise UserError(
            f"run {run.id[:8]} is of stage {stage!r} ({run.status}) and has no model; name a complete pipeline, or a "
            f"run of stage {' or '.join(WITH_WEIGHTS)}"
        )
    if not run.complete:
        raise UserError(f"run {run.id[:8]} is {run.status} and not complete; name one that ended well")
    problem = store.damage(run, scratch)
    if problem:
        raise UserError(f"run {run.id[:8]} cannot be used: {problem}; run its config again")
    folder = store.artifacts(run.id, scratch)
    kind = read_json(folder / "model.json").get("name", "")
    words = f"{prefix}the {MODELS.get(stage, stage)} of run {named.id[:8]} ({kind})"
    return ServedModel(folder, _temperature(store, run, evaluate), words)


def _temperature(store: Reader, run: StoredRun, evaluate: StoredRun | None) -> float | None:
    model = MODELS.get(run.tags["stage"])
    if model is None:
        return None
    reads = f"tags.`upstream.{run.tags['stage']}` = '{run.id}' and tags.stage = 'evaluate' and {COMPLETE}"
    asked = [evaluate] if evaluate is not None else store.search(reads)
    fitted = [judged.metrics[key] for judged in asked if (key := f"{model}_temperature") in judged.metrics]
    return fitted[0] if fitted else None
