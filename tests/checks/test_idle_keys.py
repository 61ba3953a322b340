"""Every key of a config either changes what comes out, or is said to change nothing where it cannot."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from semisup.checks.ineffective import ineffective_options
from semisup.config import PipelineConfig, describe_keys
from semisup.config.files import validate
from semisup.lineage.fingerprints import WITHOUT_EFFECT, file_digest, lineage_of
from semisup.pipeline.log import Silence
from semisup.pipeline.plan import inputs_of, plan
from semisup.pipeline.specs import load_stage
from tests.situations import ASLEEP_ELSEWHERE, BASE, OF_OWN_IMAGES, OF_WEIGHTS, PIPELINE, WHERE_AND_HOW, Key, Overrides

RESULTS = (
    "split.parquet",
    "weights.safetensors",
    "history.parquet",
    "pseudo_labels.parquet",
    "predictions.parquet",
    "compound.parquet",
)
"""What people want of a run; other files also say what was asked for."""


def nested(*parts: Overrides) -> dict[str, Any]:
    """Dotted overrides as nested mappings; later ones win."""
    values: dict[str, Any] = {}
    for key, value in {key: value for part in parts for key, value in part.items()}.items():
        *sections, leaf = key.split(".")
        at = values
        for section in sections:
            if not isinstance(at.get(section), dict):
                at[section] = {}
            at = at[section]
        at[leaf] = {**value} if isinstance(value, dict) else value
    return values


def config_of(*parts: Overrides) -> PipelineConfig:
    return validate(nested(BASE, *parts), source="test")


def lines_about(key: str, config: PipelineConfig) -> list[str]:
    return [line for line in ineffective_options(config) if line.startswith((f"{key}=", f"{key} is set"))]


ASLEEP = [
    (key, situation)
    for key in (*PIPELINE, *ASLEEP_ELSEWHERE)
    for situation in (*([] if key.asleep is None else [key.asleep]), *key.others_asleep)
]


def named(case: Any) -> str:
    return case.name if isinstance(case, Key) else ""


def test_every_key_of_the_schema_has_its_place_in_the_table():
    """A new key needs a situation in which it matters, and one for every place where it does not."""
    known = {key.name for key in PIPELINE} | set(WHERE_AND_HOW) | set(OF_OWN_IMAGES) | set(OF_WEIGHTS)
    schema = {key for key, _, _ in describe_keys()}
    schema |= {key for at in ("joint.strong_augment",) for key in schema if key.startswith(f"{at}.")}
    refused = {key for key in schema if key.endswith("horizontal_flip")}  # digits are never mirrored
    refused |= {key for key in schema if key.endswith("test_time.augment.paste")}
    foreign = {key for key in schema if key.endswith(".options")}  # refused where nothing installed has any
    assert known == schema - refused - foreign


def test_what_shall_not_change_a_result_is_not_counted_in_fingerprints():
    uncounted = {"name", "promote.model"}  # both are counted by `promote` alone, which decides by them whom to ask
    for key in set(WHERE_AND_HOW) - uncounted:
        assert any(key == out or key.startswith(f"{out}.") for out in WITHOUT_EFFECT), key


@pytest.mark.parametrize("key", PIPELINE, ids=named)
def test_a_key_that_matters_is_not_warned_of(key):
    assert lines_about(key.name, config_of(key.awake, {key.name: key.value})) == []


@pytest.mark.parametrize(("key", "situation"), ASLEEP, ids=named)
def test_a_key_that_cannot_matter_is_warned_of_in_one_line_with_the_way_out(key, situation):
    (line,) = lines_about(key.name, config_of(situation, {key.name: key.value}))
    assert "\n" not in line
    assert ", but " in line
    assert "use " in line
    assert lines_about(key.name, config_of(situation)) == []


PROVED = [case for case in ASLEEP if not case[0].name.startswith("runtime")]  # that changes no result anywhere


# --- proof ------------------------------------------------------------------------------------------------------------


class Runs:
    """Pipelines of plain stages, in which what has been run before is not run again."""

    def __init__(self, root: Path) -> None:
        self.root, self.folders = root, {}

    def results(self, config: PipelineConfig) -> Iterator[tuple[str, dict[str, str]]]:
        """(step, file → digest of what counts), step by step."""
        folders: dict[str, Path] = {}
        for step in plan(config):
            inputs = inputs_of(step, config, folders)
            upstream = {role: str(folder) for role, folder in inputs.items()}
            fingerprint = lineage_of(step.spec, config, upstream, "digits").fingerprint + str(step.number)
            if fingerprint not in self.folders:
                folder = self.root / str(len(self.folders))
                folder.mkdir()
                load_stage(step.stage, number=step.number)(config, inputs, folder, Silence())
                self.folders[fingerprint] = folder
            folder = folders[step.name] = self.folders[fingerprint]
            yield step.name, {name: file_digest(folder / name) for name in RESULTS if (folder / name).exists()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
@pytest.mark.parametrize("key", PIPELINE, ids=named)
def test_a_key_changes_what_comes_out_where_it_matters(runs, key):
    before, after = config_of(key.awake), config_of(key.awake, {key.name: key.value})
    if [step.name for step in plan(before)] == [step.name for step in plan(after)]:
        pairs = zip(runs.results(before), runs.results(after), strict=True)
        assert any(old != new for old, new in pairs)  # as far as the first difference


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "situation"),
    PROVED,
    ids=named,
)
def test_a_key_that_is_warned_of_changes_nothing_that_comes_out(runs, key, situation):
    before, after = config_of(situation), config_of(situation, {key.name: key.value})
    for (step, old), (_, new) in zip(runs.results(before), runs.results(after), strict=True):
        if step == "evaluate" and not key.name.startswith(("evaluate", "promote")):
            break  # the same models are asked the same questions
        if step in {"pseudo_label", "labels"} and "uncertainty.negative" in key.name:
            continue  # the table says which class an image is not, and nobody learns from it
        assert old == new
