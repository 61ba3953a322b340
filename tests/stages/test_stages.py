"""The stages as plain functions: the same bits twice, no leak from hidden labels, figures that others confirm."""

import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

from semisup.config import DataConfig, PipelineConfig
from semisup.config.files import to_yaml
from semisup.data.datasets import UNLABELED, ImageSet
from semisup.data.roles.split import Split
from semisup.data.sources import load_pool, load_test, source
from semisup.pipeline.log import Silence
from semisup.pipeline.plan import plan
from semisup.pipeline.specs import STAGES, load_stage
from semisup.stages.preflight.check import check
from semisup.stages.support.models.device import ALL_THREADS, pick_device
from tests.listening import Listener
from tests.mistakes import user_mistake
from tests.variants import changed
from tests.waiting import LONG

BEFORE_EVALUATE = ("split", "baseline", "pseudo_label", "joint")
TIMED = {"timings.json"}
"""Files that hold seconds."""


def digests(folders: dict[str, Path], names: tuple[str, ...] = BEFORE_EVALUATE) -> dict[str, str]:
    """File → SHA-256 of its bytes, for every file that holds no timing."""
    return {
        f"{name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for name in names
        for path in sorted(folders[name].iterdir())
        if path.name not in TIMED
    }


def history_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "history.parquet")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def ids_of(folders: dict[str, Path], role: str) -> set[str]:
    table = pd.read_parquet(folders["split"] / "split.parquet")
    return set(table.loc[table["role"] == role, "id"])


def table_of(folders: dict[str, Path]) -> pd.DataFrame:
    return pd.read_parquet(folders["pseudo_label"] / "pseudo_labels.parquet")


def the_error(call: Any, *arguments: Any) -> str:
    with user_mistake() as caught:
        call(*arguments)
    return str(caught.value)


# --- the same bits ----------------------------------------------------------------------------------------------------


def test_the_same_config_and_seed_give_the_same_bits_twice(tiny_config, stage_folders, stage_runner, tmp_path):
    again = stage_runner(tiny_config, tmp_path, BEFORE_EVALUATE)
    assert digests(again) == digests(stage_folders)


SCRIPT = """
import sys
from pathlib import Path
from semisup.config.files import load_config
from semisup.pipeline.plan import plan
from semisup.stages.running import run_steps

config = load_config(Path(sys.argv[1]))
run_steps(plan(config), config, Path(sys.argv[2]))
"""


def test_another_process_gives_the_same_bits(tiny_config, stage_folders, tmp_path):
    """Neither the hash seed of the process nor what it did before may matter."""
    config = tmp_path / "tiny.yaml"
    config.write_text(to_yaml(tiny_config), encoding="utf-8")
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(config), str(tmp_path)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "12345"}, timeout=LONG)
    there = {step.name: tmp_path / step.name for step in plan(tiny_config)}
    assert digests(there) == digests(stage_folders)
    for stage, name in (
        ("evaluate", "predictions.parquet"),
        ("evaluate", "metrics.json"),
        ("promote", "decision.json"),
        ("promote", "predictions.parquet"),
    ):
        assert (there[stage] / name).read_bytes() == (stage_folders[stage] / name).read_bytes()


def test_another_seed_gives_another_split_other_weights_and_another_table(
    tiny_config, stage_folders, stage_runner, tmp_path
):
    others = digests(stage_runner(changed(tiny_config, seed=4), tmp_path, BEFORE_EVALUATE))
    ours = digests(stage_folders)
    for file in (
        "split/split.parquet",
        "baseline/weights.safetensors",
        "pseudo_label/pseudo_labels.parquet",
        "joint/weights.safetensors",
    ):
        assert others[file] != ours[file], file


def test_the_batch_size_of_the_pseudo_label_pass_changes_no_label(tiny_config, stage_folders, stage_runner, tmp_path):
    small = changed(tiny_config, pseudo_label={"batch_size": 100})
    pseudo_labels = table_of(stage_runner(small, tmp_path, ("pseudo_label",), stage_folders))
    expected = table_of(stage_folders)
    assert pseudo_labels["label"].tolist() == expected["label"].tolist()
    np.testing.assert_allclose(pseudo_labels["confidence"], expected["confidence"], atol=1e-5)


class Crash(BaseException):
    """What ends a stage in the middle, in place of a signal."""


class Crashing(Silence):
    """A log that raises when it hears of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def metrics(self, values: Any, step: int | None = None) -> None:
        if step == self.epoch:
            raise Crash


@pytest.mark.parametrize("stage", ["baseline", "joint"])
@pytest.mark.parametrize("crash", [2, 5])
def test_a_training_stage_that_crashed_and_is_run_again_leaves_the_same_bytes(
    stage, crash, tiny_config, stage_folders, tmp_path
):
    out_dir, checkpoints, ear = tmp_path / "out", tmp_path / "checkpoints", Listener()
    out_dir.mkdir()
    epochs = getattr(tiny_config, stage).epochs
    run = load_stage(stage, checkpoints)
    with pytest.raises(Crash):
        run(tiny_config, stage_folders, out_dir, Crashing(crash))
    assert list(out_dir.iterdir()) == []
    run(tiny_config, stage_folders, out_dir, ear)
    assert digests({stage: out_dir}, (stage,)) == digests(stage_folders, (stage,))
    resumed = [line for line in ear.lines if line.startswith("resumed")]
    assert resumed in [[f"resumed after epoch {epoch} of {epochs} from a checkpoint"] for epoch in range(1, crash)]
    assert ear.steps == list(range(1, len(ear.steps) + 1))  # told of every epoch, those before the crash too
    assert list(checkpoints.iterdir())  # they go when the results are safe, which is for the caller to know


KILLED = """
import os, signal, sys
from pathlib import Path
from semisup.config.files import load_config
from semisup.pipeline.log import Silence
from semisup.pipeline.specs import load_stage

class Killing(Silence):
    def metrics(self, values, step=None):
        if step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

config, split, out_dir, checkpoints = map(Path, sys.argv[1:])
load_stage("baseline", checkpoints)(load_config(config), {"split": split}, out_dir, Killing())
"""


def test_a_stage_killed_and_run_again_by_another_process_leaves_the_same_bytes(tiny_config, stage_folders, tmp_path):
    config, out_dir, checkpoints, ear = tmp_path / "tiny.yaml", tmp_path / "out", tmp_path / "checkpoints", Listener()
    out_dir.mkdir()
    config.write_text(to_yaml(tiny_config), encoding="utf-8")
    arguments = map(str, (config, stage_folders["split"], out_dir, checkpoints))
    killed = subprocess.run([sys.executable, "-W", "ignore", "-c", KILLED, *arguments], check=False, timeout=LONG)
    assert killed.returncode == -signal.SIGKILL
    load_stage("baseline", checkpoints)(tiny_config, stage_folders, out_dir, ear)
    assert digests({"baseline": out_dir}, ("baseline",)) == digests(stage_folders, ("baseline",))
    assert any(line.startswith("resumed after epoch") for line in ear.lines)


@pytest.mark.parametrize("stage", ["baseline", "joint"])
def test_seconds_stand_in_the_timings_and_in_no_other_file_of_a_training(stage, stage_folders):
    history, timings = history_of(stage_folders[stage]), read_json(stage_folders[stage] / "timings.json")
    assert timings["seconds"] == pytest.approx(sum(timings["epochs"]))
    assert len(timings["epochs"]) == len(history)
    assert all(seconds > 0 for seconds in timings["epochs"])
    assert "seconds" not in history
    assert "seconds" not in read_json(stage_folders[stage] / "training.json")


def test_a_stage_that_trains_nothing_keeps_no_checkpoints(tiny_config, tmp_path):
    out_dir, checkpoints = tmp_path / "out", tmp_path / "checkpoints"
    out_dir.mkdir()
    load_stage("split", checkpoints)(tiny_config, {}, out_dir, Silence())
    assert not checkpoints.exists()


# --- roles and leaks --------------------------------------------------------------------------------------------------


def test_every_image_has_exactly_one_role(stage_folders):
    table = pd.read_parquet(stage_folders["split"] / "split.parquet")
    assert table["id"].is_unique
    assert set(table["id"]) == set(load_pool("digits").ids) | set(load_test("digits").ids)
    assert set(table["role"]) == {"labeled", "validation", "unlabeled", "test"}


def test_labeled_and_validation_images_are_balanced_and_carry_their_true_labels(tiny_config, stage_folders):
    table = pd.read_parquet(stage_folders["split"] / "split.parquet").set_index("id")
    # From scikit-learn itself: an id "digits/0042" names position 42 of its arrays.
    truth = {f"digits/{i:04d}": label for i, label in enumerate(load_digits().target)}
    for role, per_class in (("labeled", 5), ("validation", 5)):
        labels = table.loc[table["role"] == role, "label"]
        assert labels.value_counts().to_dict() == dict.fromkeys(range(10), per_class)
        assert labels.to_dict() == {id_: truth[id_] for id_ in labels.index}


def test_labels_of_unlabeled_and_test_images_are_not_in_the_split_table(stage_folders):
    table = pd.read_parquet(stage_folders["split"] / "split.parquet")
    assert (table.loc[table["role"].isin(["unlabeled", "test"]), "label"] == UNLABELED).all()


def test_the_table_holds_exactly_the_unlabeled_images_once_each(stage_folders):
    pseudo_labels = table_of(stage_folders)
    assert pseudo_labels["id"].is_unique
    assert set(pseudo_labels["id"]) == ids_of(stage_folders, "unlabeled")


@pytest.mark.parametrize("role", ["labeled", "validation", "test"])
def test_no_labeled_validation_or_test_image_is_ever_pseudo_labeled(role, stage_folders):
    assert ids_of(stage_folders, role).isdisjoint(table_of(stage_folders)["id"])


def test_the_tables_index_and_id_name_the_same_image(stage_folders):
    pseudo_labels = table_of(stage_folders)
    ids = np.array(load_pool("digits").ids)
    assert ids[pseudo_labels["index"].to_numpy()].tolist() == pseudo_labels["id"].tolist()


def test_a_table_with_a_validation_image_is_refused_by_the_joint_stage(tiny_config, stage_folders, tmp_path):
    pseudo_labels = table_of(stage_folders)
    validation = Split.read(stage_folders["split"] / "split.parquet").indices("validation")
    pseudo_labels.loc[pseudo_labels["accepted"].idxmax(), "index"] = int(validation[0])
    pseudo_labels.to_parquet(tmp_path / "pseudo_labels.parquet")
    inputs = stage_folders | {"pseudo_label": tmp_path}
    with pytest.raises(AssertionError, match="pseudo-labeled"):
        load_stage("joint")(tiny_config, inputs, tmp_path, Silence())


def test_scrambling_the_truth_of_unlabeled_images_changes_no_bit_but_the_audits(
    tiny_config, stage_folders, stage_runner, tmp_path, monkeypatch
):
    unlabeled = ids_of(stage_folders, "unlabeled")
    digits = source("digits")

    def scrambled(data: DataConfig) -> ImageSet:
        pool = digits.pool(data)
        hidden = torch.tensor([id_ in unlabeled for id_ in pool.ids])
        assert hidden.sum() == len(unlabeled)
        labels = torch.where(hidden, (pool.labels + 1) % 10, pool.labels)
        return ImageSet(pool.images, labels, pool.ids, pool.class_names)

    monkeypatch.setattr("semisup.stages.support.images.source", lambda name: replace(digits, pool=scrambled))
    split = {"split": stage_folders["split"]}
    folders = split | stage_runner(tiny_config, tmp_path, ("baseline", "pseudo_label", "joint"), split)
    compared = [
        f"{stage}/{file}" for stage in ("baseline", "joint") for file in ("weights.safetensors", "history.parquet")
    ]
    compared.append("pseudo_label/pseudo_labels.parquet")
    here, there = digests(folders), digests(stage_folders)
    assert {file: here[file] for file in compared} == {file: there[file] for file in compared}
    # The audit does see it: otherwise this test would prove nothing.
    assert here["pseudo_label/audit.parquet"] != there["pseudo_label/audit.parquet"]
    precisions = [read_json(each["pseudo_label"] / "summary.json")["precision"] for each in (folders, stage_folders)]
    assert precisions[0] < precisions[1]


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def mnist_like(tmp_path: Path) -> Path:
    """scikit-learn's digits in files named like MNIST's, without the test labels."""
    digits, root = load_digits(), tmp_path / "data"
    root.mkdir()
    write_idx(root / "train-images-idx3-ubyte", digits.images[:500] * 15)
    write_idx(root / "train-labels-idx1-ubyte", digits.target[:500])
    write_idx(root / "t10k-images-idx3-ubyte", digits.images[500:600] * 15)
    return root


def test_no_stage_before_evaluate_needs_a_test_label(tiny_config, mnist_like, stage_runner, tmp_path):
    config = changed(tiny_config, data={"name": "mnist", "root": mnist_like}, baseline={"epochs": 3})
    assert "t10k-labels-idx1-ubyte" in the_error(check, config)  # found before hours of training, yet not needed for it
    folders = stage_runner(config, tmp_path, BEFORE_EVALUATE)
    (tmp_path / "evaluate").mkdir()
    message = the_error(load_stage("evaluate"), config, folders, tmp_path / "evaluate", Silence())
    assert "t10k-labels-idx1-ubyte" in message
    assert list((tmp_path / "evaluate").iterdir()) == []


def test_promote_needs_no_data_at_all(tiny_config, stage_folders, stage_runner, tmp_path, monkeypatch):
    def opened(*arguments: Any) -> Any:
        raise AssertionError(f"images were opened: {arguments}")

    monkeypatch.setattr(ImageSet, "__post_init__", opened)
    config = changed(tiny_config, data={"name": "mnist", "root": tmp_path / "nowhere"})
    folders = stage_runner(config, tmp_path, ("promote",), stage_folders)
    for file in ("decision.json", "predictions.parquet"):
        assert (folders["promote"] / file).read_bytes() == (stage_folders["promote"] / file).read_bytes()


# --- figures that others confirm --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["baseline", "student"])
def test_test_accuracies_and_confusion_matrices_are_those_of_scikit_learn(model, stage_folders):
    predictions = pd.read_parquet(stage_folders["evaluate"] / "predictions.parquet")
    test = load_test("digits")
    assert predictions["id"].tolist() == list(test.ids)
    metrics = read_json(stage_folders["evaluate"] / "metrics.json")
    predicted = predictions[f"{model}_label"]
    assert metrics[model]["accuracy"]["estimate"] == pytest.approx(accuracy_score(test.labels.numpy(), predicted))
    assert metrics[model]["confusion"] == confusion_matrix(test.labels.numpy(), predicted).tolist()


def forward_by_hand(weights: dict[str, np.ndarray], images: torch.Tensor) -> torch.Tensor:
    """Logits of the small CNN in evaluation mode, from its tensors alone."""
    from torch.nn import functional as F

    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    x = (images.float() / 255 - tensors["preprocess.mean"]) / tensors["preprocess.std"]
    for layer, stride in ((0, 2), (3, 1), (6, 1)):  # 8 pixels a side → 4, and no smaller
        kernel = tensors[f"backbone.{layer}.weight"]
        x = F.conv2d(x, kernel, tensors.get(f"backbone.{layer}.bias"), stride, kernel.shape[-1] // 2)
        mean, var, weight, bias = (
            tensors[f"backbone.{layer + 1}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = F.relu(F.batch_norm(x, mean, var, weight, bias))
    last = max(int(name.split(".")[1]) for name in tensors if name.startswith("backbone."))
    return x.flatten(1) @ tensors[f"backbone.{last}.weight"].T + tensors[f"backbone.{last}.bias"]


@pytest.mark.parametrize(("model", "stage"), [("baseline", "baseline"), ("student", "joint")])
def test_predictions_are_those_of_the_saved_weights(model, stage, stage_folders):
    weights = safetensors.numpy.load_file(stage_folders[stage] / "weights.safetensors")
    probabilities = forward_by_hand(weights, load_test("digits").images).softmax(dim=1)
    predictions = pd.read_parquet(stage_folders["evaluate"] / "predictions.parquet")
    np.testing.assert_allclose(predictions[f"{model}_confidence"], probabilities.max(dim=1).values, atol=1e-4)
    assert predictions[f"{model}_label"].tolist() == probabilities.argmax(dim=1).tolist()


@pytest.mark.parametrize(("model", "stage"), [("baseline", "baseline"), ("student", "joint")])
def test_calibration_figures_of_the_test_images_are_those_of_the_saved_weights(model, stage, stage_folders):
    weights, test = safetensors.numpy.load_file(stage_folders[stage] / "weights.safetensors"), load_test("digits")
    probabilities = forward_by_hand(weights, test.images).softmax(dim=1).double().numpy()
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    truth = test.labels.numpy()
    figures = read_json(stage_folders["evaluate"] / "metrics.json")[model]["calibration"]
    assert figures["nll"] == pytest.approx(log_loss(truth, probabilities), rel=1e-3)
    assert figures["brier"] == pytest.approx(((probabilities - np.eye(10)[truth]) ** 2).sum(axis=1).mean(), rel=1e-3)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = np.ceil(10 * confidence)
    gaps = [abs((right - confidence)[bins == number].sum()) for number in range(1, 11)]
    assert figures["ece"] == pytest.approx(sum(gaps) / len(truth), abs=1e-3)
    assert figures["confidence"] == pytest.approx(confidence.mean(), abs=1e-4)


@pytest.fixture(scope="module")
def compound_config(tiny_config):
    """Compound images, and a calibration whose result the report tells."""
    return changed(
        tiny_config,
        split={"calibration_images": 200},
        calibrate={"method": "temperature"},
        pseudo_label={"threshold": {"target_precision": 0.8, "fallback": 0.8}},
        evaluate={"compound": True},
    )


@pytest.fixture(scope="module")
def compound_folders(compound_config, stage_runner, tmp_path_factory) -> dict[str, Path]:
    return stage_runner(compound_config, tmp_path_factory.mktemp("compound"))


@pytest.mark.parametrize(("model", "stage"), [("baseline", "baseline"), ("student", "joint")])
def test_compound_figures_are_counted_from_the_forward_pass_on_the_maxima(model, stage, compound_folders):
    test = load_test("digits")
    table = pd.read_parquet(compound_folders["evaluate"] / "compound.parquet")
    position = {id_: i for i, id_ in enumerate(test.ids)}
    first, second = ([position[id_] for id_ in table[f"{side}_id"]] for side in ("first", "second"))
    assert table["first_truth"].tolist() == test.labels[first].tolist()
    assert table["second_truth"].tolist() == test.labels[second].tolist()
    weights = safetensors.numpy.load_file(compound_folders[stage] / "weights.safetensors")
    images = test.images.numpy()
    logits = forward_by_hand(weights, torch.from_numpy(np.maximum(images[first], images[second])))
    best = logits.topk(2).indices.tolist()
    assert table[[f"{model}_first", f"{model}_second"]].to_numpy().tolist() == best
    right = [set(pair) == {a, b} for pair, a, b in zip(best, table["first_truth"], table["second_truth"], strict=True)]
    compound = read_json(compound_folders["evaluate"] / "metrics.json")["compound"]
    assert compound["images"] == len(test)
    assert compound["chance"] == pytest.approx(1 / 45)
    assert compound[model]["estimate"] == pytest.approx(np.mean(right))
    assert compound[model]["low"] < compound[model]["estimate"] < compound[model]["high"]
    assert compound["at_least_one"][model]["estimate"] > compound[model]["estimate"]


def test_compound_images_change_nothing_that_is_said_of_single_ones(
    compound_config, compound_folders, stage_runner, tmp_path
):
    without = changed(compound_config, evaluate={"compound": False})
    plain = stage_runner(without, tmp_path, ("evaluate",), compound_folders)["evaluate"]
    with_compound = compound_folders["evaluate"]
    assert (plain / "predictions.parquet").read_bytes() == (with_compound / "predictions.parquet").read_bytes()
    metrics = read_json(with_compound / "metrics.json")
    assert read_json(plain / "metrics.json") == {key: metrics[key] for key in metrics if key != "compound"}
    assert not list(plain.glob("compound*"))


def test_evaluate_leaves_the_same_compound_images_twice_and_says_how_they_went(
    compound_config, compound_folders, stage_runner, tmp_path
):
    ear = Listener()
    again = stage_runner(compound_config, tmp_path, ("evaluate",), compound_folders, {"evaluate": ear})["evaluate"]
    for name in ("compound.parquet", "compound_examples.npz", "metrics.json"):
        assert (again / name).read_bytes() == (compound_folders["evaluate"] / name).read_bytes()
    assert len([line for line in ear.lines if line.startswith("both classes of 500 compound images: baseline ")]) == 1


def test_the_report_of_a_calibrated_run_tells_of_the_calibration(compound_folders):
    report = (compound_folders["evaluate"] / "report.md").read_text(encoding="utf-8")
    figures = read_json(compound_folders["calibrate-kept"] / "calibration.json")
    assert f"The temperature {figures['temperature']:.3g}, fitted on 50 others" in report
    assert "50 labeled + 50 validation + 200 calibration" in report.replace("\u00a0", " ")
    assert "Compound images" in report


def test_the_table_is_the_forward_pass_of_the_saved_baseline(tiny_config, stage_folders):
    weights = safetensors.numpy.load_file(stage_folders["baseline"] / "weights.safetensors")
    pseudo_labels, pool = table_of(stage_folders), load_pool("digits")
    position = {id_: i for i, id_ in enumerate(pool.ids)}
    images = pool.images[[position[id_] for id_ in pseudo_labels["id"]]]
    confidence, label = forward_by_hand(weights, images).softmax(dim=1).max(dim=1)
    np.testing.assert_allclose(pseudo_labels["confidence"], confidence, atol=1e-4)
    assert pseudo_labels["label"].tolist() == label.tolist()
    assert (
        pseudo_labels["accepted"] == (pseudo_labels["confidence"] >= np.float32(tiny_config.pseudo_label.threshold))
    ).all()


def test_coverage_and_precision_of_the_summary_are_counted_from_table_and_truth(tiny_config, stage_folders):
    summary, pseudo_labels = read_json(stage_folders["pseudo_label"] / "summary.json"), table_of(stage_folders)
    target = load_digits().target
    truth = [target[int(id_.removeprefix("digits/"))] for id_ in pseudo_labels["id"]]
    rows = list(zip(truth, pseudo_labels["label"], pseudo_labels["confidence"], strict=True))
    threshold = np.float32(tiny_config.pseudo_label.threshold)
    accepted = [(true, label) for true, label, confidence in rows if np.float32(confidence) >= threshold]
    assert 0 < len(accepted) < len(rows)  # or the test would be empty
    assert (summary["unlabeled"], summary["accepted"]) == (len(rows), len(accepted))
    assert summary["coverage"] == pytest.approx(len(accepted) / len(rows))
    assert summary["precision"] == pytest.approx(np.mean([true == label for true, label in accepted]))
    for digit in range(10):
        of_class = [true == label for true, label in accepted if label == digit]
        assert summary["accepted_per_class"][digit] == len(of_class)
        expected = pytest.approx(np.mean(of_class)) if of_class else None
        assert summary["precision_per_class"][digit] == expected


def test_the_teacher_in_the_table_is_named_by_its_weights(stage_folders):
    weights = (stage_folders["baseline"] / "weights.safetensors").read_bytes()
    assert set(table_of(stage_folders)["teacher"]) == {f"baseline:{hashlib.sha256(weights).hexdigest()[:12]}"}


def test_the_normalization_is_numpys_over_labeled_and_unlabeled_images_alone(stage_folders):
    facts, pool = read_json(stage_folders["split"] / "dataset.json"), load_pool("digits")
    seen = ids_of(stage_folders, "labeled") | ids_of(stage_folders, "unlabeled")
    pixels = pool.images.numpy()[[id_ in seen for id_ in pool.ids]] / 255
    np.testing.assert_allclose(facts["mean"], [pixels.mean()], rtol=1e-12)
    np.testing.assert_allclose(facts["std"], [pixels.std()], rtol=1e-12)
    everything = pool.images.numpy() / 255
    assert abs(facts["mean"][0] - everything.mean()) > 1e-9  # the validation images do make a difference


def test_the_class_counts_of_the_facts_are_those_of_the_truth(stage_folders):
    facts, target = read_json(stage_folders["split"] / "dataset.json"), load_digits().target
    for role in ("labeled", "validation", "unlabeled"):
        classes = [target[int(id_.removeprefix("digits/"))] for id_ in ids_of(stage_folders, role)]
        assert facts["class_counts"][role] == np.bincount(classes, minlength=10).tolist()


@pytest.mark.parametrize("stage", ["baseline", "joint"])
def test_the_kept_epoch_is_the_one_with_the_lowest_validation_loss(stage, stage_folders):
    history, training = history_of(stage_folders[stage]), read_json(stage_folders[stage] / "training.json")
    # The student's ramp is complete in epoch 3; best epochs may lie before it.
    assert training["best_validation_loss"] == history["validation_loss"].min()
    assert training["best_epoch"] == history.loc[history["validation_loss"].idxmin(), "epoch"]
    assert training["stopped_epoch"] == len(history) == history["epoch"].max()


def test_the_students_history_shows_the_linear_ramp_of_alpha(stage_folders):
    # T1 = 1, T2 = 3, final 1: zero in epoch 1, half-way in epoch 2, complete from epoch 3 on.
    alphas = history_of(stage_folders["joint"])["alpha"].tolist()
    assert alphas == pytest.approx([0.0, 0.5, 1.0, 1.0, 1.0, 1.0])


# --- awkward but legal configs ----------------------------------------------------------------------------------------


def test_no_accepted_pseudo_label_is_a_warning_and_the_pipeline_still_ends(tiny_config, stage_runner, tmp_path):
    config = changed(
        tiny_config, baseline={"epochs": 1}, joint={"epochs": 1, "ramp_start": 0, "ramp_end": 0}
    ).model_copy(update={"pseudo_label": tiny_config.pseudo_label.model_copy(update={"threshold": 1.0})})
    ears = {step.name: Listener() for step in plan(config)}
    folders = stage_runner(config, tmp_path, logs=ears)
    summary = read_json(folders["pseudo_label"] / "summary.json")
    assert (summary["accepted"], summary["coverage"], summary["precision"]) == (0, 0.0, None)
    assert any("pseudo_label.threshold=1;" in warning for warning in ears["pseudo_label"].warnings)
    assert any("no pseudo-label" in warning for warning in ears["joint"].warnings)
    assert (folders["evaluate"] / "report.html").stat().st_size > 0


def unlabeled_term_of(config: PipelineConfig, folders: dict[str, Path], out_dir: Path, monkeypatch: Any) -> Any:
    """What the joint stage hands to the training loop as its unlabeled term."""
    from semisup.stages import joint

    seen, real_train = [], joint.train

    def spy(*arguments: Any, **options: Any) -> Any:
        seen.append((options["unlabeled"], options["steps_per_epoch"]))
        return real_train(*arguments, **options)

    monkeypatch.setattr(joint, "train", spy)
    joint.run(config, folders, out_dir, Silence())
    return seen[0]


SHORT = {"epochs": 1, "ramp_start": 0, "ramp_end": 0}


def test_the_online_method_uses_every_unlabeled_image(tiny_config, stage_folders, tmp_path, monkeypatch):
    config = changed(tiny_config, joint={"method": "online", **SHORT})
    term, steps = unlabeled_term_of(config, stage_folders, tmp_path, monkeypatch)
    unlabeled, pool = ids_of(stage_folders, "unlabeled"), load_pool("digits")
    assert torch.equal(term.images[:], pool.images[[id_ in unlabeled for id_ in pool.ids]])
    assert steps == -(-len(unlabeled) // 96)
    assert history_of(tmp_path)["mask_rate"].tolist() == [1.0]


def test_the_threshold_method_uses_exactly_the_accepted_images_of_the_table(
    tiny_config, stage_folders, tmp_path, monkeypatch
):
    term, steps = unlabeled_term_of(changed(tiny_config, joint=SHORT), stage_folders, tmp_path, monkeypatch)
    pseudo_labels, pool = table_of(stage_folders), load_pool("digits")
    accepted = set(pseudo_labels.loc[pseudo_labels["confidence"] >= np.float32(0.8), "id"])
    assert torch.equal(term.images[:], pool.images[[id_ in accepted for id_ in pool.ids]])
    assert steps == -(-len(accepted) // 96)


def test_an_epoch_over_the_labeled_images_has_one_step_per_labeled_batch(
    tiny_config, stage_folders, tmp_path, monkeypatch
):
    config = changed(tiny_config, joint={"epoch_over": "labeled", **SHORT})
    _, steps = unlabeled_term_of(config, stage_folders, tmp_path, monkeypatch)
    assert steps == 2  # 50 labels in batches of 25


@pytest.mark.parametrize("ramp_end", [0, 5])
def test_early_stopping_of_the_student_never_comes_before_the_ramp_is_complete(
    ramp_end, tiny_config, stage_folders, stage_runner, tmp_path
):
    hopeless = {"patience": 1, "min_delta": 100.0}
    ramp = {"epochs": 9, "ramp_start": 0, "ramp_end": ramp_end, "early_stopping": hopeless}
    folders = stage_runner(changed(tiny_config, joint=ramp), tmp_path, ("joint",), stage_folders)
    training = read_json(folders["joint"] / "training.json")
    assert training["stopped_early"]
    assert training["stopped_epoch"] == max(ramp_end, 1) + 1  # the first epoch is always the best so far


# --- files, stages, logs ----------------------------------------------------------------------------------------------


TRAINED = {
    "weights.safetensors",
    "model.json",
    "history.parquet",
    "training.json",
    "timings.json",
    "learning_curves.png",
}
LABELED = {"pseudo_labels.parquet", "summary.json", "audit.parquet", "confidence_histogram.png", "picture_grid.png"}


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("split", {"split.parquet", "dataset.json", "class_counts.png"}),
        ("baseline", TRAINED),
        ("pseudo_label", LABELED),
        ("joint", TRAINED),
        ("keep", {"kept.json"}),
        ("labels", LABELED),
        ("evaluate", {"predictions.parquet", "metrics.json", "report.html", "report.md"}),
        ("promote", {"decision.json", "predictions.parquet", "classes.json"}),
    ],
)
def test_every_stage_leaves_its_files(stage, expected, stage_folders):
    sizes = {path.name: path.stat().st_size for path in stage_folders[stage].iterdir() if path.is_file()}
    assert expected <= set(sizes)
    assert all(sizes.values())


def test_every_picture_is_a_picture(stage_folders):
    pictures = [path for folder in stage_folders.values() for path in folder.rglob("*.png")]
    assert pictures
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for path in pictures)


def test_training_tells_its_log_of_every_epoch_once(tiny_config, stage_folders, tmp_path):
    ear = Listener()
    load_stage("joint")(tiny_config, stage_folders, tmp_path, ear)
    epochs = list(range(1, 7))
    assert ear.steps == epochs
    assert ear.progressed == [(epoch, 6) for epoch in epochs]


def test_a_stage_that_does_not_exist_is_refused_with_the_names_of_those_that_do():
    with pytest.raises(ValueError, match="'polish' does not exist") as caught:
        load_stage("polish")
    assert all(name in str(caught.value) for name in STAGES)


# --- mistakes that are found before anything is started ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        # scikit-learn has 178 zeros, of which 50 are test images.
        ({"split": {"labeled_per_class": 120, "validation_per_class": 10}}, "class '0', which has only 128 images"),
        ({"split": {"labeled_per_class": 100_000}}, "split.labeled_per_class=100000"),
        ({"model": {"name": "torchvision:resnet81", "width": 1.0}}, "torchvision:resnet18"),
        ({"model": {"name": "smal_cnn"}}, "small_cnn"),
        ({"model": {"name": "resnet18_small", "width": 2.0}}, "model.width=2.0"),
        ({"model": {"name": "resnet18_small", "width": 1.0, "dropout": 0.5}}, "model.dropout=0.5"),
        ({"model": {"name": "torchvision:alexnet", "width": 1.0}}, "8×8"),
        ({"data": {"name": "mnist"}}, "data.root is not set"),
    ],
)
def test_a_mistake_is_found_before_anything_is_started(sections, said, tiny_config):
    assert said in the_error(check, changed(tiny_config, **sections))


def test_a_split_that_leaves_nothing_unlabeled_is_refused(tiny_config, mnist_like):
    # Ten images of every class, and all of them asked for.
    target, images = load_digits().target, load_digits().images
    chosen = np.concatenate([np.flatnonzero(target == digit)[:10] for digit in range(10)])
    write_idx(mnist_like / "train-images-idx3-ubyte", images[chosen] * 15)
    write_idx(mnist_like / "train-labels-idx1-ubyte", target[chosen])
    write_idx(mnist_like / "t10k-labels-idx1-ubyte", target[500:600])
    config = changed(tiny_config, data={"name": "mnist", "root": mnist_like})
    assert "take all 100 images" in the_error(check, config)


def test_images_too_small_for_the_seed_cnn_are_refused_with_its_smallest_size(tiny_config, mnist_like):
    digits = load_digits()
    write_idx(mnist_like / "train-images-idx3-ubyte", digits.images[:500, :5, :5] * 15)
    write_idx(mnist_like / "t10k-labels-idx1-ubyte", digits.target[500:600])
    config = changed(tiny_config, data={"name": "mnist", "root": mnist_like}, model={"name": "seed_cnn"})
    message = the_error(check, config)
    assert "5×5" in message
    assert "small_cnn" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_refused(tiny_config):
    assert "runtime.device='cuda'" in the_error(check, changed(tiny_config, runtime={"device": "cuda"}))


def test_a_good_config_has_nothing_to_warn_of(tiny_config):
    assert check(changed(tiny_config, split={"validation_per_class": 6})).warnings == []


def test_a_threshold_that_smoothing_can_never_reach_is_a_warning(tiny_config):
    # Smoothing 0.1 over all ten classes leaves 0.9 + 0.01 on the true one.
    smoothed, enough = {"label_smoothing": {"epsilon": 0.1}}, {"validation_per_class": 6}
    config = changed(tiny_config, baseline=smoothed, split=enough, pseudo_label={"threshold": 0.95})
    (warning,) = check(config).warnings
    assert "0.91" in warning


def test_preflight_writes_nothing(tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check(tiny_config)
    assert list(tmp_path.iterdir()) == []


def test_the_threads_of_one_run_do_not_decide_those_of_the_next(tiny_config):
    before = torch.get_num_threads()
    try:
        pick_device(changed(tiny_config, runtime={"device": "cpu", "threads": 1}))
        assert torch.get_num_threads() == 1
        pick_device(changed(tiny_config, runtime={"device": "cpu", "threads": None}))
        assert torch.get_num_threads() == ALL_THREADS
    finally:
        torch.set_num_threads(before)
