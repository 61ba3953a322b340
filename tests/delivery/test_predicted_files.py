"""Predictions for files: those of the stages, a row for each file, no more than a batch in memory."""

import os
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.special import softmax
from typer.testing import CliRunner

from flows.cli import app
from semisup.data.own_images.reading.threads import TASKS_AHEAD, worked_ahead
from semisup.data.sources import load_test
from semisup.delivery import predict as predicting
from semisup.delivery.image_files import ImageFile, ImageFiles
from semisup.delivery.predict import FILES_PER_TASK, Predictor, column_types, predict
from semisup.errors import UserError
from semisup.stages.support.models.saved import load_model
from semisup.system.json_files import read_json, write_json
from tests.data.corpus import broken_files, encoded, photo, put

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digit_files(tmp_path_factory):
    """The digits' 500 test images as PNG files, named in their order."""
    folder = tmp_path_factory.mktemp("digits")
    for number, image in enumerate(load_test("digits", None, False).images.numpy()):
        Image.fromarray(image[0]).save(folder / f"{number:04d}.png")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.parametrize(("stage", "model"), [("baseline", "baseline"), ("joint", "student")])
def test_predictions_are_those_of_the_evaluate_stage_on_the_same_images(stage_folders, digit_files, stage, model):
    predictor = Predictor.load(stage_folders[stage], None, CPU)
    table = pd.concat(predict(predictor, ImageFiles.of([digit_files]), batch_size=64))
    evaluated = pd.read_parquet(stage_folders["evaluate"] / "predictions.parquet")
    assert table["label"].astype(int).tolist() == evaluated[f"{model}_label"].tolist()
    np.testing.assert_allclose(table["confidence"], evaluated[f"{model}_confidence"], rtol=1e-4)
    assert table["temperature"].isna().all()


def test_a_temperature_divides_the_logits(stage_folders, digit_files):
    files = list(ImageFiles.of([digit_files]))[:20]
    table = next(predict(Predictor.load(stage_folders["joint"], 2.5, CPU), files))
    images = load_test("digits", None, False).images[:20]
    with torch.inference_mode():
        logits = load_model(stage_folders["joint"])(images).double().numpy()
    columns = [name for name in table if name.startswith("probability.")]
    np.testing.assert_allclose(table[columns], softmax(logits / 2.5, axis=1), atol=1e-5)
    np.testing.assert_allclose(table["temperature"], 2.5)


def test_every_file_has_its_row_in_its_place_and_broken_ones_a_reason(stage_folders, tmp_path):
    for number, (name, (content, _)) in enumerate(broken_files().items()):
        put(tmp_path / "a" / f"{2 * number:02d} {name}", content)
        put(tmp_path / "a" / f"{2 * number + 1:02d}.png", encoded(photo(number), "PNG"))
    put(tmp_path / "b.jpg", encoded(photo(99), "JPEG"))
    files = ImageFiles.of([tmp_path / "b.jpg", tmp_path / "a"])
    predictor = Predictor.load(stage_folders["joint"], None, CPU)
    table = pd.concat(predict(predictor, files, batch_size=3), ignore_index=True)
    expected = [str(tmp_path / "b.jpg"), *(str(file) for file in sorted((tmp_path / "a").iterdir()))]
    assert table["path"].tolist() == expected
    for row in table.itertuples():
        words = [word for name, (_, word) in broken_files().items() if row.path.endswith(name)]
        assert row.reason.startswith(words[0] if words else "")
        assert (row.reason == "") == (not words) == isinstance(row.label, str) == bool(row.confidence > 0)


def test_the_size_of_a_batch_changes_no_row(stage_folders, digit_files):
    files = list(ImageFiles.of([digit_files]))[:50]
    predictor = Predictor.load(stage_folders["joint"], None, CPU)
    one, many = (pd.concat(predict(predictor, files, batch_size=size), ignore_index=True) for size in (1, 37))
    pd.testing.assert_frame_equal(one, many, rtol=1e-4, atol=1e-6)


def test_of_endless_files_only_a_batch_and_what_threads_are_busy_with_is_taken_up(stage_folders, digit_files):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield ImageFile("again", str(digit_files / "0000.png"))

    parts = predict(Predictor.load(stage_folders["joint"], None, CPU), endless(), batch_size=40)
    ahead = FILES_PER_TASK * (TASKS_AHEAD * len(os.sched_getaffinity(0)) + 2)
    for done in range(1, 30):
        assert len(next(parts)) == 40
        assert taken <= 40 * done + ahead
    parts.close()


def test_what_is_worked_ahead_comes_in_order_and_ends_with_its_reader():
    started: set[int] = set()

    def work(number: int) -> int:
        started.add(number)
        return number**2

    results = worked_ahead(work, iter(range(10_000)))
    assert [next(results) for _ in range(100)] == [number**2 for number in range(100)]
    results.close()
    assert len(started) < 1000
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_with_many_classes_or_top_a_row_has_the_likeliest_ones(stage_folders, digit_files, monkeypatch):
    files, predictor = list(ImageFiles.of([digit_files]))[:30], Predictor.load(stage_folders["joint"], None, CPU)
    whole, three = (pd.concat(predict(predictor, files, top=top)) for top in (None, 3))
    assert list(whole) == list(column_types(predictor.class_names, None))
    assert list(three) == list(column_types(predictor.class_names, 3))
    probabilities = whole[[f"probability.{name}" for name in "0123456789"]].to_numpy()
    order = np.sort(probabilities, axis=1)[:, ::-1]
    np.testing.assert_array_equal(three[["confidence", "confidence_2", "confidence_3"]], order[:, :3])
    assert (probabilities[np.arange(30), three["label_3"].astype(int)] == order[:, 2]).all()
    monkeypatch.setattr(predicting, "MOST_CLASS_COLUMNS", 9)
    assert "label_5" in column_types(predictor.class_names, None)


def test_folders_files_and_tables_name_the_same_files(tmp_path):
    for name in ("x/2.png", "x/1.jpg", "x/deep/3.bmp", "x/notes.txt", "x/.hidden.png"):
        put(tmp_path / name, b"")
    (tmp_path / "list.csv").write_text("path\nx/2.png\nx/nowhere.png\n")
    names = [file.path.removeprefix(f"{tmp_path}/") for file in ImageFiles.of([tmp_path / "list.csv", tmp_path / "x"])]
    assert names == ["x/2.png", "x/nowhere.png", "x/1.jpg", "x/2.png", "x/deep/3.bmp"]
    files = ImageFiles.of([tmp_path / "x"])
    assert files.count() == 3
    assert dict(files.passed_over) == {"files with other extensions": 1}


def test_a_model_of_old_takes_the_middle_and_a_new_one_what_it_learned_from(stage_folders, tmp_path):
    description = read_json(stage_folders["joint"] / "model.json")
    assert description["resize"] == "crop"
    for change, resize in (({"resize": "pad"}, "pad"), ({}, "crop")):
        folder = tmp_path / resize
        folder.mkdir()
        old = {key: value for key, value in description.items() if key != "resize"}
        write_json(folder / "model.json", old | change)
        (folder / "weights.safetensors").write_bytes((stage_folders["joint"] / "weights.safetensors").read_bytes())
        target = Predictor.load(folder, None, CPU).target
        assert (target.resize, target.shape) == (resize, (1, 8, 8))


def test_a_model_reads_deep_files_by_the_range_that_it_learned_from(stage_folders, tmp_path):
    description = read_json(stage_folders["joint"] / "model.json")
    assert description["range"] is None
    write_json(tmp_path / "model.json", description | {"range": [0.0, 199.0]})
    (tmp_path / "weights.safetensors").write_bytes((stage_folders["joint"] / "weights.safetensors").read_bytes())
    assert Predictor.load(tmp_path, None, CPU).target.range == (0, 199)
    assert Predictor.load(stage_folders["joint"], None, CPU).target.range is None


@pytest.mark.parametrize("damaged", ["model.json", "weights.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_a_damaged_model_is_one_line(stage_folders, tmp_path, damaged, content):
    for name in ("model.json", "weights.safetensors"):
        (tmp_path / name).write_bytes((stage_folders["joint"] / name).read_bytes())
    (tmp_path / damaged).unlink()
    if content is not None:
        (tmp_path / damaged).write_bytes(content)
    with pytest.raises(UserError, match=r"there is no|damaged|no classifier") as error:
        Predictor.load(tmp_path, None, CPU)
    assert len(str(error.value).splitlines()) == 1


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_table_holds_what_was_predicted(stage_folders, digit_files, tmp_path, suffix):
    out = tmp_path / f"p{suffix}"
    result = run(stage_folders["joint"], digit_files, "--out", out, "--batch-size", 128)
    assert result.exit_code == 0, result.output
    assert "500 rows" in result.output
    table = pd.read_parquet(out) if suffix == ".parquet" else pd.read_csv(out, dtype={"label": str}, na_filter=True)
    predictor = Predictor.load(stage_folders["joint"], None, CPU)
    expected = pd.concat(predict(predictor, ImageFiles.of([digit_files])), ignore_index=True)
    assert list(table) == list(expected)
    assert table["label"].tolist() == expected["label"].tolist()
    np.testing.assert_allclose(table["confidence"], expected["confidence"], rtol=1e-4)
    assert [file.name for file in tmp_path.iterdir()] == [out.name]


def test_broken_files_are_a_warning_and_no_readable_one_is_a_mistake(stage_folders, digit_files, tmp_path):
    put(tmp_path / "in" / "zero.png", b"")
    out = tmp_path / "p.csv"
    result = run(stage_folders["joint"], tmp_path / "in", "--out", out)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("error: the one file cannot be read")
    assert [file.name for file in tmp_path.iterdir()] == ["in"]
    result = run(stage_folders["joint"] / "weights.safetensors", tmp_path / "in", digit_files)
    assert result.exit_code == 0
    assert "warning: 1 of 501 files has no prediction" in result.stderr
    assert "491 more" in result.stdout
    head, broken, read, *_ = result.stdout.splitlines()
    assert head.split() == ["path", "label", "confidence", "reason"]
    assert broken.split()[1:3] == ["–", "empty:"]
    assert read.split()[2].endswith("%")
    assert "reason" not in run(stage_folders["joint"], digit_files).stdout


def test_mistakes_are_one_line_and_leave_nothing(stage_folders, digit_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "there.csv", b"mine")
    (tmp_path / "empty").mkdir()
    model = stage_folders["joint"]
    for arguments, said in (
        ((model, "nowhere"), "does not exist"),
        ((model, "empty"), "no image files"),
        ((model, digit_files, "--out", "there.csv"), "--force"),
        ((model, digit_files, "--out", "p.txt"), ".parquet"),
        ((model, digit_files, "--out", "none/p.csv"), "folder does not exist"),
        ((model, "there.csv"), "no column 'path'"),
        (("empty", digit_files), "there is no model.json"),
        (("there.csv", digit_files), "is no weights.safetensors"),
        (("abc", digit_files), "no MLflow store"),
        (("models:/x@champion", digit_files), "no MLflow store"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, arguments
        (line,) = result.stderr.splitlines()
        assert said in line
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty", "there.csv"]
    assert (tmp_path / "there.csv").read_text() == "mine"
