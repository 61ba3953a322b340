"""The run that a person means, in every command alike: by its id, by a config, or by what its pipeline is called."""

from pathlib import Path

import typer

from flows.start.exits import named_config
from semisup.errors import UserError, did_you_mean
from semisup.ready_made import is_config
from semisup.tracking.champions import ALIAS, champion, registered_run
from semisup.tracking.looking import look
from semisup.tracking.places.stored import COMPLETE, StoredRun
from semisup.tracking.reader import Reader

REGISTERED = "models:/"
WEIGHTS = "weights.safetensors"


def run_named(store: Reader, name: str, *, complete: bool = True) -> StoredRun:
    """The run with this id or beginning of one; of a config, or a pipeline's name, the newest pipeline, `complete` or
    however it stands; of a registered model the newest pipeline that made it.

    Of all but an id, stderr is told which it is, and why.

    Raises:
        UserError: there is none, or several ids begin so.
    """
    if name.startswith(REGISTERED):
        trained = store.get(registered_run(store, name))
        run = pipeline_of(store, trained)
        if run is None:
            raise UserError(f"{name} is of run {trained.id[:8]}, whose pipeline is not in this store; name another run")
        why = "made by"
    elif is_id(store, name):
        return store.find(name)
    else:
        run = _newest(store, name, _named_by(store, name)[0], complete=complete)
        why = f"its newest {'complete ' if complete else ''}pipeline,"
    changed = f", with {run.tags['set']}" if run.tags.get("set") else ""
    typer.echo(f"{name}: {why} run {run.id[:8]}, seed {run.tags.get('seed', '?')}{changed}", err=True)
    return run


def run_id_named(name: str) -> str:
    """The whole id of :func:`run_named`, in the store of the working folder.

    Raises:
        UserError: as there.
    """
    return run_named(look(Path.cwd()), name).id


def model_named(store: Reader, name: str) -> str:
    """Where the model is named by a config, or by a pipeline's name: `models:/NAME@champion`, or without a champion the
    id of the newest pipeline that ended; an id is what it was. Of a name, stderr is told which of both it is.

    Raises:
        UserError: the config cannot be read, or has never been run to its end here.
    """
    if is_id(store, name):
        return name
    pipelines_name, registered = _named_by(store, name)
    if champion(store, registered) is not None:
        crowned = f"{REGISTERED}{registered}@{ALIAS}"
        typer.echo(f"{name}: its champion, {crowned}", err=True)
        return crowned
    newest = _newest(store, name, pipelines_name, complete=True)
    typer.echo(f"{name}: no champion, so its newest complete pipeline, run {newest.id[:8]}", err=True)
    return newest.id


def is_place_of_a_model(name: str) -> bool:
    """Is it a registered model, or a path that is no config and holds none?"""
    path = Path(name)
    at_a_path = path.exists() or len(path.parts) > 1
    return name.startswith(REGISTERED) or (path / WEIGHTS).exists() or (at_a_path and not is_config(name))


def pipeline_of(store: Reader, run: StoredRun) -> StoredRun | None:
    """The newest complete pipeline that a run of a stage is a step of; None where there is none any more."""
    pipelines = store.search(f"tags.stage = 'pipeline' and {COMPLETE}", limit=10_000)
    step = f"step.{run.tags.get('step', '')}"
    return next((pipeline for pipeline in pipelines if pipeline.tags.get(step) == run.id), None)


def is_id(store: Reader, name: str) -> bool:
    """May the name be the beginning of a run's id, and is there such a run, or nothing else that it could be?"""
    wanted = name.strip().lower()
    if not wanted or not set(wanted) <= set("0123456789abcdef") or len(wanted) > 32:
        return False
    if not (is_config(name) or name in _pipelines(store)):
        return True
    return any(run.id.startswith(wanted) for run in store.search("tags.semisup.version LIKE '%'", limit=10_000))


def _named_by(store: Reader, name: str) -> tuple[str, str]:
    """What the pipelines of a config, or of that name, are called in the store, and their registered model."""
    if is_config(name):
        from semisup.config.files import load_config  # only of a config: other names need none of it

        config = load_config(named_config(name))
        return config.name, config.promote.model or config.name
    known = _pipelines(store)
    if name in known:
        return name, name
    hint = did_you_mean(name, known, "`semisup runs` lists them")
    raise UserError(f"run {name!r} is no run id, no config, and no pipeline's name in this store; {hint}")


def _newest(store: Reader, named: str, pipelines_name: str, *, complete: bool) -> StoredRun:
    also = f" and {COMPLETE}" if complete else ""
    found = store.search(f"tags.stage = 'pipeline' and tags.config = '{pipelines_name}'{also}", limit=1)
    if not found and is_config(named):
        raise UserError(f"config {named!r} has not been run to its end here; type first: semisup run {named}")
    if not found:
        raise UserError(
            f"pipeline {named!r} has not been run to its end here; run its config again, or name one of its runs by "
            "its id (`semisup runs` lists them)"
        )
    return found[0]


def _pipelines(store: Reader) -> list[str]:
    return sorted({run.tags.get("config", "") for run in store.search("tags.stage = 'pipeline'", limit=10_000)})
