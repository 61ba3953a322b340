"""The split of a folder that grows: files come, go, move and get labels between two runs."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from semisup.data.own_images import forget
from semisup.pipeline.plan import SPLIT_BEFORE, plan
from semisup.pipeline.specs import load_stage
from tests.data.corpus import encoded, photo, put, put_photos, three_colors
from tests.listening import Listener
from tests.stages.own_images.test_own_images_stages import config_for


def split(config, out: Path, before: Path | None = None) -> tuple[dict[str, str], Listener]:
    """Path → role, and what was said; the stage as a run with another process would see it."""
    out.mkdir(parents=True)
    forget()
    log = Listener()
    load_stage("split")(config, {"before": before} if before else {}, out, log)
    forget()
    table = pd.read_parquet(out / "split.parquet")
    return dict(zip(table["id"].str.rpartition("@")[0], table["role"], strict=True)), log


@pytest.fixture
def grown(tmp_path):
    """(config, folder, roles of the first split)."""
    root = tmp_path / "photos"
    for number, name in enumerate(("cat", "dog")):
        put_photos(root / "labeled" / name, range(100 * number, 100 * number + 15))
        put_photos(root / "test" / name, range(100 * number + 50, 100 * number + 56))
    put_photos(root / "unlabeled", range(200, 220))
    config = config_for(root)
    roles, _ = split(config, tmp_path / "first")
    return config, root, roles


def test_new_images_join_and_known_ones_keep_their_roles_under_any_name(grown, tmp_path):
    config, root, first = grown
    put_photos(root / "unlabeled", range(220, 240))
    put_photos(root / "labeled" / "cat", range(20, 30))
    (root / "unlabeled" / "0200.png").rename(root / "labeled" / "dog" / "was unlabeled.png")
    names = {"labeled/cat/0000.png": "labeled/cat/renamed.png", "labeled/dog/0101.png": "labeled/dog/ünd so.png"}
    for old, new in names.items():
        (root / old).rename(root / new)
    now, log = split(config, tmp_path / "second", tmp_path / "first")
    for path, role in first.items():
        if path != "unlabeled/0200.png":
            assert now[names.get(path, path)] == role
    assert now["labeled/dog/was unlabeled.png"] == "labeled"
    assert {now[f"labeled/cat/{seed:04d}.png"] for seed in range(20, 30)} == {"labeled"}
    assert {now[f"unlabeled/{seed:04d}.png"] for seed in range(220, 240)} == {"unlabeled"}
    assert log.warnings == []
    assert (log.figures["added_images"], log.figures["newly_labeled_images"]) == (30, 1)
    assert "30 images (10 labeled, 20 unlabeled)" in (tmp_path / "second" / "changes.md").read_text()


def test_a_validation_image_never_comes_back_as_one_to_learn_from(grown, tmp_path):
    config, root, first = grown
    validation = next(path for path, role in first.items() if role == "validation")
    content = (root / validation).read_bytes()
    (root / validation).unlink()
    second, log = split(config, tmp_path / "second", tmp_path / "first")
    assert log.figures["vanished_images"] == 1
    assert any("vanished" in line for line in log.warnings)
    assert list(second.values()).count("validation") == list(first.values()).count("validation")
    put(root / "unlabeled" / "back.png", content)
    third, log = split(config, tmp_path / "third", tmp_path / "second")
    assert "unlabeled/back.png" not in third
    assert log.figures["held_back_images"] == 1
    assert any("another seed or name" in line for line in log.warnings)
    put_photos(root / "unlabeled", range(300, 303))
    fourth, _ = split(config, tmp_path / "fourth", tmp_path / "third")
    assert "unlabeled/back.png" not in fourth
    (root / "unlabeled" / "back.png").rename(root / validation)
    fifth, _ = split(config, tmp_path / "fifth", tmp_path / "fourth")
    assert fifth[validation] == "validation"


def test_a_test_image_that_is_moved_to_be_learned_from_is_used_for_nothing(grown, tmp_path):
    config, root, _ = grown
    shutil.move(root / "test" / "cat" / "0050.png", root / "labeled" / "cat" / "0050.png")
    now, log = split(config, tmp_path / "second", tmp_path / "first")
    assert "labeled/cat/0050.png" not in now
    assert any("1 test" in line and "left out" in line for line in log.warnings)


def test_new_and_vanished_classes_are_said(grown, tmp_path):
    config, root, first = grown
    put_photos(root / "labeled" / "owl", range(400, 410))
    now, log = split(config, tmp_path / "second", tmp_path / "first")
    assert any("new since" in line and "owl" in line for line in log.warnings)
    assert {path: now[path] for path in first} == first
    shutil.rmtree(root / "labeled" / "owl")
    _, log = split(config, tmp_path / "third", tmp_path / "second")
    assert any("gone since" in line and "owl" in line for line in log.warnings)


def test_the_same_roles_are_the_same_bits_whatever_was_known_before(grown, tmp_path):
    config, root, _ = grown
    put(root / "unlabeled" / "new.png", encoded(photo(500), "PNG"))
    split(config, tmp_path / "second", tmp_path / "first")
    (root / "unlabeled" / "new.png").unlink()
    split(config, tmp_path / "third", tmp_path / "second")
    for name in ("split.parquet", "dataset.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "third" / name).read_bytes()
    assert not (tmp_path / "third" / "held_out.parquet").exists()


def test_a_split_of_other_data_is_no_split_before(grown, tmp_path, stage_folders):
    config, _, first = grown
    now, log = split(config, tmp_path / "second", stage_folders["split"])
    assert now == first
    assert not (tmp_path / "second" / "changes.md").exists()
    assert not log.warnings


def test_only_images_of_ones_own_have_a_split_before(grown, tiny_config):
    config, _, _ = grown
    readers = {step.name for step in plan(config) if step.upstream.get("before") == SPLIT_BEFORE}
    assert readers == {"split", "labels"}
    assert not any("before" in step.upstream for step in plan(tiny_config))


@pytest.mark.parametrize("colors", [("red", "green", "blue"), ("red",)])
def test_new_images_that_are_not_like_the_others_are_a_warning(tmp_path, colors):
    root = three_colors(tmp_path / "photos", test_per_class=2, unlabeled=30)
    config = config_for(root)
    split(config, tmp_path / "first")
    for color in colors:
        others = three_colors(tmp_path / f"more {color}", unlabeled=90 // len(colors), seed=7)
        for file in (others / "unlabeled").rglob(f"{color} *.png"):
            put(root / "unlabeled" / "later" / file.name, file.read_bytes())
    split(config, tmp_path / "second", tmp_path / "first")
    folders, log = {"split": tmp_path / "second"}, Listener()
    for name, inputs in (("baseline", {}), ("labels", {"before": tmp_path / "first"})):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        kept = {"kept": folders["baseline"]} if inputs else {}
        load_stage(name)(config, {"split": folders["split"], **kept, **inputs}, folders[name], log)
    forget()
    assert log.figures["drift.new"] == log.figures["drift.known"] == 90
    assert (folders["labels"] / "drift.png").exists()
    told = any("differ from the 90 known ones" in line for line in log.warnings)
    assert told == (colors == ("red",))
