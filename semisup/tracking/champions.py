"""The champion of a registered model, and what may be wrong with it. Light: MLflow is not imported."""

import re
from dataclasses import dataclass

from semisup.errors import UserError
from semisup.lineage.fingerprints import damage
from semisup.tracking.places.relocation import local_path
from semisup.tracking.reader import Reader

ALIAS = "champion"
OTHER_MODEL = f"choose another promote.model, or take {ALIAS!r} away from that version on its page (`semisup ui`)"
"""The way out where a champion cannot be used."""
REFERENCE = re.compile(r"models:/(?P<name>[^@/]+)(?:@(?P<alias>[^@/]+)|/(?P<version>\d+))")


@dataclass(frozen=True)
class Champion:
    """The registered model's version that carries the alias, and where it came from."""

    version: str
    model_id: str
    run_id: str
    """The training stage's run, whose weights it is."""
    promoted_by: str
    """The `promote` run that made it champion."""
    predecessor: str
    """The `promote` run of the champion before it, or ""."""


def champion(store: Reader, name: str) -> Champion | None:
    """The champion of a registered model, or None.

    Raises:
        UserError: it was not made by this project, so nothing is known of the images it was tested on.
    """
    try:
        version = store.alias(name, ALIAS)
    except PermissionError:
        raise UserError(
            f"promote.model={name!r}: the MLflow server does not let this user see that registered model; have it "
            "made and shared by its administrator, or set promote.enabled: false"
        ) from None
    if version is None:
        return None
    tags = version.tags
    if "promoted_by" not in tags:
        raise UserError(
            f"promote.model={name!r}: its champion, version {version.version}, was not made by semisup and cannot be "
            f"compared; {OTHER_MODEL}"
        )
    return Champion(version.version, tags["model_id"], version.run_id, tags["promoted_by"], tags["predecessor"])


def lost_files(store: Reader, found: Champion) -> str | None:
    """What is wrong with the files of a champion: they are gone, or not what they were; None where it can be used.

    Of a store on a server only the runs are looked for, and what is read of them is looked at when it is read.
    """
    for run_id in (found.run_id, found.promoted_by):
        run = store.known(run_id)
        if run is None:
            return f"run {run_id[:8]} is not in this store any more"
        folder = store.local_artifacts(run_id)
        if folder is not None and (problem := damage(folder, run.tags.get("output_digest", ""))):
            return f"of run {run_id[:8]}, {problem}"
    return lost_model(store, found.model_id)


def lost_model(store: Reader, model_id: str) -> str | None:
    """What is wrong with a logged model; None where it is there, or cannot be looked at from here."""
    address = store.model_place(model_id)
    if address is None:
        return f"model {model_id} is not in this store any more"
    place = local_path(address)
    return f"{place / 'MLmodel'} is gone" if place is not None and not (place / "MLmodel").is_file() else None


def registered_run(store: Reader, name: str) -> str:
    """Id of the training run whose model `models:/NAME@ALIAS` or `models:/NAME/VERSION` is.

    Raises:
        UserError: there is no such model, or it was not made by this project.
    """
    wanted = REFERENCE.fullmatch(name)
    if wanted is None:
        raise UserError(f"model {name!r} is not of the form models:/NAME@{ALIAS} or models:/NAME/VERSION")
    try:
        if wanted["alias"]:
            version = store.alias(wanted["name"], wanted["alias"])
        else:
            version = store.version(wanted["name"], wanted["version"])
    except PermissionError:
        version = None
    if version is None:
        raise UserError(f"model {name!r} is not in this store, or not for this user; `semisup ui` shows them")
    if "promoted_by" not in version.tags:
        raise UserError(f"model {name!r} was not made by semisup; name another one, or a run")
    return version.run_id
