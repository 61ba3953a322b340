"""Self-training rounds as plain functions: who teaches, what a table remembers, that every student is a fresh one."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from semisup.config import PipelineConfig
from semisup.data.sources import load_pool, load_test
from semisup.errors import UserError
from semisup.networks.models import build_model
from semisup.pipeline.log import Silence
from semisup.pipeline.specs import load_stage
from semisup.stages import joint
from semisup.stages.support.models.saved import load_model
from semisup.system.json_files import read_json, write_json
from semisup.system.randomness import derive_seed
from tests.listening import Listener

LABELS = ("pseudo_label", "pseudo_label-2", "pseudo_label-3")
STUDENTS = ("joint", "joint-2", "joint-3")


def tables_of(folders: dict[str, Path]) -> list[pd.DataFrame]:
    """The pseudo-label tables of all rounds, by id."""
    return [pd.read_parquet(folders[step] / "pseudo_labels.parquet").set_index("id") for step in LABELS]


def summaries_of(folders: dict[str, Path]) -> list[dict[str, Any]]:
    return [read_json(folders[step] / "summary.json") for step in LABELS]


def digest_of(folder: Path) -> str:
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()[:12]


# --- who teaches ------------------------------------------------------------------------------------------------------


def test_each_round_is_taught_by_the_student_of_the_round_before(round_folders):
    teachers = [set(pseudo_labels["teacher"]) for pseudo_labels in tables_of(round_folders)]
    first, second = (digest_of(round_folders[student]) for student in STUDENTS[:2])
    baseline = digest_of(round_folders["baseline"])
    assert teachers == [{f"baseline:{baseline}"}, {f"student:{first}"}, {f"student:{second}"}]


@pytest.mark.parametrize(("labels", "teacher"), [("pseudo_label-2", "joint"), ("pseudo_label-3", "joint-2")])
def test_every_image_is_labeled_anew_by_the_teachers_own_forward_pass(labels, teacher, round_folders):
    pseudo_labels, pool = pd.read_parquet(round_folders[labels] / "pseudo_labels.parquet"), load_pool("digits")
    with torch.inference_mode():
        probabilities = load_model(round_folders[teacher])(pool.images[pseudo_labels["index"].tolist()]).softmax(dim=1)
    confidence, label = probabilities.max(dim=1)
    assert pseudo_labels["label"].tolist() == label.tolist()
    np.testing.assert_allclose(pseudo_labels["confidence"], confidence, atol=1e-5)


def test_a_champion_teaches_the_first_round_and_is_named_by_its_weights(
    tiny_config, stage_folders, stage_runner, tmp_path
):
    config = with_champion(tiny_config)
    champion = {"champion": stage_folders["joint"]}
    folders = stage_runner(config, tmp_path, ("pseudo_label",), stage_folders | champion)
    pseudo_labels = pd.read_parquet(folders["pseudo_label"] / "pseudo_labels.parquet")
    assert set(pseudo_labels["teacher"]) == {f"student:{digest_of(stage_folders['joint'])}"}
    assert set(pseudo_labels["round"]) == {1}


def with_champion(config: PipelineConfig) -> PipelineConfig:
    teacher = config.pseudo_label.model_copy(update={"teacher": "champion"})
    return config.model_copy(update={"pseudo_label": teacher})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_shape": [1, 28, 28]}, "images of 1×28×28 (C×H×W), not 1×8×8"),
        ({"image_shape": [3, 8, 8]}, "images of 3×8×8 (C×H×W), not 1×8×8"),
        ({"class_names": ["a", "b"]}, "2 classes, not 10"),
        ({"class_names": list("0123456798")}, "class 8 '9', not '8'"),
    ],
)
def test_a_teacher_of_other_classes_or_images_is_a_mistake_with_a_way_out(
    change, said, tiny_config, stage_folders, tmp_path
):
    teacher, out = tmp_path / "teacher", tmp_path / "out"
    shutil.copytree(stage_folders["joint"], teacher)
    out.mkdir()
    write_json(teacher / "model.json", read_json(teacher / "model.json") | change)
    inputs = {"split": stage_folders["split"], "teacher": teacher}
    with pytest.raises(UserError) as caught:
        load_stage("pseudo_label")(with_champion(tiny_config), inputs, out, Silence())
    message = str(caught.value)
    assert "\n" not in message
    for part in ("pseudo_label.teacher='champion'", said, "data.name='digits'", "use pseudo_label.teacher=baseline"):
        assert part in message
    assert list(out.iterdir()) == []


# --- what a pseudo-label table remembers ------------------------------------------------------------------------------


def test_flipped_is_where_the_label_is_another_than_in_the_round_before(round_folders):
    first, *later = tables_of(round_folders)
    assert not first["flipped"].any()
    before = first
    for pseudo_labels in later:
        expected = {id_: label != before["label"][id_] for id_, label in pseudo_labels["label"].items()}
        assert pseudo_labels["flipped"].to_dict() == expected
        before = pseudo_labels
    assert any(pseudo_labels["flipped"].any() for pseudo_labels in later)  # or the test would prove little


def test_the_first_acceptance_is_null_where_no_round_accepted_and_never_changes_once_set(round_folders):
    accepted_so_far: dict[str, int] = {}
    for number, pseudo_labels in enumerate(tables_of(round_folders), start=1):
        assert set(pseudo_labels["round"]) == {number}
        for id_ in pseudo_labels.index[pseudo_labels["accepted"]]:
            accepted_so_far.setdefault(id_, number)
        known = pseudo_labels["accepted_round"].dropna()
        assert known.to_dict() == accepted_so_far
    assert {1, 2} <= set(accepted_so_far.values())
    assert len(accepted_so_far) < len(pseudo_labels)


def test_every_round_labels_exactly_the_unlabeled_images_and_no_other(round_folders):
    split = pd.read_parquet(round_folders["split"] / "split.parquet")
    roles = split.groupby("role")["id"].agg(set)
    for pseudo_labels in tables_of(round_folders):
        assert pseudo_labels.index.is_unique
        assert set(pseudo_labels.index) == roles["unlabeled"]
        for role in ("labeled", "validation", "test"):
            assert roles[role].isdisjoint(pseudo_labels.index)


def test_summaries_count_what_the_tables_hold_and_remember_the_rounds_before(round_folders):
    summaries, tables = summaries_of(round_folders), tables_of(round_folders)
    for number, (summary, pseudo_labels) in enumerate(zip(summaries, tables, strict=True), start=1):
        assert summary["round"] == number
        assert summary["accepted"] == pseudo_labels["accepted"].sum()
        assert summary["flipped"] == pseudo_labels["flipped"].sum()
        assert summary["newly_accepted"] == (pseudo_labels["accepted_round"] == number).sum()
        lines = [{name: earlier[name] for name in summary["rounds"][0]} for earlier in summaries[:number]]
        assert summary["rounds"] == lines
    assert summaries[0]["newly_accepted"] == summaries[0]["accepted"]


def test_a_table_does_not_depend_on_the_audit_of_the_round_before(tiny_config, round_folders, stage_runner, tmp_path):
    previous = tmp_path / "previous"
    shutil.copytree(round_folders["pseudo_label"], previous)
    (previous / "audit.parquet").unlink()
    summary = read_json(previous / "summary.json")
    write_json(previous / "summary.json", summary | {"precision": 0.0, "rounds": []})
    config = tiny_config.model_copy(update={"rounds": 2})
    again = stage_runner(config, tmp_path, ("pseudo_label-2",), round_folders | {"pseudo_label": previous})
    tables = [folders["pseudo_label-2"] / "pseudo_labels.parquet" for folders in (again, round_folders)]
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_the_log_hears_of_the_round_and_what_it_changed(tiny_config, round_folders, tmp_path):
    ear = Listener()
    inputs = {"split": round_folders["split"], "teacher": round_folders["joint"]}
    inputs["previous"] = round_folders["pseudo_label"]
    load_stage("pseudo_label")(tiny_config, inputs, tmp_path, ear)
    summary = summaries_of(round_folders)[1]
    names = ("round", "flipped", "newly_accepted", "accepted")
    assert {name: ear.figures[name] for name in names} == {name: summary[name] for name in names}
    assert ear.lines[0].startswith("round 2: ")
    assert f"{summary['flipped']} labels changed" in ear.lines[0]


# --- every student is a fresh one -------------------------------------------------------------------------------------


class EnoughSeenError(Exception):
    """Ends a stage where training would begin."""


def start_of(student: str, config: PipelineConfig, folders: dict[str, Path], out: Path, monkeypatch: Any) -> Any:
    """(initial weights, seed) that the joint stage hands to the training loop."""
    seen: list[Any] = []

    def spy(model: torch.nn.Module, *arguments: Any, **options: Any) -> Any:
        seen.append(({name: value.clone() for name, value in model.state_dict().items()}, options["seed"]))
        raise EnoughSeenError

    monkeypatch.setattr(joint, "train", spy)
    labels = folders[LABELS[STUDENTS.index(student)]]
    with pytest.raises(EnoughSeenError):
        joint.run(config, {"split": folders["split"], "pseudo_label": labels}, out, Silence())
    return seen[0]


def test_no_two_students_start_alike_and_the_first_one_starts_as_in_a_single_round(
    tiny_config, round_folders, tmp_path, monkeypatch
):
    starts = [start_of(student, tiny_config, round_folders, tmp_path, monkeypatch) for student in STUDENTS]
    facts = read_json(round_folders["split"] / "dataset.json")
    for number, (weights, seed) in enumerate(starts, start=1):
        purposes = (
            ("student weights", "joint")
            if number == 1
            else (f"student round {number} weights", f"joint round {number}")
        )
        expected = build_model(
            "small_cnn",
            (1, 8, 8),
            10,
            mean=facts["mean"],
            std=facts["std"],
            width=0.5,
            seed=derive_seed(tiny_config.seed, purposes[0]),
        ).state_dict()
        assert all(torch.equal(weights[name], value) for name, value in expected.items())
        assert seed == derive_seed(tiny_config.seed, purposes[1])
    filters = [weights["backbone.0.weight"] for weights, _ in starts]
    assert len({tuple(values.flatten().tolist()) for values in filters}) == len(starts)
    assert len({seed for _, seed in starts}) == len(starts)


def test_the_last_student_is_the_one_that_is_evaluated_and_the_report_tells_the_rounds(round_folders):
    predictions = pd.read_parquet(round_folders["evaluate"] / "predictions.parquet")
    with torch.inference_mode():
        labels = load_model(round_folders["joint-3"])(load_test("digits").images).argmax(dim=1)
    assert predictions["student_label"].tolist() == labels.tolist()
    report = (round_folders["evaluate"] / "report.md").read_text(encoding="utf-8")
    assert "This is round 3 of self-training" in report
    for line in summaries_of(round_folders)[-1]["rounds"]:
        assert f"| {line['round']} | {line['accepted']:,} | {line['newly_accepted']:,} |" in report
