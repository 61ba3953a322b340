"""A run in this process is the pipeline of the command line: the same stages, the same bits, results with types."""

import gc
import json
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

import semisup as ss
from semisup.config.files import load_config
from semisup.data.own_images.decoded import checksums


@pytest.fixture(scope="module")
def result(tiny_config, tmp_path_factory):
    told = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fifty labels are few
        run = ss.run(tiny_config, out=tmp_path_factory.mktemp("runs") / "tiny", progress=told.append)
    return run, told


def test_it_leaves_what_the_stages_leave(result, stage_folders):
    run, _ = result
    steps = {name: folder for name, folder in stage_folders.items() if name != "promote"}
    for name, folder in steps.items():
        for theirs in folder.rglob("*"):
            ours = run.folder / name / theirs.relative_to(folder)
            assert ours.is_dir() == theirs.is_dir()
            if theirs.suffix in {".parquet", ".safetensors", ".json"} and theirs.name != "timings.json":
                assert ours.read_bytes() == theirs.read_bytes(), ours
    assert {path.name for path in run.folder.iterdir() if path.is_dir()} == set(steps)


def test_of_a_run_on_a_cache_that_turns_out_to_be_damaged_nothing_is_kept(tiny_config, tmp_path):
    file = tmp_path / "pool.u8"
    file.symlink_to("/proc/self/mem")  # whose beginning nobody can read, as on a failing disk
    checksums._Watch(tmp_path, [checksums.Blocks(file, 1, 1, np.zeros(1, np.uint32))])
    with pytest.raises(ss.UserError, match="nothing of this is kept"):
        ss.run(tiny_config, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_metrics_are_those_of_the_evaluation(result):
    run, _ = result
    found = json.loads((run.folder / "evaluate" / "metrics.json").read_text())
    assert run.metrics.student.value == found["student"]["accuracy"]["estimate"]
    assert run.metrics.student.low < run.metrics.student.value < run.metrics.student.high
    assert run.metrics.kept == found["kept"]["model"]
    assert run.metrics.details == found
    gap = run.metrics.student.value - run.metrics.baseline.value
    assert run.metrics.difference.value == pytest.approx(gap)
    accepted = run.pseudo_labels["accepted"]
    assert run.metrics.coverage == accepted.mean()


def test_pseudo_labels_are_named_by_their_classes(result):
    table = result[0].pseudo_labels
    assert set(table["label"]) <= set("0123456789")
    assert {"id", "confidence", "accepted", "reason"} <= set(table)


def test_the_model_is_the_one_to_keep(result):
    from semisup.data.sources import load_test

    run, _ = result
    test = load_test("digits")
    said = pd.read_parquet(run.folder / "evaluate" / "predictions.parquet")
    expected = said[f"{run.metrics.kept}_label"].astype(str)
    assert (run.model.predict(test.images.numpy()) == expected.to_numpy()).all()
    right = run.model.predict(test.images.numpy()[:, 0]) == test.labels.numpy().astype(str)
    assert right.mean() == pytest.approx(getattr(run.metrics, run.metrics.kept).value)
    with pytest.raises(ss.UserError, match="but the model learned from"):
        run.model.predict(np.zeros((1, 9, 9), np.uint8))


def test_the_model_reads_files(result, tmp_path):
    from PIL import Image

    run, _ = result
    Image.fromarray(np.zeros((30, 20), np.uint8)).save(tmp_path / "black.png")
    (tmp_path / "text.png").write_text("no image")
    table = run.model.predict_files([tmp_path / "black.png", tmp_path / "text.png"])
    assert table["label"][0] == run.model.predict(np.zeros((1, 8, 8), np.uint8))[0]
    assert table["reason"][1]
    assert run.model.predict_files([]).empty


def test_the_report_shows_itself(result):
    run, _ = result
    assert run.report.html() == (run.folder / "evaluate" / "report.html").read_text(encoding="utf-8")
    assert "<iframe srcdoc=" in run.report._repr_html_()
    assert "<script" not in run._repr_html_()
    assert f"{run.metrics.student.value:.1%}" in run._repr_html_()
    assert f"{run.metrics.student.value:.1%}" in repr(run)


def test_a_function_is_told_of_every_stage_that_takes_time(result):
    assert {"baseline", "joint"} <= {record["stage"] for record in result[1]}


def test_the_config_of_a_run_can_be_run_again(result):
    run, _ = result
    assert load_config(run.folder / "config.yaml") == run.config


def test_a_folder_that_is_there_is_not_written_to(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ss.UserError, match="is there already"):
        ss.run("digits", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"config": "digts"}, "neither a file nor a ready-made config; did you mean 'digits'\\?"),
        ({"config": "digits", "joint__epochs": 0}, "overrides: joint.epochs=0"),
        ({"config": "digits", "joint": {"epoch": 3}}, "overrides: unknown key 'joint.epoch'"),
        ({"config": "diabetes"}, "semisup regress"),
        ({"config": "mnist", "data__root": "nowhere"}, "data.root=nowhere does not exist"),
    ],
)
def test_a_mistake_leaves_nothing(arguments, said, tmp_path):
    with pytest.raises(ss.UserError, match=said):
        ss.run(**arguments, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_images_of_ones_own_run_by_the_config_that_suits_them(digits, tmp_path):
    names = np.where(digits.partly == -1, None, digits.partly.astype(object))
    known = [*np.flatnonzero(digits.partly != -1), *np.flatnonzero(digits.partly == -1)[:60]]
    later = slice(180, 240)
    data = ss.Dataset.from_arrays(
        digits.images[known], names[known], test_images=digits.images[later], test_labels=digits.truth[later]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        run = ss.run(
            data=data,
            baseline={"budget": "30 steps"},
            joint={"budget": "30 steps"},
            data__duplicates="ignore",
            runtime__device="cpu",
        )
    folder = run.folder
    assert len(run.pseudo_labels) == 60
    assert run.model.classes_.tolist() == ["0", "1", "2", "3"]
    assert run.metrics.details["total"] == 60
    page = run.report
    del run
    gc.collect()
    assert "<html" in page.html()  # the folder lasts as long as its page
    del page
    gc.collect()
    assert not folder.exists()  # it was temporary


def test_the_config_that_is_kept_names_the_images_that_are_kept(digits, tmp_path):
    known = np.flatnonzero(digits.partly != -1)
    data = ss.Dataset.from_arrays(
        digits.images[known],
        digits.truth[known].astype(str),
        test_images=digits.images[180:240],
        test_labels=digits.truth[180:240].astype(str),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        split = {"labeled_per_class": 5, "validation_per_class": 2}
        ss.run(
            "digits",
            data,
            out=tmp_path / "kept",
            split=split,
            baseline={"epochs": 1},
            joint={"epochs": 1, "ramp_end": 0},
            data__duplicates="ignore",
        )
    kept = load_config(tmp_path / "kept" / "config.yaml").data
    for path in (kept.root, kept.manifest):
        assert path is None or path.exists()
    assert kept.root is not None or kept.manifest is not None


CODE = """
import sys, warnings
warnings.simplefilter("ignore")
import semisup as ss
ss.run("digits", baseline__epochs=1, joint={"epochs": 1, "ramp_end": 0})
print([name for name in ("prefect", "mlflow") if name in sys.modules])
"""


@pytest.mark.slow
def test_neither_prefect_nor_mlflow_is_loaded(tmp_path):
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert list(tmp_path.iterdir()) == []
