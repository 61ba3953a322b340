"""Images of classes that nobody labeled, from the pseudo-labels through a person to a class of the data set."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from flows.store import annotating
from flows.store.annotating import take_in
from semisup.config.files import load_config
from semisup.data.facts import DatasetFacts
from semisup.data.own_images import forget
from semisup.data.roles.split import Split
from semisup.delivery.page.annotate import write_review
from semisup.delivery.page.candidates import LABEL, NAME, Material, to_name
from semisup.errors import UserError
from semisup.stages.preflight.check import check
from semisup.stages.split import plan
from semisup.stages.support.images import images_for_test, pool_of
from semisup.stages.support.models.saved import load_model
from semisup.system.json_files import read_json
from tests.mistakes import user_mistake

UNKNOWN = (8, 9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Digits as files: 0 to 7 labeled, and among the unlabeled ones 8 and 9 as well, in two fifths of the images."""
    root = tmp_path_factory.mktemp("unknown")
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    for digit in range(10):
        rows = rng.permutation(np.flatnonzero(labels == digit))
        for place, row in enumerate(rows[: 120 if digit in UNKNOWN else 85]):
            inside = f"labeled/{digit}" if digit not in UNKNOWN and place < 40 else "unlabeled"
            file = root / "photos" / inside / f"{digit}-{row}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((images[row].reshape(8, 8) * 15.9).astype(np.uint8)).save(file)
    config = {
        "name": "unknown",
        "data": {"name": "folder", "root": "photos", "size": 8, "channels": "gray", "cache": str(root / "cache")},
        "split": {"labeled_per_class": 15, "validation_per_class": 15},
        "model": {"name": "seed_cnn"},
        "baseline": {"epochs": 40},
        "joint": {"epochs": 2},
        "pseudo_label": {"unknown": {"false_alarms": 0.05}},
        "runtime": {"threads": 1},
    }
    (root / "photos.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return root


@pytest.fixture
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)
    forget()
    yield folder
    forget()


@pytest.fixture(scope="module")
def folders(folder, stage_runner):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        forget()
        (folder / "stages").mkdir()
        steps = ("split", "baseline", "pseudo_label", "joint", "keep", "labels")
        return stage_runner(load_config(Path("photos.yaml")), folder / "stages", steps)


def material_of(folders):
    config = load_config(Path("photos.yaml"))
    facts, split = DatasetFacts.read(folders["split"]), Split.read(folders["split"] / "split.parquet")
    labels = pd.read_parquet(folders["labels"] / "pseudo_labels.parquet")
    return Material(config, facts, split, [], load_model(folders["joint"]), None, labels)


def digit_of(name):
    return int(Path(name).name.partition("-")[0])


@pytest.mark.parametrize("step", ["pseudo_label", "labels"])
def test_groups_are_of_images_found_unknown_and_mostly_of_one_class_that_nobody_labeled(step, inside, folders):
    table = pd.read_parquet(folders[step] / "pseudo_labels.parquet")
    found = read_json(folders[step] / "summary.json")["unknown"]
    grouped = table[table["group"] > 0]
    assert found["at_least"] > 0
    assert (grouped["reason"] == "unknown").all()
    sizes = grouped["group"].value_counts().sort_index()
    assert found["groups"] == sizes.tolist() == sorted(sizes, reverse=True)
    assert sizes.index.tolist() == list(range(1, len(sizes) + 1))
    most = [Counter(map(digit_of, part["id"])).most_common(1)[0] for _, part in grouped.groupby("group")]
    assert {digit for digit, _ in most} & set(UNKNOWN)
    assert sum(count for _, count in most) > 0.7 * len(grouped)
    shown = pd.read_parquet(folders[step] / "unknown_groups.parquet")
    assert shown["size"].tolist() == sizes[shown["group"]].tolist()
    with np.load(folders[step] / "unknown_groups.npz") as arrays:
        assert arrays["images"].shape == (len(shown), 1, 8, 8)


def test_a_review_asks_about_some_of_each_group_and_about_no_image_twice(inside, folders, tmp_path):
    material = material_of(folders)
    written = write_review(material, tmp_path / "out", run_id="1" * 32, budget=700, suspects=0, groups=2, force=False)
    table = pd.read_csv(tmp_path / "out" / "candidates.csv", keep_default_na=False)
    assert written.groups == 2
    assert table["id"].is_unique
    assert set(table["id"]) == set(material.split.ids("unlabeled"))
    groups = material.labels.set_index("id")["group"]
    named = table[table["section"] == NAME]
    assert (groups[named["id"]].to_numpy() == named["group"]).all()
    assert set(named["group"]) == {1, 2}
    assert (table.loc[table["section"] == LABEL, "group"] == 0).all()
    for group, part in named.groupby("group"):
        assert len(part) == min(12, (groups == group).sum())
        assert (part["reason"].str.startswith(f"{(groups == group).sum()} images look alike")).all()


def test_without_groups_nothing_is_to_be_named(inside, folders):
    material = material_of(folders)
    assert not len(to_name(material, 0))
    before = Material(material.config, material.facts, material.split, [], material.student, None)
    assert not len(to_name(before, 5))


@pytest.fixture
def no_new_folders(inside):
    """Classes that a test adds are gone after it."""
    yield
    for folder in (inside / "photos" / "labeled").iterdir():
        if folder.name not in "01234567":
            shutil.rmtree(folder)


@pytest.mark.usefixtures("no_new_folders")
def test_a_class_that_is_named_is_one_of_the_data_set_and_its_table_may_be_imported_again(inside, folders, tmp_path):
    rows = to_name(material_of(folders), 8)
    named = {name: "eight" if digit_of(name) == 8 else "nine" for name in rows["id"] if digit_of(name) > 7}
    lines = [f"{name},new,{label}" for name, label in named.items()]
    (tmp_path / "labels.csv").write_text("id,annotation,label\n" + "\n".join(lines), encoding="utf-8")
    imported = take_in(tmp_path / "labels.csv", "photos.yaml", [])
    assert {Path(at).name: count for at, count in imported.new_classes.items()} == Counter(named.values())
    assert not (inside / "unknown-annotations.csv").exists()
    forget()
    config = load_config(Path("photos.yaml"))
    pool, test = pool_of(config), images_for_test(config)
    assert pool.class_names == (*"01234567", "eight", "nine")
    learned = Counter(plan(config, pool, test.ids).labels("labeled").tolist())
    assert learned[8] > 0
    assert learned[9] > 0
    again = take_in(tmp_path / "labels.csv", "photos.yaml", [])
    assert (again.new_classes, again.counts["same"], again.total) == ({}, len(named), 0)


@pytest.mark.usefixtures("no_new_folders")
def test_a_class_of_which_nothing_could_be_learned_is_refused_and_leaves_nothing(
    inside, folders, tmp_path, monkeypatch
):
    one = to_name(material_of(folders), 1)["id"][0]
    (tmp_path / "labels.csv").write_text(f"id,annotation,label\n{one},new,eight\n", encoding="utf-8")
    before = sorted(inside.rglob("*"))

    def hopeless(config, say):
        if (inside / "photos" / "labeled" / "eight").exists():
            raise UserError("class 'eight' has nothing to learn from")
        return check(config, say)

    monkeypatch.setattr(annotating, "check", hopeless)
    with user_mistake(match="no run could use the new classes: class 'eight' has nothing .*; name more images of them"):
        take_in(tmp_path / "labels.csv", "photos.yaml", [])
    assert sorted(inside.rglob("*")) == before
