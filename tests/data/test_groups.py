"""Groups of images that belong together: which they are, and that none is where it must not be known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup.data.datasets import UNLABELED
from semisup.data.own_images.folders.units import units_of
from semisup.data.roles.growing import draw_by_content
from semisup.data.roles.known_roles import KnownRoles, column, contents_of
from semisup.data.roles.split import REMOVED
from semisup.errors import UserError

PATHS = ["labeled/cat/ann/1.png", "labeled/dog/ann/2.png", "labeled/dog/bob/x_1.png", "unlabeled/ann/3.png"]
LABELS = np.array([0, 1, 1, UNLABELED])


def of(group, paths=PATHS, labels=LABELS, root=None, manifest=None):
    return [name.removeprefix("group ") for name in units_of(group, paths, labels, root, manifest)]


@pytest.mark.parametrize("group", ["{patient}/…", "{patient}/", "{patient}/*.png", "{p}/**"])
def test_a_pattern_begins_below_the_folders_of_role_and_class(group):
    assert of(group) == ["ann", "ann", "bob", "ann"]


@pytest.mark.parametrize(
    ("group", "paths", "expected"),
    [
        ("{video}_", ["cat/v1_001.png", "cat/v1_002.png", "dog/v.2_1.png"], ["v1", "v1", "v.2"]),
        ("*/{scene}/", ["cat/day/s1/a.png", "cat/night/s1/b.png", "dog/day/s2/c/d.png"], ["s1", "s1", "s2"]),
        ("frame-{name}", ["cat/frame-7.png", "cat/frame-7.png", "dog/frame-8.png"], ["7.png", "7.png", "8.png"]),
        ("…-{day}.", ["cat/a/b-1.png", "cat/c-1.png", "dog/d-e-2.png"], ["1", "1", "2"]),
    ],
)
def test_stars_stand_for_anything_within_a_name_and_dots_for_anything(group, paths, expected):
    assert of(group, paths, np.array([0, 0, 1])) == expected


def test_a_column_names_the_groups_and_without_an_entry_an_image_is_alone(tmp_path):
    manifest = tmp_path / "images.csv"
    manifest.write_text("path,label,patient\na.png,cat,7\n./b.png,dog,7\nc.png,,\nd.png,dog,8\n")
    found = units_of("patient", ["a.png", "b.png", "c.png", "d.png"], np.array([0, 1, -1, 1]), None, manifest)
    assert found == ["group 7", "group 7", "path c.png", "group 8"]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("{video}_", r"data.group='\{video\}_' does not fit 4 of 4 paths below .*, such as 'ann"),
        ("patient", "names a column, but data.manifest is unset; name a manifest, or use a pattern"),
        ("{a}/{b}/", r"is no pattern; write one name in braces, such as '\{patient\}/…'"),
        ("}patient{", "is no pattern"),
    ],
)
def test_what_names_no_group_is_one_line(group, message):
    with pytest.raises(UserError, match=message):
        of(group)


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    manifest = tmp_path / "images.csv"
    manifest.write_text("path,label,person\na.png,cat,7\n")
    with pytest.raises(UserError, match=r"data.group has no column 'patient', only 'person'"):
        units_of("patient", ["a.png"], np.array([0]), None, manifest)


def draw(labels, units, *, labeled=4, validation=3, calibration=0, seed=0, before=None):
    contents = contents_of([f"{number:012x}" for number in range(len(labels))])
    return draw_by_content(
        labels,
        ("cat", "dog"),
        contents,
        labeled_per_class=None if labeled is None else [labeled] * 2,
        validation_per_class=validation,
        calibration_images=calibration,
        seed=seed,
        given=np.full(len(labels), "", dtype=object),
        before=KnownRoles.none() if before is None else before,
        units=units,
    )


@given(
    size=st.integers(1, 4),
    labeled=st.integers(1, 6) | st.none(),
    calibration=st.integers(0, 8),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=60)
def test_no_group_with_labels_is_in_two_roles_that_must_not_know_each_other(size, labeled, calibration, seed):
    rng = np.random.default_rng(seed)
    labels = np.append(rng.permutation(np.tile([0, 1], 40)), [UNLABELED] * 3)
    units = [f"unit {number // size}" for number in range(80)] + ["unit 90"] * 3
    roles = draw(labels, units, labeled=labeled, calibration=calibration, seed=seed)
    where = {unit: set(roles[[unit == other for other in units]]) for unit in set(units)}
    for found in where.values():
        assert found <= {"labeled", "unlabeled"} or len(found) == 1
    for label in (0, 1):
        assert (roles[labels == label] == "validation").sum() >= 3
        if labeled is not None:
            assert (roles[labels == label] == "labeled").sum() == labeled
    assert calibration <= (roles == "calibration").sum() <= calibration + (size - 1 if calibration else 0)


def test_an_image_that_is_added_to_a_group_that_validates_validates_as_well():
    labels, units = np.tile([0, 1], 20), [f"unit {number // 4}" for number in range(40)]
    roles = draw(labels, units)
    validating = int(np.flatnonzero(roles == "validation")[0])
    known = KnownRoles.of(column([f"{number:012x}" for number in range(40)]), roles)
    later = draw(np.append(labels, 0), [*units, units[validating]], before=known)
    assert later[-1] == "validation"
    assert (later[:40] == roles).all()


def test_without_groups_the_same_images_have_the_same_roles_as_where_each_is_alone():
    labels = np.tile([0, 1], 20)
    contents = [f"{number:012x}" for number in range(40)]
    np.testing.assert_array_equal(draw(labels, None, calibration=5), draw(labels, contents, calibration=5))


# --- a folder ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def photographed(tmp_path):
    """Twenty people, each photographed as cat and as dog, twice; and without a label."""
    from tests.data.corpus import put_photos

    root, seed = tmp_path / "photos", 0
    for person in range(20):
        for place in (f"labeled/cat/{person}", f"labeled/dog/{person}", f"unlabeled/{person}"):
            put_photos(root / place, range(seed, seed + 2), side=16)
            seed += 2
    return root


def split_of(root, tmp_path, **more):
    from semisup.config import PipelineConfig
    from semisup.data.own_images import forget
    from semisup.pipeline.log import Silence
    from semisup.pipeline.specs import load_stage

    forget()
    data = {"name": "folder", "root": str(root), "size": 16, "cache": str(tmp_path / "cache"), "group": "{person}/…"}
    split = {"labeled_per_class": 5, "validation_per_class": 4, "calibration_images": 20}
    values = {"data": data | more, "split": split, "calibrate": {"method": "temperature"}}
    config = PipelineConfig.model_validate(values)
    out = tmp_path / "split"
    out.mkdir()
    load_stage("split")(config, {}, out, Silence())
    table = pd.read_parquet(out / "split.parquet")
    forget()
    return table.assign(person=table["id"].str.extract(r"/(\d+)/[^/]+@")[0]), out


@pytest.mark.parametrize("named_test", [False, True])
def test_nobody_in_a_folder_is_in_two_of_test_validation_calibration_and_training(named_test, photographed, tmp_path):
    if named_test:  # as people put them: a person may be in two folders
        for person in (0, 1):
            there = photographed / "test" / "cat" / str(person)
            there.parent.mkdir(parents=True, exist_ok=True)
            (photographed / "labeled" / "cat" / str(person)).rename(there)
    table, out = split_of(photographed, tmp_path)
    held = table["role"].replace({"labeled": "training", "unlabeled": "training"})
    assert set(held) == {"test", "validation", "calibration", "training"}
    assert (held.groupby(table["person"]).nunique() == 1).all()
    removed = pd.read_csv(out / "same_group.csv")
    assert len(removed) == 120 - len(table)
    assert len(removed) > 0
    assert set(removed["group_with_role"]) <= {"test", "validation", "calibration"}
    if named_test:
        assert set(table.loc[held == "test", "person"]) == {"0", "1"}
    assert REMOVED not in set(table["role"])


def test_a_changed_group_is_another_data_set(photographed, tmp_path):
    from semisup.config import DataConfig
    from semisup.data.datasets import digest
    from semisup.data.own_images import forget, own_images

    digests = []
    for group in (None, "{person}/…", "{person}"):
        forget()
        values = {"name": "folder", "root": photographed, "size": 16, "cache": tmp_path / "cache", "group": group}
        digests.append(digest(own_images(DataConfig.model_validate(values)).pool))
    forget()
    assert digests[0] != digests[1] == digests[2]


def test_other_groups_of_the_same_pixels_have_the_same_features(photographed, tmp_path):
    from semisup.config import DataConfig
    from semisup.data.datasets import digest
    from semisup.data.own_images import forget, own_images
    from semisup.networks.models import build_model
    from semisup.stages.support.features import features_key

    (photographed / "test").mkdir()  # named, or the groups would decide which pixels are tested
    for label in ("cat", "dog"):
        (photographed / "test" / label).mkdir()
        (photographed / "labeled" / label / "0").rename(photographed / "test" / label / "0")
    model = build_model("small_cnn", (3, 16, 16), 2, mean=[0.5] * 3, std=[0.5] * 3, seed=0)
    keys, digests = set(), set()
    for group in (None, "{person}/…", "…/{image}"):
        forget()
        values = {"name": "folder", "root": photographed, "size": 16, "cache": tmp_path / "cache", "group": group}
        pool = own_images(DataConfig.model_validate(values)).pool
        keys.add(features_key(model, pool, "pool"))
        digests.add(digest(pool))
    forget()
    assert (len(keys), len(digests)) == (1, 3)


# --- labels that are held out -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_alike(stage_runner, tmp_path_factory):
    """(config, folders of the stages) of 24 groups of 5 alike, whose features say who it is and no more."""
    from semisup.config import PipelineConfig
    from semisup.data.own_images import forget
    from tests.data.corpus import put_photos

    folder = tmp_path_factory.mktemp("alike")
    rng, vectors = np.random.default_rng(0), {}
    for number in range(24 * 5 + 8 * 2 + 10):  # labeled images, and those of test and pool, of groups of their own
        group = number // 5
        where = f"labeled/{'dog' if group % 2 else 'cat'}/{group}"
        if number >= 120:
            group = number - 96
            where = f"test/{'dog' if group % 2 else 'cat'}/{group}" if number < 136 else f"unlabeled/{group}"
        put_photos(folder / "photos" / where, range(number, number + 1), side=16)
        vectors[f"{where}/{number:04d}.png"] = 5 * np.eye(50)[group] + rng.normal(0, 0.1, 50)
    table = pd.DataFrame({"path": list(vectors), "vector": [row.astype(np.float32) for row in vectors.values()]})
    table.to_parquet(folder / "vectors.parquet")
    values = {
        "recipe": "graph",
        "data": {
            "name": "folder",
            "root": folder / "photos",
            "size": 16,
            "cache": folder / "cache",
            "features": folder / "vectors.parquet",
            "duplicates": "ignore",
            "group": "{person}/…",
        },
        "split": {"labeled_per_class": "all"},
        "runtime": {"device": "cpu", "threads": 1},
        "promote": {"enabled": False},
    }
    forget()
    config = PipelineConfig.model_validate(values)
    yield config, stage_runner(config, folder / "stages")
    forget()


def test_what_labels_are_worth_is_held_out_by_group_with_half_of_them_as_with_most(of_alike):
    import json

    _, folders = of_alike
    worth = json.loads((folders["evaluate"] / "metrics.json").read_text(encoding="utf-8"))["labels_worth"]
    assert worth["images"] == 120
    assert max(worth["half"], worth["most"]) < 0.7, "of a group that is not known, nothing is known: 1 in 2 is chance"


def test_nobody_vouches_for_the_label_of_an_image_of_the_same_group(of_alike):
    from semisup.data.facts import DatasetFacts
    from semisup.data.roles.split import Split
    from semisup.delivery.page.candidates import Material, to_check
    from semisup.pseudo_labels import TABLE_FILE
    from semisup.stages.support.models.saved import load_model

    config, folders = of_alike
    split, facts = Split.read(folders["split"] / "split.parquet"), DatasetFacts.read(folders["split"])
    learned_from = [pd.read_parquet(folders["pseudo_label"] / TABLE_FILE)]
    found = to_check(Material(config, facts, split, learned_from, load_model(folders["joint"]), None), 10)
    assert isinstance(found, str), "without the others of its group a model knows too little"
    assert "knows too little" in found
