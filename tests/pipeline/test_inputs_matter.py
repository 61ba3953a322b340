"""What a plan calls an input of a stage is one: scramble it, and something else comes out, or the stage refuses it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
from matplotlib.figure import Figure
from torch import Tensor

from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.lineage.fingerprints import file_digest
from semisup.pipeline.log import Silence
from semisup.pipeline.plan import CHAMPION, Step, ensemble_plan, inputs_of, plan
from semisup.pipeline.specs import SPECS, load_stage
from semisup.stages.promote import Champion
from tests.checks.test_idle_keys import nested
from tests.situations import BASE, BOOSTING, CALIBRATED, CERTIFIED, ENSEMBLE, LABELS, PROBED, Overrides

CASES: dict[str, Overrides] = {
    "a table, two rounds": CERTIFIED
    | {"baseline.epochs": 4, "rounds": 2, "pseudo_label.threshold": {"target_precision": 0.7, "fallback": 0.1}},
    "labels at every step": CALIBRATED | {"joint.method": "fixmatch", "joint.start": "teacher", "rounds": 2},
    "shares of the pool": {"joint.method": "soft", "joint.policy.distribution_alignment": True}
    | {"pseudo_label.distribution_alignment.target": "estimated"},
    "a share of the table": {"joint.method": "soft", "joint.policy.ledger_share": 0.5},
    "an ensemble": ENSEMBLE | LABELS,
    "a boosted ensemble": BOOSTING | LABELS,
    "unknown images": LABELS | {"pseudo_label.unknown.false_alarms": 0.3},
    "a graph": PROBED | {"recipe": "graph", "split.validation_per_class": 0, "split.labeled_per_class": 6},
    "more of the network": PROBED
    | {"recipe": "auto", "split.validation_per_class": 0, "split.labeled_per_class": 6, "choose.budget": "1h"}
    | {"baseline.budget": "2 steps", "joint.budget": "2 steps"},
    "a graph and a calibration": PROBED | CALIBRATED | {"recipe": "graph"},
}
OF_OWN_IMAGES = {("split", "before"), ("labels", "before")}
"""Shown in the tests of a folder that grows."""
AN_OTHER_MODEL = {"student": "baseline", "baseline": "student"}


def steps_of(config: PipelineConfig) -> tuple[Step, ...]:
    alone = ensemble_plan(config)[-1:] if config.pseudo_label.teacher == "ensemble" else ()
    return (*plan(config, champion=True), *alone)


def config_of(case: str) -> PipelineConfig:
    return PipelineConfig.model_validate(nested(BASE, CASES[case]))


def test_these_cases_have_every_input_of_every_stage_among_them():
    known = {
        (step.stage, role.partition("-")[0])
        for case in CASES
        for step in steps_of(config_of(case))
        for role in step.upstream
    }
    asked = {(spec.name, role) for spec in SPECS.values() if spec.config is PipelineConfig for role in spec.inputs}
    assert known == asked - OF_OWN_IMAGES


# --- what is scrambled ------------------------------------------------------------------------------------------------


def scrambled(folder: Path, there: Path) -> Path:
    """A copy in which every number is another one, and every row says what another one said."""
    shutil.copytree(folder, there)
    for file in there.iterdir():
        match file.suffix:
            case ".safetensors":
                weights = {name: _turned(tensor) for name, tensor in safetensors.torch.load_file(file).items()}
                safetensors.torch.save_file(weights, file)
            case ".parquet":
                _shuffled(pd.read_parquet(file)).to_parquet(file, index=False)
            case ".json" if file.name not in {"model.json", "dataset.json", "timings.json"}:
                file.write_text(json.dumps(_changed(json.loads(file.read_text()))))
            case _:
                pass
    return there


def _turned(tensor: Tensor) -> Tensor:
    return tensor.flatten().flip(0).reshape(tensor.shape).contiguous() if tensor.is_floating_point() else tensor


def _shuffled(table: pd.DataFrame) -> pd.DataFrame:
    rows = np.random.default_rng(0).permutation(len(table))
    rest = [name for name in table.columns if name not in {"id", "index", "round"}]
    return table.assign(**{name: table[name].take(rows).array for name in rest})


def _changed(value: Any, key: str = "") -> Any:
    match value:
        case float():
            return 0.9 * value + 0.01
        case int() if key in {"accepted", "unlabeled"}:  # other whole numbers say where something lies
            return value + 1
        case str() if key == "model":
            return AN_OTHER_MODEL.get(value, value)
        case dict():
            return {name: _changed(inner, name) for name, inner in value.items()}
        case list():
            return [_changed(inner) for inner in value]
        case _:
            return value


# --- proof ------------------------------------------------------------------------------------------------------------


def left_by(step: Step, config: PipelineConfig, inputs: dict[str, Path], out_dir: Path) -> dict[str, str]:
    """File → digest of what counts, and of the page that people read."""
    out_dir.mkdir(parents=True)
    load_stage(step.stage, number=step.number)(config, inputs, out_dir, Silence())
    files = [file for file in out_dir.iterdir() if file.suffix in {".parquet", ".json", ".safetensors", ".md"}]
    return {file.name: file_digest(file) for file in files if file.name != "timings.json"}


def champion_of(evaluate: Path, root: Path) -> Path:
    """As an earlier `promote` would have left the baseline."""
    tested = pd.read_parquet(evaluate / "predictions.parquet")
    names = [row["name"] for row in json.loads((evaluate / "metrics.json").read_text())["student"]["per_class"]]
    (root / CHAMPION).mkdir()
    Champion(tested[["id", "truth"]].assign(label=tested["baseline_label"]), names).write(root / CHAMPION)
    return root / CHAMPION


def without_effect(config: PipelineConfig, root: Path) -> Iterator[tuple[str, str]]:
    """(step, role) of every input that may be scrambled and nothing is another."""
    folders: dict[str, Path] = {}
    splits = other_splits(config, root)
    for step in steps_of(config):
        inputs = inputs_of(step, config, folders)
        usual = left_by(step, config, inputs, root / step.name)
        folders[step.name] = root / step.name
        if step.stage == "promote":
            inputs[CHAMPION] = champion_of(folders["evaluate"], root)
            usual = left_by(step, config, inputs, root / "promoted again")
        for role, folder in inputs.items():
            place = root / f"{step.name} without its {role}"
            others = splits if role == "split" else [scrambled(folder, Path(f"{place}, scrambled"))]
            if not any(
                _is_felt(step, config, inputs | {role: other}, Path(f"{place} {number}"), usual)
                for number, other in enumerate(others)
            ):
                yield step.name, role


def other_splits(config: PipelineConfig, root: Path) -> list[Path]:
    """One that picked other images, and more of them; and one whose test images are called otherwise."""
    asked = config.split.model_copy(update={"labeled_per_class": config.split.labeled_per_class + 1})
    left_by(
        plan(config)[0], config.model_copy(update={"seed": config.seed + 1, "split": asked}), {}, root / "other split"
    )
    shutil.copytree(root / "other split", root / "other tests")
    table = pd.read_parquet(root / "other tests" / "split.parquet")
    table.loc[table["role"] == "test", "id"] += "x"
    table.to_parquet(root / "other tests" / "split.parquet", index=False)
    return [root / "other split", root / "other tests"]


def _is_felt(step: Step, config: PipelineConfig, inputs: dict[str, Path], out_dir: Path, usual: dict[str, str]) -> bool:
    try:
        return left_by(step, config, inputs, out_dir) != usual
    except (UserError, AssertionError, ValueError, LookupError):
        return True  # it was read, and refused


@pytest.fixture
def without_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take most of the time and are a view of what is compared."""
    monkeypatch.setattr(Figure, "draw", lambda *_: None)


@pytest.mark.slow
@pytest.mark.usefixtures("without_drawing")
@pytest.mark.parametrize("case", CASES)
def test_whatever_a_stage_calls_an_input_changes_what_it_leaves(case, tmp_path):
    assert list(without_effect(config_of(case), tmp_path)) == []
