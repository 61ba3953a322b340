"""What may be asked of the teacher: Monte Carlo dropout, alignment, a share for each round, several views."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from semisup.config import PipelineConfig
from semisup.data.roles.split import Split
from semisup.data.sources import load_pool, load_test
from semisup.errors import UserError
from semisup.pipeline.log import Silence
from semisup.pipeline.specs import load_stage
from semisup.pseudo_labels.policies.ups import UncertaintyLabels
from semisup.pseudo_labels.uncertainty import mc_dropout
from semisup.stages.joint import unlabeled_part
from semisup.stages.support.models.saved import load_model
from semisup.system.json_files import read_json
from semisup.system.randomness import derive_seed
from tests.listening import Listener
from tests.variants import changed

PASSES, POSITIVE, NEGATIVE_CONFIDENCE, NEGATIVE = 6, 0.15, 0.05, 0.01
BARELY = {"shift": 1e-6}
"""A view that no eye could tell from the image."""
UPSIDE_DOWN = {"rotation": 180, "shift": 0.5}


def label(config: PipelineConfig, folders: dict[str, Path], out: Path, **inputs: Path) -> pd.DataFrame:
    """The table of the stage `pseudo_label` with the baseline as the teacher, unless it is told another one."""
    out.mkdir()
    usual = {"split": folders["split"], "teacher": folders["baseline"], "baseline": folders["baseline"]}
    load_stage("pseudo_label")(config, usual | inputs, out, Silence())
    return pd.read_parquet(out / "pseudo_labels.parquet")


def say(folder: Path, images: Tensor) -> Tensor:
    """Probabilities of the network in a stage's folder."""
    with torch.inference_mode():
        return load_model(folder)(images).softmax(dim=1)


# --- Monte Carlo dropout ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ups_config(tiny_config) -> PipelineConfig:
    limits = {"positive": POSITIVE, "negative_confidence": NEGATIVE_CONFIDENCE, "negative": NEGATIVE}
    return changed(
        tiny_config,
        model={"dropout": 0.3},
        pseudo_label={"threshold": 0.7, "uncertainty": {"passes": PASSES, **limits}},
        joint={"method": "ups", "start": "teacher", "epochs": 2, "budget": "6 steps", "ramp_start": 0, "ramp_end": 0},
    )


@pytest.fixture(scope="module")
def ups_folders(ups_config, stage_folders, stage_runner, tmp_path_factory) -> dict[str, Path]:
    """Steps of two rounds of UPS on the split of the tiny pipeline; to be read only."""
    root = tmp_path_factory.mktemp("ups")
    names = ("baseline", "pseudo_label", "joint", "pseudo_label-2", "joint-2")
    return stage_runner(changed(ups_config, rounds=2), root, names, {"split": stage_folders["split"]})


TABLES = ("pseudo_label", "pseudo_label-2")


def table_of(folders: dict[str, Path], step: str) -> pd.DataFrame:
    return pd.read_parquet(folders[step] / "pseudo_labels.parquet")


@pytest.mark.parametrize("step", TABLES)
def test_the_table_holds_the_passes_mean_and_the_deviation_of_its_label(step, ups_config, ups_folders):
    pseudo_labels, teacher = table_of(ups_folders, step), ups_folders["baseline" if step == TABLES[0] else "joint"]
    images = load_pool("digits").images[pseudo_labels["index"].tolist()]
    seed = derive_seed(ups_config.seed, "teacher's passes")
    mean, deviations = mc_dropout(load_model(teacher), images, PASSES, None, seed)
    confidence, predicted = mean.max(dim=1)
    assert pseudo_labels["label"].tolist() == predicted.tolist()
    np.testing.assert_allclose(pseudo_labels["confidence"], confidence, atol=1e-5)
    of_label = deviations[torch.arange(len(pseudo_labels)), predicted]
    np.testing.assert_allclose(pseudo_labels["uncertainty"].to_numpy(float), of_label, atol=1e-5)
    rejected = pseudo_labels[~pseudo_labels["accepted"]]
    for row, classes in zip(rejected.index, rejected["negative"], strict=True):
        surely_not = (mean[row] <= NEGATIVE_CONFIDENCE) & (deviations[row] <= NEGATIVE)
        assert sorted(classes) == torch.nonzero(surely_not).flatten().tolist()


@pytest.mark.parametrize("step", TABLES)
def test_accepted_are_the_confident_and_certain_and_only_the_others_have_negative_classes(step, ups_folders):
    pseudo_labels = table_of(ups_folders, step)
    confident, certain = (
        pseudo_labels["confidence"] >= np.float32(0.7),
        pseudo_labels["uncertainty"] <= np.float32(POSITIVE),
    )
    assert pseudo_labels["accepted"].tolist() == (confident & certain).tolist()
    assert (pseudo_labels["reason"] == "uncertain").tolist() == (confident & ~certain).tolist()
    assert 0 < pseudo_labels["accepted"].sum() < len(pseudo_labels)
    counts = pseudo_labels["negative"].map(len)
    assert (counts[pseudo_labels["accepted"]] == 0).all()
    assert (counts > 0).any()
    assert not any(
        label in classes for label, classes in zip(pseudo_labels["label"], pseudo_labels["negative"], strict=True)
    )


@pytest.mark.parametrize("step", TABLES)
def test_the_student_learns_the_accepted_labels_and_unlearns_the_negative_classes(step, ups_config, ups_folders):
    pseudo_labels, split = table_of(ups_folders, step), Split.read(ups_folders["split"] / "split.parquet")
    indices, policy = unlabeled_part(ups_config.joint, split, pseudo_labels, 10, torch.device("cpu"))
    assert isinstance(policy, UncertaintyLabels)
    by_index = pseudo_labels.set_index("index")
    used = by_index[by_index["accepted"] | (by_index["negative"].map(len) > 0)]
    assert indices.tolist() == used.index.tolist()
    assert policy.accepted.tolist() == used["accepted"].tolist()
    assert policy.labels.tolist() == used["label"].tolist()
    for row, classes in zip(policy.negative, used["negative"], strict=True):
        assert torch.nonzero(row).flatten().tolist() == sorted(classes)


@pytest.mark.parametrize("student", ["joint", "joint-2"])
def test_training_by_ups_weighs_the_accepted_images_alone(student, ups_folders):
    history = pd.read_parquet(ups_folders[student] / "history.parquet")
    assert history["steps"].tolist() == [3, 6]
    assert ((history["mask_rate"] > 0) & (history["mask_rate"] <= 1)).all()
    assert (history["unsupervised_loss"] > 0).all()


def test_a_negative_class_changes_what_is_learned(ups_config, ups_folders, tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    pseudo_labels = table_of(ups_folders, "pseudo_label")
    pseudo_labels["negative"] = [list(classes)[1:] for classes in pseudo_labels["negative"]]
    pseudo_labels.to_parquet(labels / "pseudo_labels.parquet", index=False)
    out = tmp_path / "joint"
    out.mkdir()
    inputs = {"split": ups_folders["split"], "pseudo_label": labels, "teacher": ups_folders["baseline"]}
    load_stage("joint")(ups_config, inputs, out, Silence())
    assert (out / "weights.safetensors").read_bytes() != (ups_folders["joint"] / "weights.safetensors").read_bytes()


def test_passes_of_a_model_without_dropout_are_a_mistake_with_a_way_out(ups_config, stage_folders, tmp_path):
    with pytest.raises(UserError) as caught:
        label(ups_config, stage_folders, tmp_path / "out")
    for part in (f"pseudo_label.uncertainty.passes={PASSES}", "no dropout", "model.dropout: 0.2"):
        assert part in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_single_pass_knows_no_uncertainty_and_no_negative_class(stage_folders):
    pseudo_labels = table_of(stage_folders, "pseudo_label")
    assert pseudo_labels["uncertainty"].isna().all()
    assert "negative" not in pseudo_labels


def test_the_uncertainty_is_that_of_the_label_also_where_alignment_chose_it(ups_config, ups_folders, tmp_path):
    config = changed(ups_config, pseudo_label={"distribution_alignment": True})
    pseudo_labels = label(config, ups_folders, tmp_path / "out")
    images = load_pool("digits").images[pseudo_labels["index"].tolist()]
    seed = derive_seed(ups_config.seed, "teacher's passes")
    mean, deviations = mc_dropout(load_model(ups_folders["baseline"]), images, PASSES, None, seed)
    labels = torch.from_numpy(pseudo_labels["label"].to_numpy().copy())
    assert (labels != mean.argmax(dim=1)).any(), "the case would not tell them apart"
    of_label = deviations[torch.arange(len(pseudo_labels)), labels]
    np.testing.assert_allclose(pseudo_labels["uncertainty"].to_numpy(float), of_label, atol=1e-5)
    assert not any(
        label in classes for label, classes in zip(pseudo_labels["label"], pseudo_labels["negative"], strict=True)
    )


# --- alignment --------------------------------------------------------------------------------------------------------


def test_alignment_scales_each_class_by_its_labeled_share_over_its_mean_and_nears_these_shares(
    tiny_config, stage_folders, tmp_path
):
    pseudo_labels = label(
        changed(tiny_config, pseudo_label={"distribution_alignment": True}), stage_folders, tmp_path / "out"
    )
    raw = say(stage_folders["baseline"], load_pool("digits").images[pseudo_labels["index"].tolist()]).double()
    shares = torch.full((10,), 0.1, dtype=torch.float64)  # five labeled images of every class
    scaled = raw * shares / raw.mean(dim=0)
    aligned = scaled / scaled.sum(dim=1, keepdim=True)
    confidence, predicted = aligned.max(dim=1)
    np.testing.assert_allclose(pseudo_labels["confidence"], confidence, atol=1e-4)
    assert (pseudo_labels["label"].to_numpy() == predicted.numpy()).mean() > 0.999
    np.testing.assert_allclose(pseudo_labels["raw_confidence"], raw.max(dim=1).values, atol=1e-4)
    drift, left = ((table.mean(dim=0) - shares).abs().sum() for table in (raw, aligned))
    assert left < drift
    counts = np.bincount(pseudo_labels["label"], minlength=10)
    usual = np.bincount(table_of(stage_folders, "pseudo_label")["label"], minlength=10)
    assert np.abs(counts / len(pseudo_labels) - 0.1).sum() < np.abs(usual / len(pseudo_labels) - 0.1).sum()


# --- a share for each round -------------------------------------------------------------------------------------------


def test_round_r_accepts_r_times_the_share_the_most_confident_ones(tiny_config, stage_folders, tmp_path):
    share = 0.3
    config = changed(tiny_config, pseudo_label={"threshold": 0.0, "share_per_round": share}, rounds=4)
    previous: dict[str, Path] = {}
    for number in range(1, 5):
        out = tmp_path / str(number)
        pseudo_labels = label(config, stage_folders, out, **previous)
        accepted, confidence = pseudo_labels["accepted"], pseudo_labels["confidence"]
        assert set(pseudo_labels["round"]) == {number}
        assert abs(accepted.sum() - min(number * share, 1) * len(pseudo_labels)) <= 1 + confidence.duplicated().sum()
        assert confidence[accepted].min() > confidence[~accepted].max() or number == 4
        assert set(pseudo_labels["reason"][~accepted]) == ({"beyond_round_share"} if number < 4 else set())
        previous = {"previous": out}


def test_the_threshold_holds_whatever_the_share_of_the_round(tiny_config, stage_folders, tmp_path):
    usual = table_of(stage_folders, "pseudo_label")  # threshold 0.8
    pseudo_labels = label(changed(tiny_config, pseudo_label={"share_per_round": 1.0}), stage_folders, tmp_path / "out")
    assert pseudo_labels["accepted"].tolist() == usual["accepted"].tolist()
    assert pseudo_labels["reason"].tolist() == usual["reason"].tolist()


# --- several views ----------------------------------------------------------------------------------------------------


def test_views_that_barely_differ_leave_the_labels_and_others_do_not(tiny_config, stage_folders, tmp_path):
    usual = table_of(stage_folders, "pseudo_label")
    tables = {
        name: label(
            changed(tiny_config, pseudo_label={"test_time": {"views": 3, "augment": augment}}),
            stage_folders,
            tmp_path / name,
        )
        for name, augment in {"same": BARELY, "other": UPSIDE_DOWN, "again": UPSIDE_DOWN}.items()
    }
    np.testing.assert_allclose(tables["same"]["confidence"], usual["confidence"], atol=1e-3)
    assert (tables["same"]["label"] == usual["label"]).mean() > 0.995
    assert (tables["other"]["confidence"] < usual["confidence"]).mean() > 0.9  # nobody is sure of these
    pd.testing.assert_frame_equal(tables["other"], tables["again"])


def test_a_view_in_two_is_the_image_itself(tiny_config, stage_folders, tmp_path):
    """The mean of two views is never surer than half of what the image alone is plus one half."""
    views = {"views": 2, "augment": UPSIDE_DOWN}
    pseudo_labels = label(changed(tiny_config, pseudo_label={"test_time": views}), stage_folders, tmp_path / "out")
    alone = say(stage_folders["baseline"], load_pool("digits").images[pseudo_labels["index"].tolist()])
    of_label = alone[
        torch.arange(len(pseudo_labels)), torch.from_numpy(pseudo_labels["label"].to_numpy().copy())
    ].numpy()
    confidence = pseudo_labels["confidence"].to_numpy()
    assert (confidence >= of_label / 2 - 1e-5).all()
    assert (confidence <= of_label / 2 + 0.5 + 1e-5).all()


def evaluated(config: PipelineConfig, folders: dict[str, Path], out: Path, **keys: Any) -> tuple[pd.DataFrame, Any]:
    """(predictions, metrics) of the stage `evaluate`."""
    out.mkdir()
    asked = changed(config, evaluate=keys)
    (out / "keep").mkdir()
    inputs = {name: folders[name] for name in ("split", "baseline", "pseudo_label", "joint", "labels")}
    load_stage("keep")(asked, inputs, out / "keep", Silence())
    load_stage("evaluate")(asked, inputs | {"keep": out / "keep"}, out, Silence())
    return pd.read_parquet(out / "predictions.parquet"), read_json(out / "metrics.json")


def test_both_models_are_judged_by_the_mean_over_the_views(tiny_config, stage_folders, tmp_path):
    usual = pd.read_parquet(stage_folders["evaluate"] / "predictions.parquet")
    views = {name: {"views": 2, "augment": keys} for name, keys in {"same": BARELY, "other": UPSIDE_DOWN}.items()}
    same, _ = evaluated(tiny_config, stage_folders, tmp_path / "same", test_time=views["same"])
    other, metrics = evaluated(tiny_config, stage_folders, tmp_path / "other", test_time=views["other"])
    images = load_test("digits").images
    for name, folder in {"baseline": "baseline", "student": "joint"}.items():
        np.testing.assert_allclose(same[f"{name}_confidence"], usual[f"{name}_confidence"], atol=1e-3)
        chosen = torch.from_numpy(other[f"{name}_label"].to_numpy().copy())
        alone = say(stage_folders[folder], images)[torch.arange(len(images)), chosen].numpy()
        confidence = other[f"{name}_confidence"].to_numpy()
        assert (confidence >= alone / 2 - 1e-5).all()
        assert (confidence <= alone / 2 + 0.5 + 1e-5).all()
        assert (confidence < usual[f"{name}_confidence"]).mean() > 0.8
        right = (other[f"{name}_label"] == other["truth"]).mean()
        assert metrics[name]["accuracy"]["estimate"] == pytest.approx(right)


# --- images of none of the classes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("calibration", [0, 100])
def test_images_that_look_unknown_are_never_accepted_and_are_counted(
    calibration, tiny_config, stage_folders, stage_runner, tmp_path
):
    config = changed(tiny_config, pseudo_label={"unknown": {"false_alarms": 0.2}})
    folders, judges = stage_folders, "validation"
    if calibration:
        config = changed(config, split={"calibration_images": calibration}, calibrate={"method": "temperature"})
        (tmp_path / "stages").mkdir()
        folders, judges = stage_runner(config, tmp_path / "stages", ("split", "baseline")), "calibration"
    pseudo_labels = label(config, folders, tmp_path / "out", baseline=folders["baseline"])
    summary = read_json(tmp_path / "out" / "summary.json")
    found, flagged = summary["unknown"], pseudo_labels["reason"] == "unknown"
    held_out = len(Split.read(folders["split"] / "split.parquet").ids(judges))
    assert (found["judges"], found["held_out"], found["false_alarms"]) == (judges, held_out, 0.2)
    assert not pseudo_labels.loc[flagged, "accepted"].any()
    assert (flagged == (pseudo_labels["unknown"] >= found["threshold"])).all()
    assert found["flagged"] == summary["reasons"]["unknown"] == flagged.sum()
    # The pool has no unknown images. Its rate is a draw about 0.2, by a threshold that is an order statistic.
    assert 0 < found["share"] < 0.5
    assert found["at_least"] < 0.1


def test_images_that_look_unknown_count_in_no_class_share(tiny_config, stage_folders, tmp_path):
    aligned = {"unknown": {"false_alarms": 0.2}, "distribution_alignment": True, "threshold": 0.0, "top_share": 0.4}
    pseudo_labels = label(changed(tiny_config, pseudo_label=aligned), stage_folders, tmp_path / "out")
    known = np.array(pseudo_labels["reason"] != "unknown")
    assert 0 < (~known).sum() < len(pseudo_labels)
    raw = say(stage_folders["baseline"], load_pool("digits").images[pseudo_labels["index"].tolist()]).double()
    scaled = raw * 0.1 / raw[known].mean(dim=0)  # five labeled images of every class
    confidence = (scaled / scaled.sum(dim=1, keepdim=True)).amax(dim=1)
    np.testing.assert_allclose(pseudo_labels["confidence"], confidence, atol=1e-4)
    counts = np.bincount(pseudo_labels.loc[known, "label"], minlength=10)
    assert (
        np.bincount(pseudo_labels.loc[pseudo_labels["accepted"], "label"], minlength=10).tolist()
        == np.ceil(0.4 * counts).tolist()
    )
    assert read_json(tmp_path / "out" / "summary.json")["predicted_per_class"] == counts.tolist()


def test_where_nobody_asks_for_unknown_images_the_table_has_no_such_column(tiny_config, stage_folders, tmp_path):
    pseudo_labels = label(tiny_config, stage_folders, tmp_path / "out")
    assert "unknown" not in pseudo_labels
    assert "unknown" not in read_json(tmp_path / "out" / "summary.json")


def test_too_few_held_out_images_for_so_few_false_alarms_are_told_and_flag_nothing(
    tiny_config, stage_folders, tmp_path
):
    log = Listener()
    config = changed(tiny_config, pseudo_label={"unknown": {"false_alarms": 0.001}})
    (tmp_path / "out").mkdir()
    inputs = {
        "split": stage_folders["split"],
        "teacher": stage_folders["baseline"],
        "baseline": stage_folders["baseline"],
    }
    load_stage("pseudo_label")(config, inputs, tmp_path / "out", log)
    assert read_json(tmp_path / "out" / "summary.json")["unknown"]["threshold"] is None
    assert any("false_alarms=0.001 cannot be kept by" in line for line in log.warnings)


# --- what validation images say of a teacher --------------------------------------------------------------------------


def judged(folders: dict[str, Path]) -> tuple[int, int]:
    """(validation images, how many of them the baseline labels rightly), by a pass of its own."""
    split = Split.read(folders["split"] / "split.parquet")
    indices = split.indices("validation")
    said = say(folders["baseline"], load_pool("digits").images[indices]).argmax(dim=1)
    return len(indices), int((said == split.labels("validation")).sum())


def test_validation_images_say_beforehand_how_many_labels_are_right(tiny_config, stage_folders, tmp_path):
    config = changed(tiny_config, pseudo_label={"threshold": 0.0, "least_precision": 0.0})
    assert label(config, stage_folders, tmp_path / "out")["accepted"].all()
    expected = read_json(tmp_path / "out" / "summary.json")["expected"]
    images, right = judged(stage_folders)
    assert (expected["judges"], expected["accepted"], expected["right"]) == (images, images, right)
    assert expected["precision"]["estimate"] == right / images


@pytest.mark.parametrize("method", ["confidence", "threshold"])
def test_of_labels_that_are_refused_none_is_learned(method, tiny_config, stage_folders, tmp_path):
    images, right = judged(stage_folders)
    assert right < images, "a least precision of 1 is missed by one error"
    config = changed(tiny_config, pseudo_label={"threshold": 0.0, "least_precision": 1.0}, joint={"method": method})
    pseudo_labels = label(config, stage_folders, tmp_path / "out")
    assert set(pseudo_labels["reason"]) == {"refused"}
    split = Split.read(stage_folders["split"] / "split.parquet")
    indices, _ = unlabeled_part(config.joint, split, pseudo_labels, 10, torch.device("cpu"))
    assert len(indices) == 0


def test_the_labels_of_the_model_that_is_kept_are_not_refused(tiny_config, stage_folders, tmp_path):
    config = changed(tiny_config, pseudo_label={"threshold": 0.0, "least_precision": 1.0})
    (tmp_path / "out").mkdir()
    inputs = {"split": stage_folders["split"], "kept": stage_folders["joint"], "baseline": stage_folders["baseline"]}
    load_stage("labels")(config, inputs, tmp_path / "out", Silence())
    assert pd.read_parquet(tmp_path / "out" / "pseudo_labels.parquet")["accepted"].all()


@pytest.mark.parametrize("limit", [{"top_share": 0.1}, {"share_per_round": 0.2}])
def test_limits_that_compare_images_cannot_be_judged_by_others(limit, tiny_config, stage_folders, tmp_path):
    """Of all validation images fewer are right than of the surest part of the pool."""
    config = changed(tiny_config, pseudo_label={"threshold": 0.0, "least_precision": 1.0, **limit})
    assert label(config, stage_folders, tmp_path / "out")["accepted"].any()
    assert "expected" not in read_json(tmp_path / "out" / "summary.json")
