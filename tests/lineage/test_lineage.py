"""Fingerprints and digests: what makes a result stale, and what does not."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from flows.pipeline.reuse import lineage_for
from semisup.config import PipelineConfig
from semisup.lineage import earlier
from semisup.lineage.fingerprints import (
    MANIFEST,
    Lineage,
    damage,
    effective_config,
    lineage_of,
    manifest_of,
    output_digest,
)
from semisup.pipeline.plan import Step
from semisup.pipeline.specs import SPECS, STAGES
from semisup.stages.preflight.check import DataDigests

TRAINED = ("baseline", "joint")
VIEWS = {"views": 2, "augment": {"shift": 0.1}}
LINEAGE = Lineage("joint", "c0de", {"seed": 1, "joint.epochs": 5}, {"split": "aa", "pseudo_label": "bb"}, "dd")


# --- fingerprints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        replace(LINEAGE, stage="baseline"),
        replace(LINEAGE, code="c0df"),
        replace(LINEAGE, config={"seed": 2, "joint.epochs": 5}),
        replace(LINEAGE, config={"seed": 1}),
        replace(LINEAGE, upstream={"split": "aa", "pseudo_label": "cc"}),
        replace(LINEAGE, upstream={"split": "bb", "pseudo_label": "aa"}),
        replace(LINEAGE, upstream={"split": "aa"}),
        replace(LINEAGE, dataset="de"),
    ],
)
def test_every_part_of_a_lineage_is_part_of_its_fingerprint(changed):
    assert changed.fingerprint != LINEAGE.fingerprint


def test_the_order_of_keys_is_not_part_of_a_fingerprint():
    turned = replace(
        LINEAGE, config=dict(reversed(LINEAGE.config.items())), upstream={"pseudo_label": "bb", "split": "aa"}
    )
    assert turned.fingerprint == LINEAGE.fingerprint


def test_a_lineage_comes_back_from_its_text_with_the_same_fingerprint():
    config = PipelineConfig.model_validate({"baseline": {"schedule": {"milestones": [3, 5]}, "optimizer": {"lr": 0.1}}})
    for stage in STAGES:
        lineage = lineage_of(SPECS[stage], config, {"split": "aa"}, "dd")
        assert Lineage.from_json(lineage.to_json()).fingerprint == lineage.fingerprint


def test_a_fingerprint_is_the_same_in_another_process():
    """Of python's own hash() it would not be; a store is read by many processes."""
    code = (
        "from semisup.lineage.fingerprints import *; from semisup.pipeline.specs import SPECS\n"
        "from semisup.config import *\n"
        "print(lineage_of(SPECS['baseline'], PipelineConfig(), {'split': 'aa'}, 'dd').fingerprint)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    here = lineage_of(SPECS["baseline"], PipelineConfig(), {"split": "aa"}, "dd")
    assert outcome.stdout.strip() == here.fingerprint


def fingerprints(**sections: object) -> dict[str, str]:
    config = PipelineConfig.model_validate(sections)
    digests = DataDigests("dd", "dd")
    return {stage: lineage_for(Step(stage, stage, {}), config, {}, digests).fingerprint for stage in STAGES}


CHANGES = (
    ({"choose": {"budget": "9 min"}}, "budget"),
    ({"runtime": {"threads": 3}}, "speed"),
    ({"baseline": {"budget": "700 steps"}}, "baseline"),
    ({"joint": {"budget": "700 steps"}}, "student"),
    ({"joint": {"optimizer": {"lr": 0.002}}}, "learning rate of the student"),
)


def test_choosing_depends_on_trainings_only_where_it_trains():
    frozen = {"recipe": "graph", "model": {"name": "efficientnet_lite0"}, "data": {"name": "cifar10"}}
    trained = frozen | {"recipe": "auto"}
    for sections, change in CHANGES:
        assert fingerprints(**frozen)["choose"] == fingerprints(**frozen, **sections)["choose"], change
        assert fingerprints(**trained)["choose"] != fingerprints(**trained, **sections)["choose"], change


@pytest.mark.parametrize(
    ("sections", "stale"),
    [
        ({"promote": {"model": "x"}}, {"evaluate", "promote"}),
        ({"name": "mine"}, {"evaluate", "promote"}),
        ({"seed": 1}, set(STAGES) - {"promote"}),
        ({"split": {"labeled_per_class": 9}}, {"split", "evaluate"}),
        ({"model": {"width": 2}}, {"choose", "baseline", "member", "joint", "evaluate"}),
        ({"baseline": {"epochs": 99}}, {"baseline", "member", "evaluate"}),
        ({"ensemble": {"method": "boosting"}}, {"member", "ensemble", "evaluate"}),
        ({"evaluate": {"compound": True}}, {"evaluate"}),
        ({"evaluate": {"test_time": VIEWS}}, {"keep", "evaluate", "evaluate_ensemble"}),
        ({"pseudo_label": {"threshold": 0.7}}, {"calibrate", "pseudo_label", "labels", "evaluate"}),
        ({"pseudo_label": {"top_share": 0.5}}, {"calibrate", "pseudo_label", "evaluate"}),
        ({"joint": {"alpha_final": 0.5}}, {"joint", "evaluate"}),
        ({"data": {"name": "mnist"}}, {stage for stage in STAGES if "data" in SPECS[stage].sections}),
        ({"data": {"root": "/elsewhere", "download": True}}, set()),
        ({"pseudo_label": {"batch_size": 7}}, set()),
        ({"runtime": {"threads": 3, "device": "cpu", "state": "/x", "stage_timeout": 5, "dask": "tcp://a:1"}}, set()),
        ({"tracking": {"experiment": "other", "system_metrics": False}}, set()),
    ],
)
def test_a_stage_is_stale_by_itself_exactly_when_a_key_that_it_looks_at_can_change_its_result(sections, stale):
    """`evaluate` looks at all of them, for its report shows the config."""
    before, after = fingerprints(), fingerprints(**sections)
    assert {stage for stage in before if before[stage] != after[stage]} == stale


@pytest.mark.parametrize(
    ("budget", "counts"), [(None, False), ("50 steps", False), ("60s", True), ("5 min", True), ("60s wall", True)]
)
@pytest.mark.parametrize("speed", [{"threads": 3}, {"device": "cpu"}, {"channels_last": True}, {"compile": True}])
def test_what_makes_a_machine_fast_counts_where_the_budget_is_time(budget, counts, speed):
    joint = {"epochs": 5, "budget": budget}
    before, after = fingerprints(joint=joint), fingerprints(joint=joint, runtime=speed)
    stale = {stage for stage in before if before[stage] != after[stage]}
    assert stale == ({"joint", "evaluate"} if counts else set())


@pytest.mark.parametrize(
    "draws", [{"test_time": {"views": 3, "augment": {"shift": 0.1}}}, {"uncertainty": {"passes": 10}}]
)
def test_the_size_of_a_batch_counts_where_views_or_passes_are_drawn_by_the_batch(draws):
    before, after = fingerprints(pseudo_label=draws), fingerprints(pseudo_label=draws | {"batch_size": 7})
    assert {s for s in before if before[s] != after[s]} == {"calibrate", "pseudo_label", "labels", "evaluate"}


def test_every_key_of_the_config_is_looked_at_by_some_stage_or_named_as_without_effect():
    """A new key that nobody counts would let a stale result be reused."""
    from semisup.config import flatten
    from semisup.lineage.fingerprints import WITHOUT_EFFECT, YOUNGER

    counted = {key for stage in STAGES for key in effective_config(PipelineConfig(), SPECS[stage])}
    for key in set(flatten(PipelineConfig())) - YOUNGER:
        assert (key in counted) != any(key == out or key.startswith(f"{out}.") for out in WITHOUT_EFFECT), key


@pytest.mark.parametrize(
    ("stage", "section", "key", "value"),
    [("split", "data", "group", "{patient}/…"), ("joint", "model", "center_crop", 48)],
)
def test_a_younger_key_counts_where_it_is_set_and_results_of_before_there_was_one_stay_fresh(
    stage, section, key, value
):
    config = {"recipe": "graph", "data": {"name": "folder", "root": "photos"}, "model": {"name": "efficientnet_lite0"}}
    without, given = (
        effective_config(PipelineConfig.model_validate(config | {section: config[section] | more}), SPECS[stage])
        for more in ({}, {key: value})
    )
    assert f"{section}.{key}" not in without
    assert given == without | {f"{section}.{key}": value}


@pytest.mark.parametrize("setting", [{"mirror": True}, {"center_crop": 48}, {"mirror": True, "center_crop": 32}])
@pytest.mark.parametrize(("train", "counts"), [("probe", True), ("auto", True), ("head", False), ("all", False)])
def test_how_a_probe_looks_at_images_counts_only_where_there_is_one_and_unset_as_ever(train, counts, setting):
    def said(**more):
        model = {"name": "efficientnet_lite0", "train": train, **more}
        recipe = {"recipe": "graph"} if counts else {}
        recipe |= {stage: {"early_stopping": {"keep": "last"}} for stage in TRAINED}
        return PipelineConfig.model_validate(recipe | {"data": {"name": "folder", "root": "photos"}, "model": model})

    for stage in TRAINED:
        plain, other = (effective_config(config, SPECS[stage]) for config in (said(), said(**setting)))
        assert (plain != other) == counts
        assert (plain["model.mirror"], "model.center_crop" in plain) == (False, False)  # as before there was the rule


def test_what_changed_is_told_with_old_and_new_values():
    old = replace(
        LINEAGE, config={"seed": 1, "joint.epochs": 7}, upstream={"split": "aa", "pseudo_label": "xx"}, code="x"
    )
    assert LINEAGE.changes_since(old) == ["joint.epochs 7 → 5", "input pseudo_label", "code"]
    assert LINEAGE.changes_since(LINEAGE) == []
    assert replace(LINEAGE, dataset="new").changes_since(LINEAGE) == ["data set"]


# --- digests ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def outputs(tmp_path) -> Path:
    """What a stage may leave: results, a picture, timings."""
    folder = tmp_path / "out"
    (folder / "figures").mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(bytes(range(256)))
    (folder / "training.json").write_text("{}", encoding="utf-8")
    (folder / "timings.json").write_text('{"seconds": 1.5}', encoding="utf-8")
    (folder / "figures" / "curve.png").write_bytes(b"png")
    return folder


def sealed(folder: Path) -> str:
    manifest = manifest_of(folder)
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return output_digest(manifest)


def test_a_manifest_is_what_sha256_says_of_every_file(outputs):
    expected = {
        path.relative_to(outputs).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in outputs.rglob("*")
        if path.is_file()
    }
    assert manifest_of(outputs) == expected


def test_a_manifest_does_not_count_itself(outputs):
    before = manifest_of(outputs)
    sealed(outputs)
    assert manifest_of(outputs) == before


def test_pictures_and_timings_are_not_part_of_the_output_digest_and_results_are(outputs):
    before = output_digest(manifest_of(outputs))
    (outputs / "timings.json").write_text('{"seconds": 99}', encoding="utf-8")
    (outputs / "figures" / "curve.png").write_bytes(b"another picture")
    assert output_digest(manifest_of(outputs)) == before
    (outputs / "training.json").write_text('{"best_epoch": 2}', encoding="utf-8")
    assert output_digest(manifest_of(outputs)) != before


def test_whole_artifacts_have_no_damage(outputs):
    assert damage(outputs, sealed(outputs)) is None


@pytest.mark.parametrize("file", ["weights.safetensors", "training.json", "timings.json", "figures/curve.png"])
def test_every_changed_or_missing_file_is_damage_and_is_named(file, outputs):
    digest = sealed(outputs)
    content = (outputs / file).read_bytes()
    (outputs / file).write_bytes(content[:-1] + b"?")
    assert file in str(damage(outputs, digest))
    (outputs / file).write_bytes(content[:-1])
    assert file in str(damage(outputs, digest))
    (outputs / file).unlink()
    assert file in str(damage(outputs, digest))
    (outputs / file).write_bytes(content)
    assert damage(outputs, digest) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"a": 1}', "{}"])
def test_a_manifest_that_is_damaged_or_of_another_run_is_damage(content, outputs):
    digest = sealed(outputs)
    (outputs / MANIFEST).write_text(content, encoding="utf-8")
    assert MANIFEST in str(damage(outputs, digest))


def test_artifacts_of_another_digest_are_damage(outputs):
    sealed(outputs)
    assert damage(outputs, "0" * 64) is not None
    assert damage(outputs, "") is not None


@pytest.mark.parametrize("how", ["dots", "absolute", "link"])
def test_a_manifest_that_leads_outside_its_folder_is_damage(how, outputs, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("my key", encoding="utf-8")
    name = {"dots": "../secret", "absolute": str(secret), "link": "link"}[how]
    if how == "link":
        (outputs / "link").symlink_to(secret)
    manifest = manifest_of(outputs) | {name: hashlib.sha256(b"my key").hexdigest()}
    (outputs / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    assert "outside" in str(damage(outputs, output_digest(manifest)))


# --- the same bits from other code ------------------------------------------------------------------------------------


def test_runs_of_earlier_code_with_the_same_bits_may_stand_for_todays_and_others_may_not(monkeypatch):
    today = lineage_of(SPECS["baseline"], PipelineConfig(), {"split": "aa"}, "dd")
    before, other = (replace(today, code=code) for code in ("0" * 16, "1" * 16))
    monkeypatch.setattr(earlier, "SAME", {("baseline", today.code): (before.code,)})
    assert today.fingerprints == (today.fingerprint, before.fingerprint)
    assert today.changes_since(before) == []
    assert today.changes_since(other) == ["code"]
    assert other.fingerprints == (other.fingerprint,)  # of later code the line says nothing


def test_what_is_said_of_earlier_code_is_said_of_stages_that_there_are():
    assert {stage for stage, _ in earlier.SAME} <= {*SPECS}
