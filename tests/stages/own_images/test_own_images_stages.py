"""A pipeline on a folder of one's own: labels known in part, a test image copied into the pool, broken files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from flows.cli import app
from semisup.config.files import load_config, validate
from semisup.data.datasets import UNLABELED
from semisup.data.own_images import forget
from semisup.data.roles.contradictions import FILE as CONTRADICTIONS
from semisup.data.roles.contradictions import contradictions
from semisup.data.tables import write_csv
from semisup.errors import UserError
from semisup.pipeline.log import Silence
from semisup.pipeline.plan import plan
from semisup.pipeline.specs import load_stage
from semisup.stages.final.evaluate import write_report
from semisup.stages.preflight.check import check
from semisup.stages.running import run_steps
from tests.data.corpus import broken_files, encoded, put, three_colors
from tests.listening import Listener

COPIED = "test/red/0.png"


def config_for(root: Path, **data):
    """The smallest pipeline that passes through every stage."""
    training = {"epochs": 2, "batch_size": 8}
    data = {"size": 16, "cache": root.parent / "cache", "max_broken": 0.2} | data
    return validate(
        {
            "data": {"name": "folder", "root": root, "size": 16, "cache": root.parent / "cache", "max_broken": 0.2}
            | data,
            "split": {"labeled_per_class": "all", "validation_per_class": 3},
            "model": {"name": "small_cnn", "width": 0.5},
            "baseline": training,
            "pseudo_label": {"threshold": 0.3},
            "joint": training,
            "runtime": {"threads": 1},
            "promote": {"enabled": False},
        },
        source="test",
    )


def run_stages(config, folder: Path, log) -> dict[str, Path]:
    return run_steps(plan(config), config, folder, lambda step: log)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(root, folders of the stages, warnings) of a run on a folder with a leak and broken files."""
    folder = tmp_path_factory.mktemp("own")
    root = three_colors(folder / "photos", test_per_class=4)
    shutil.copy(root / COPIED, root / "labeled" / "red" / "holiday.png")
    shutil.copy(root / COPIED, root / "unlabeled" / "img_1.png")
    for name, (content, _) in broken_files().items():
        put(root / "unlabeled" / "broken" / name, content)
    forget()
    config, log = config_for(root), Listener()
    check(config)
    yield root, run_stages(config, folder / "out", log), log.warnings
    forget()


def test_every_readable_image_has_its_role_and_a_copy_of_a_test_image_has_none(done):
    root, folders, _ = done
    table = pd.read_parquet(folders["split"] / "split.parquet")
    paths = {row.id.rpartition("@")[0]: row.role for row in table.itertuples()}
    assert paths[COPIED] == "test"
    assert not {"labeled/red/holiday.png", "unlabeled/img_1.png"} & paths.keys()
    assert {role for path, role in paths.items() if path.startswith("unlabeled/")} == {"unlabeled"}
    assert {role for path, role in paths.items() if path.startswith("labeled/")} == {"labeled", "validation"}
    readable = [file for file in root.rglob("*.png") if file.name not in broken_files()]
    assert len(paths) == len(readable) - 2


def test_what_was_left_out_is_in_the_artifacts_and_said(done):
    _, folders, warnings = done
    copies = pd.read_csv(folders["split"] / "duplicates.csv")
    assert sorted(name.partition("@")[0] for name in copies["id"]) == ["labeled/red/holiday.png", "unlabeled/img_1.png"]
    assert {name.partition("@")[0] for name in copies["copy_of"]} == {COPIED}
    broken = pd.read_csv(folders["split"] / "broken_files.csv")
    assert set(broken["path"]) == {f"unlabeled/broken/{name}" for name in broken_files()}
    assert any("duplicates.csv" in line for line in warnings)
    assert any("broken_files.csv" in line for line in warnings)


def test_audits_say_nothing_where_the_truth_is_not_known(done):
    _, folders, _ = done
    summary = json.loads((folders["pseudo_label"] / "summary.json").read_text())
    assert summary["precision"] is None
    assert (pd.read_parquet(folders["pseudo_label"] / "audit.parquet")["truth"] == UNLABELED).all()
    assert (folders["evaluate"] / "report.html").stat().st_size > 10_000


def test_a_class_with_fewer_labels_than_are_asked_for_gives_what_it_has_and_is_named(tmp_path):
    root = three_colors(tmp_path / "photos", test_per_class=2)
    for file in sorted((root / "labeled" / "red").iterdir())[1:]:
        file.unlink()
    forget()
    (tmp_path / "split").mkdir()
    log = Listener()
    load_stage("split")(config_for(root), {}, tmp_path / "split", log)
    forget()
    counts = json.loads((tmp_path / "split" / "dataset.json").read_text())["class_counts"]
    assert counts["labeled"] == [9, 9, 1]  # blue, green, red
    assert counts["validation"] == [3, 3, 0]
    (line,) = [line for line in log.warnings if "fewer labels" in line]
    assert "'red' has 1 to learn from and 0 to validate with" in line
    assert "green" not in line


def test_a_warning_about_copies_leaves_them_where_they_are(done, tmp_path):
    root, _, _ = done
    config = config_for(root, duplicates="warn")
    forget()
    (tmp_path / "split").mkdir()
    log = Listener()
    load_stage("split")(config, {}, tmp_path / "split", log)
    paths = pd.read_parquet(tmp_path / "split" / "split.parquet")["id"].str.rpartition("@")[0]
    assert {"labeled/red/holiday.png", "unlabeled/img_1.png"} <= set(paths)
    assert any("used all the same" in line for line in log.warnings)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("validation", "takes all validation images"),
        ("labeled/red", "takes all labeled images of class 'red'"),
        ("unlabeled", "takes all unlabeled images"),
    ],
)
def test_copies_of_test_images_that_leave_a_role_without_any_are_a_mistake(where, said, tmp_path):
    root = three_colors(tmp_path / "photos", test_per_class=4)
    shutil.rmtree(root / where, ignore_errors=True)
    for test in sorted((root / "test").glob("*/*.png")):
        if where == "validation":
            put(root / where / test.parent.name / test.name, test.read_bytes())
        elif where == "unlabeled" or test.parent.name == "red":
            put(root / where / f"{test.parent.name} {test.name}", test.read_bytes())
    forget()
    with pytest.raises(UserError, match=f"^data.duplicates='remove' {said}") as caught:
        check(config_for(root))
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_that_changes_after_the_split_ends_the_run_with_one_line(tmp_path):
    root = three_colors(tmp_path / "photos", test_per_class=2)
    config = config_for(root)
    forget()
    (tmp_path / "split").mkdir()
    load_stage("split")(config, {}, tmp_path / "split", Silence())
    shutil.copy(root / "unlabeled" / "day 0" / "red 0.png", root / "unlabeled" / "another.png")
    forget()  # as in another process
    (tmp_path / "baseline").mkdir()
    with pytest.raises(UserError, match="changed after the split"):
        load_stage("baseline")(config, {"split": tmp_path / "split"}, tmp_path / "baseline", Silence())
    forget()


# --- semisup init -----------------------------------------------------------------------------------------------------


def init(*arguments: object):
    return CliRunner().invoke(app, ["init", *map(str, arguments)])


def test_init_reports_what_is_there_and_writes_a_config_that_is_checked(tmp_path):
    root = three_colors(tmp_path / "my photos ünd so", test_per_class=4)
    for number in range(2):
        put(root / "unlabeled" / f"{number} zero.png", b"")
    result = init(root, "--out", tmp_path / "c.yaml", "--cache", tmp_path / "cache")
    assert result.exit_code == 0, result.output
    for said in ("red", "green", "blue", "24 × 20", "RGB", "empty", "zero.png", "wrote"):
        assert said in result.output
    config = load_config(tmp_path / "c.yaml")
    files = len([path for path in root.rglob("*") if path.is_file()])
    assert 0.01 < 2 / files <= config.data.max_broken == 0.02
    assert "data.max_broken is 0.02 in the config, not 0.01" in result.output
    assert (config.data.size, config.data.channels) == ((20, 24), "rgb")
    assert config.split.labeled_per_class == "all"
    forget()
    assert check(config).digests.pool


def test_init_names_a_class_without_test_images(tmp_path):
    root = three_colors(tmp_path / "photos", test_per_class=4)
    assert "no test image is of class" not in init(root, "--out", tmp_path / "c.yaml", "--cache", tmp_path / "c").output
    shutil.rmtree(root / "test" / "green")
    forget()
    result = init(root, "--out", tmp_path / "d.yaml", "--cache", tmp_path / "c")
    assert "no test image is of class 'green'; " in result.output
    assert "data.max_broken" not in result.output
    assert load_config(tmp_path / "d.yaml").data.max_broken == 0.01


@pytest.mark.parametrize("above", ["train", ""])
def test_init_hides_labels_where_every_image_has_one(tmp_path, above):
    root = three_colors(tmp_path / "photos", per_class=30, unlabeled=0)
    shutil.move(root / "labeled", tmp_path / "moved")
    shutil.rmtree(root)
    shutil.move(tmp_path / "moved", root / above if above else root)
    assert init(root, "--out", tmp_path / "c.yaml", "--cache", tmp_path / "cache").exit_code == 0
    config = load_config(tmp_path / "c.yaml")
    assert config.split.labeled_per_class in range(1, 31)
    forget()
    check(config)


def test_init_proposes_gray_for_gray_files_and_the_usual_size_for_mixed_ones(tmp_path):
    for number in range(12):
        gray = three_gray(number)
        put(tmp_path / "photos" / "train" / f"class {number % 2}" / f"{number}.png", gray)
    assert init(tmp_path / "photos", "--out", tmp_path / "c.yaml", "--cache", tmp_path / "cache").exit_code == 0
    data = load_config(tmp_path / "c.yaml").data
    assert (data.size, data.channels) == ((64, 64), "gray")


def three_gray(number: int) -> bytes:
    """Noise with a seed: which images test follows from their contents, and chance would once in a while take none."""
    noise = np.random.default_rng(number).integers(0, 256, (90, 100 + number), dtype=np.uint8)
    return encoded(Image.fromarray(noise), "PNG")


def test_init_writes_over_nothing_unless_told_to(tmp_path):
    root = three_colors(tmp_path / "photos")
    (tmp_path / "c.yaml").write_text("mine")
    result = init(root, "--out", tmp_path / "c.yaml", "--cache", tmp_path / "cache")
    assert result.exit_code == 2
    assert "--force" in result.output
    assert (tmp_path / "c.yaml").read_text() == "mine"
    assert init(root, "--out", tmp_path / "c.yaml", "--cache", tmp_path / "cache", "--force").exit_code == 0


def test_init_on_what_is_no_data_set_is_one_line(tmp_path):
    result = init(tmp_path / "nowhere", "--out", tmp_path / "c.yaml")
    assert result.exit_code == 2
    assert "does not exist" in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "c.yaml").exists()


def test_equal_files_of_two_classes_stand_in_the_report(done, tmp_path):
    root, folders, _ = done
    shutil.copytree(folders["split"], tmp_path / "split")
    found = contradictions(["labeled/red/a.png@12", "labeled/green/b.png@12"], np.array([1, 0]), ("green", "red"))
    write_csv(found, tmp_path / "split" / CONTRADICTIONS)
    for name, split in (("plain", folders["split"]), ("mixed up", tmp_path / "split")):
        (tmp_path / name).mkdir()
        write_report(config_for(root), {**folders, "split": split}, folders["evaluate"], tmp_path / name)
    plain, mixed_up = ((tmp_path / name / "report.html").read_text("utf-8") for name in ("plain", "mixed up"))
    assert "are the same, but of different classes" not in plain
    assert "&#39;labeled/red/a.png&#39; (red) and &#39;labeled/green/b.png&#39; (green) are the same" in mixed_up
