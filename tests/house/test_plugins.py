"""What an installed package adds by an entry point: a method, a source of images, a family of networks, in two files.

Each test writes such a package and runs it in a process of its own, as a user's would be.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import LONG

METHOD = '''
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import BaseModel, Field
from torch.nn import functional as F

from semisup.pseudo_labels import Policy
from semisup.pseudo_labels.method import Method


class Options(BaseModel):
    sharpest: Annotated[int, Field(ge=1)] = 2


@dataclass(frozen=True)
class TopOfBatch(Policy):
    """Of every batch the surest images alone."""

    sharpest: int
    uses_predictions: ClassVar[bool] = True

    def init(self, num_unlabeled, num_classes):
        return {}

    def update(self, state, probabilities, indices):
        confidence, label = probabilities.max(dim=1)
        chosen = torch.zeros_like(confidence).scatter(0, confidence.topk(min(self.sharpest, len(label))).indices, 1.0)
        return state, F.one_hot(label, probabilities.shape[1]).to(probabilities.dtype), chosen


METHOD = Method(
    learns_from="images", view="weak", options=Options, policy=lambda told: TopOfBatch(told.options.sharpest)
)
'''
SOURCE = """
import numpy as np
import torch
from pydantic import BaseModel

from semisup.data.datasets import ImageSet
from semisup.data.source import Source


class Options(BaseModel):
    side: int = 8


def shades(data, split, count):
    side = data.own_options().side
    rng = np.random.default_rng(["train", "test"].index(split))
    labels = np.arange(count) % 3
    pixels = rng.normal(60 + 60 * labels[:, None, None, None], 20, (count, 1, side, side)).clip(0, 255).astype(np.uint8)
    ids = tuple(f"{split}/{number}" for number in range(count))
    return ImageSet(torch.from_numpy(pixels), torch.from_numpy(labels), ids, ("dark", "middling", "light"))


SOURCE = Source(
    options=Options, pool=lambda data: shades(data, "train", 90), test=lambda data: shades(data, "test", 30)
)
"""
FAMILY = """
from torch import nn

from semisup.networks.family import Family, UnknownNetworkError


def build(wanted):
    if wanted.bare_name != "linear":
        raise UnknownNetworkError
    channels, height, width = wanted.image_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, wanted.num_classes))


FAMILY = Family(build=build, names=lambda: ["linear"])
"""
RUN = """
import json, sys, tempfile
from pathlib import Path
from semisup.config.files import validate
from semisup.errors import UserError
from semisup.lineage.fingerprints import lineage_of
from semisup.pipeline.log import Silence
from semisup.pipeline.plan import inputs_of, plan
from semisup.pipeline.specs import SPECS
from semisup.stages.preflight.check import check

try:
    config = validate(json.loads(sys.argv[1]), source="theirs.yaml")
    check(config)
    folders = {}
    for step in plan(config):
        folders[step.name] = Path(tempfile.mkdtemp(dir="."))
        inputs = inputs_of(step, config, folders)
        step.spec.load(number=step.number)(config, inputs, folders[step.name], Silence())
    metrics = json.loads((folders["evaluate"] / "metrics.json").read_text())
    prints = {name: lineage_of(SPECS[name], config, {}, "").fingerprint for name in ("split", "baseline", "joint")}
    print(json.dumps({"accuracy": metrics["student"]["accuracy"]["estimate"], "prints": prints}))
except UserError as error:
    print(json.dumps({"error": str(error)}))
"""
GROUPS = {"METHOD": "semisup.policies", "SOURCE": "semisup.sources", "FAMILY": "semisup.backbones"}
QUICK = {
    "name": "theirs",
    "split": {"labeled_per_class": 5, "validation_per_class": 5},
    "model": {"width": 0.25},
    "baseline": {"epochs": 6},
    "joint": {"epochs": 6},
    "runtime": {"device": "cpu", "threads": 1},
}


def install(folder: Path, attribute: str, code: str, value: str = "") -> None:
    """As an installer leaves it: a module, and beside it what its distribution says of itself."""
    (folder / "theirs.py").write_text(code, encoding="utf-8")
    about = folder / "theirs-1.0.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n", encoding="utf-8")
    points = f"[{GROUPS[attribute]}]\ntheirs = {value or f'theirs:{attribute}'}\n"
    (about / "entry_points.txt").write_text(points, encoding="utf-8")


def outcome(folder: Path, sections: dict) -> dict:
    config = {**QUICK, **{name: {**QUICK.get(name, {}), **section} for name, section in sections.items()}}
    process = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(config)],
        capture_output=True,
        text=True,
        check=True,
        timeout=LONG,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
    )
    found: dict = json.loads(process.stdout.splitlines()[-1])
    return found


def test_a_method_of_an_installed_package_trains_a_student(tmp_path):
    install(tmp_path, "METHOD", METHOD)
    joint = {"method": "theirs", "policy": {"options": {"sharpest": 3}}}
    first = outcome(tmp_path, {"joint": joint})
    assert first["accuracy"] > 0.3
    # Its code and its options are what the student's result follows from, and nobody else's.
    other_option = outcome(tmp_path, {"joint": {**joint, "policy": {"options": {"sharpest": 4}}}})
    install(tmp_path, "METHOD", METHOD.replace("1.0)", "2.0)"))
    other_code = outcome(tmp_path, {"joint": joint})
    assert len({run["prints"]["joint"] for run in (first, other_option, other_code)}) == 3
    assert len({run["prints"]["baseline"] for run in (first, other_option, other_code)}) == 1


def test_a_source_of_an_installed_package_is_split_and_learned_from(tmp_path):
    install(tmp_path, "SOURCE", SOURCE)
    assert outcome(tmp_path, {"data": {"name": "theirs", "options": {"side": 6}}})["accuracy"] > 0.6


def test_a_network_of_an_installed_package_is_built_by_family_and_name(tmp_path):
    install(tmp_path, "FAMILY", FAMILY)
    first = outcome(tmp_path, {"model": {"name": "theirs:linear", "width": 1.0}})
    assert first["accuracy"] > 0.5
    install(tmp_path, "FAMILY", FAMILY + "\nX = 1\n")
    other_code = outcome(tmp_path, {"model": {"name": "theirs:linear", "width": 1.0}})
    assert first["prints"]["split"] == other_code["prints"]["split"]
    assert first["prints"]["baseline"] != other_code["prints"]["baseline"]


def with_options(name: str, **options: object) -> dict:
    return {"joint": {"method": name, "policy": {"options": options}}}


@pytest.mark.parametrize(
    ("package", "sections", "said"),
    [
        (("METHOD", METHOD), with_options("thiers"), ["joint.method='thiers'", "'theirs'", "'fixmatch'"]),
        (("METHOD", "1 / 0"), with_options("theirs"), ["joint.method='theirs'", "ZeroDivisionError"]),
        (("METHOD", "METHOD = 3"), with_options("theirs"), ["joint.method='theirs'", "int"]),
        (("METHOD", METHOD, "nowhere:METHOD"), with_options("theirs"), ["nowhere:METHOD", "cannot be imported"]),
        (("METHOD", METHOD), with_options("theirs", sharpest=0), ["joint.policy.options.sharpest=0", "equal to 1"]),
        (
            ("METHOD", METHOD),
            with_options("fixmatch", sharpest=2),
            ["joint.policy.options", "'fixmatch' has no options"],
        ),
        (("SOURCE", SOURCE), {"data": {"name": "their"}}, ["data.name='their'", "'theirs'"]),
        (("SOURCE", SOURCE), {"data": {"name": "theirs", "options": {"side": "x"}}}, ["data.options.side='x'"]),
        (("FAMILY", FAMILY), {"model": {"name": "theirs:linaer", "width": 1.0}}, ["theirs:linear"]),
        (("FAMILY", FAMILY), {"model": {"name": "others:linear", "width": 1.0}}, ["others:linear", "theirs:<name>"]),
    ],
)
def test_a_mistake_in_what_is_named_or_installed_is_one_line(package, sections, said, tmp_path):
    install(tmp_path, *package)
    error = outcome(tmp_path, sections)["error"]
    assert "\n" not in error
    for word in said:
        assert word in error
