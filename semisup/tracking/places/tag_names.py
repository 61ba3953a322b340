"""Tags that mean nothing to a person are stored under names that MLflow's pages leave out."""

from collections.abc import Mapping

from semisup.system.processes import PROCESS_TAGS

HIDDEN = "mlflow.semisup."
"""Begins such names: MLflow's pages show no tag whose name begins with `mlflow.`."""
OURS_ALONE = {*PROCESS_TAGS, "git.dirty", "splits"}
FAMILIES = ("digest.", "step.")
"""Beginnings of names of which there is one for each input or step. None of all these is ever searched for."""


def stored_name(name: str) -> str:
    """What a tag is called in the store."""
    return HIDDEN + name if name in OURS_ALONE or name.startswith(FAMILIES) else name


def stored_names(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as they are written."""
    return {stored_name(name): value for name, value in tags.items()}


def told_names(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as they were told, from those in the store; runs of before have all of them under their plain names."""
    return {name.removeprefix(HIDDEN): value for name, value in tags.items()}
