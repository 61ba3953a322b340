"""Annotations in the split stage: the same roles but for the annotated images, now and in a folder that grows."""

import numpy as np
import pandas as pd
import pytest

from semisup.data.roles.annotations import Annotation, read_annotations, write_annotations
from semisup.data.sources import load_pool
from semisup.errors import UserError
from semisup.lineage.fingerprints import effective_config, lineage_of
from semisup.pipeline.specs import SPECS
from semisup.stages.preflight.check import DataDigests, check
from semisup.system.json_files import read_json
from tests.data.corpus import put_photos
from tests.stages.own_images.test_growing_folder import split
from tests.stages.own_images.test_own_images_stages import config_for


def annotated(config, file, *annotations):
    """The config with these annotations about (id or content, label, role)."""
    rows = [Annotation(name, name, "label" if label else "discard", label, role) for name, label, role in annotations]
    write_annotations(rows, file)
    return config.model_copy(update={"data": config.data.model_copy(update={"annotations": file})})


def table_of(folder):
    return pd.read_parquet(folder / "split.parquet").set_index("id")


@pytest.fixture
def ids(tiny_config, stage_folders):
    """Role → ids, of the split without annotations."""
    table = table_of(stage_folders["split"])
    return {role: table.index[table["role"] == role].tolist() for role in table["role"].unique()}


def test_roles_and_labels_are_the_same_but_for_the_annotated_images(tiny_config, stage_folders, ids, tmp_path):
    base = table_of(stage_folders["split"])
    (joined, discarded), corrected, held = ids["unlabeled"][:2], ids["labeled"][0], ids["validation"][0]
    other = str((base["label"][corrected] + 1) % 10)
    said = [(joined, "3", "unlabeled"), (discarded, "", "unlabeled"), (corrected, other, "labeled")]
    config = annotated(tiny_config, tmp_path / "annotations.csv", *said, (held, "0", "unlabeled"))
    _, log = split(config, tmp_path / "out")
    now = table_of(tmp_path / "out")
    expected = base.drop(discarded)
    expected.loc[joined, ["label", "role"]] = [3, "labeled"]
    expected.loc[corrected, "label"] = int(other)
    pd.testing.assert_frame_equal(now, expected)
    assert {name: log.figures[f"annotations.{name}"] for name in ("joined", "corrected", "discarded", "held_out")} == {
        "joined": 1, "corrected": 1, "discarded": 1, "held_out": 1,
    }  # fmt: skip
    assert read_json(tmp_path / "out" / "annotations_applied.json") == {
        "joined": 1, "corrected": 1, "confirmed": 0, "discarded": 1, "held_out": 1, "missing": 0,
    }  # fmt: skip
    assert any("not used" in line for line in log.warnings)
    assert read_annotations(tmp_path / "out" / "annotations.csv") == read_annotations(tmp_path / "annotations.csv")


def test_without_annotations_nothing_of_them_is_in_fingerprints_or_files(tiny_config, stage_folders):
    assert "data.annotations" not in effective_config(tiny_config, SPECS["split"])
    assert DataDigests("pool", "test").seen_by(SPECS["split"]) == "pool+test"
    assert DataDigests("pool", "test").version == "pool"
    assert not (stage_folders["split"] / "annotations.csv").exists()


def test_annotations_make_another_version_of_the_data_and_another_split_whatever_their_file_is_called(
    tiny_config, ids, tmp_path
):
    def asked(config):
        digests = check(config).digests
        lineage = lineage_of(SPECS["split"], config, {}, digests.seen_by(SPECS["split"]))
        return digests.version, lineage.fingerprint

    one = (ids["unlabeled"][0], "3", "unlabeled")
    first = asked(annotated(tiny_config, tmp_path / "first.csv", one))
    assert first == asked(annotated(tiny_config, tmp_path / "second.csv", one))
    plain, more = asked(tiny_config), asked(annotated(tiny_config, tmp_path / "third.csv", one, ids_of_second(ids)))
    for place in range(2):
        assert len({first[place], plain[place], more[place]}) == 3
    for stage in ("baseline", "joint", "evaluate"):  # they see the split's table, whose digest is chained
        assert DataDigests("pool", "test", annotations="said").seen_by(SPECS[stage]) == DataDigests(
            "pool", "test"
        ).seen_by(SPECS[stage])


def ids_of_second(ids):
    return ids["unlabeled"][1], "4", "unlabeled"


def test_an_annotations_file_that_is_missing_is_told_before_anything_runs(tiny_config, tmp_path):
    data = tiny_config.data.model_copy(update={"annotations": tmp_path / "none.csv"})
    with pytest.raises(UserError, match=r"none.csv does not exist"):
        check(tiny_config.model_copy(update={"data": data}))


def test_what_people_label_is_counted_as_labeled_by_their_word(tiny_config, ids, tmp_path):
    from semisup.data.facts import DatasetFacts

    truth = load_pool("digits").labels.numpy()
    config = annotated(
        tiny_config, tmp_path / "annotations.csv", *((name, "7", "unlabeled") for name in ids["unlabeled"][:4])
    )
    split(config, tmp_path / "out")
    counts = DatasetFacts.read(tmp_path / "out").class_counts
    assert counts["labeled"] == [9 if label == 7 else 5 for label in range(10)]
    rest = table_of(tmp_path / "out").query("role == 'unlabeled'")["index"]
    assert counts["unlabeled"] == np.bincount(truth[rest], minlength=10).tolist()


def test_in_a_folder_that_grows_annotations_take_no_seat_and_held_out_images_stay_held_out(tmp_path):
    root = tmp_path / "photos"
    for number, name in enumerate(("cat", "dog")):
        put_photos(root / "train" / name, range(100 * number, 100 * number + 30))
        put_photos(root / "test" / name, range(100 * number + 50, 100 * number + 54))
    config = config_for(root)
    config = config.model_copy(
        update={"split": config.split.model_copy(update={"labeled_per_class": 5, "validation_per_class": 4})}
    )
    base, _ = split(config, tmp_path / "base")
    contents = {name.rpartition("@")[0]: name.rpartition("@")[2] for name in table_of(tmp_path / "base").index}
    unlabeled = [path for path, role in base.items() if role == "unlabeled" and "cat" in path]
    labeled = [path for path, role in base.items() if role == "labeled" and "cat" in path]
    config = annotated(
        config, tmp_path / "annotations.csv",
        *((contents[path], "cat", "unlabeled") for path in unlabeled[:8]),
        (contents[unlabeled[8]], "", "unlabeled"), (contents[labeled[0]], "", "labeled"),
    )  # fmt: skip
    with_annotations, _ = split(config, tmp_path / "annotated")
    put_photos(root / "train" / "cat", range(30, 40))
    (root / unlabeled[0]).rename(root / "train" / "cat" / "renamed.png")
    grown, _ = split(config, tmp_path / "grown", tmp_path / "annotated")
    assert grown.pop("train/cat/renamed.png") == "labeled"
    for path, role in with_annotations.items():
        if path != unlabeled[0]:
            assert grown[path] == role
    assert {unlabeled[8], labeled[0]}.isdisjoint(grown)
    assert (
        sum(role == "labeled" and "cat" in path for path, role in grown.items()) == 4 + 7
    )  # one discarded, one renamed


@pytest.mark.parametrize("said", ["cat", ""], ids=["a label for both", "left out"])
def test_equal_files_of_two_classes_are_told_of_until_people_have_said_what_they_are(tmp_path, said):
    root = tmp_path / "photos"
    for number, name in enumerate(("cat", "dog")):
        put_photos(root / "labeled" / name, range(100 * number, 100 * number + 12))
        put_photos(root / "test" / name, range(100 * number + 50, 100 * number + 54))
    put_photos(root / "labeled" / "dog", [3])  # a cat's
    put_photos(root / "unlabeled", range(300, 312))
    config = config_for(root)
    _, log = split(config, tmp_path / "before")
    (line,) = [line for line in log.warnings if "different classes" in line]
    table = pd.read_csv(tmp_path / "before" / "contradictions.csv")
    assert table["class"].tolist() == ["cat", "dog"]
    assert [path.rpartition("@")[0] in line for path in table["id"]] == [True, True]
    content = table["id"][0].rpartition("@")[2]
    _, log = split(annotated(config, tmp_path / "said.csv", (content, said, "labeled")), tmp_path / "after")
    assert not [line for line in log.warnings if "different classes" in line]
    assert not (tmp_path / "after" / "contradictions.csv").exists()


def test_a_test_image_in_another_class_than_its_copy_stays_a_contradiction(tmp_path):
    """Whatever is said of it: no annotation touches a test image."""
    root = tmp_path / "photos"
    for number, name in enumerate(("cat", "dog")):
        put_photos(root / "labeled" / name, range(100 * number, 100 * number + 12))
        put_photos(root / "test" / name, range(100 * number + 50, 100 * number + 54))
    put_photos(root / "labeled" / "dog", [50])  # a cat that is tested with
    put_photos(root / "unlabeled", range(300, 312))
    _, log = split(config_for(root), tmp_path / "out")
    assert [line for line in log.warnings if "different classes" in line]
