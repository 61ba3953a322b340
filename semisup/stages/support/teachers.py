"""Who a teacher is, and whether it fits the data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semisup.config import PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.errors import UserError
from semisup.stages.support.models.saved import model_digest
from semisup.system.json_files import read_json
from semisup.wording import counted

TEACHERS = {"baseline": "baseline", "joint": "student", "ensemble": "ensemble"}
"""Stage → what its model is called in the pseudo-label table."""


def name_teacher(config: PipelineConfig, folder: Path, facts: DatasetFacts) -> str:
    """What the teacher was and which, "baseline:DIGEST" or "student:DIGEST"; a champion is one of them.

    Raises:
        UserError: the teacher knows other classes or other images than those of the data set.
    """
    model = read_json(folder / "model.json")
    mismatch = _mismatch(model, facts)
    if mismatch:
        raise UserError(
            f"pseudo_label.teacher={config.pseudo_label.teacher!r}: the teacher was made for {mismatch} as in "
            f"data.name={facts.name!r}; use pseudo_label.teacher=baseline, or a promote.model of the same data"
        )
    return f"{TEACHERS[model['stage']]}:{model_digest(folder)}"


def _mismatch(model: Mapping[str, Any], facts: DatasetFacts) -> str | None:
    """What a model was made for and what the data set has instead, or None where they agree."""
    shapes, names = (model["image_shape"], facts.image_shape), (model["class_names"], facts.class_names)
    theirs, ours = ("×".join(str(size) for size in shape) for shape in shapes)
    if theirs != ours:
        return f"images of {theirs} (C×H×W), not {ours}"
    if len(names[0]) != len(names[1]):
        return f"{counted(len(names[0]), 'class')}, not {len(names[1])}"
    for number, (their_name, our_name) in enumerate(zip(*names, strict=True)):
        if their_name != our_name:
            return f"class {number} {their_name!r}, not {our_name!r}"
    return None
