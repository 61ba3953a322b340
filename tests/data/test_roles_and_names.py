"""Folders and tables as people name them: roles in any case, classes that are one, rows that say two things."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from semisup.config import DataConfig
from semisup.config.sources import SOURCES
from semisup.data.datasets import UNLABELED
from semisup.data.own_images import forget, survey
from semisup.data.own_images.folders import tree as tree_module
from semisup.data.own_images.folders.class_names import look_alikes
from semisup.data.own_images.folders.listing import list_images
from semisup.data.own_images.folders.roles import role_of
from semisup.data.own_images.reading.decode import HEIF_EXTENSIONS
from semisup.data.roles.few_tests import FEWEST, IN_CONTAINERS, few_test_images
from semisup.errors import UserError
from semisup.evaluation.scores import accuracy_interval
from tests.data.corpus import encoded, photo, put, put_photos
from tests.mistakes import user_mistake

PUBLISHED = ("digits", "mnist", "cifar10")
CALLED_TEST = ("webdataset", "parquet", "arrays", "coco")
NAMES_OF_ROLES = {
    "": ["Train", "TRAINING", "train_set", "training images", "Labelled", "labeled"],
    "unlabeled": ["Unlabelled", "UNLABELED", "unlabeled-images"],
    "validation": ["VALID", "val", "Validation", "dev", "Val Set"],
    "test": ["Test", "Testing", "TEST", "testset", "test_data"],
}


@pytest.mark.parametrize(("role", "name"), [(role, name) for role, names in NAMES_OF_ROLES.items() for name in names])
def test_a_role_may_be_written_in_any_case_and_with_its_synonyms(role, name):
    assert role_of(name) == role
    assert role_of(f"{name} ") == role


@pytest.mark.parametrize("name", ["cat", "contest", "trainer", "attest", "validated", "data", "set", "images", "", "…"])
def test_other_words_are_no_roles(name):
    assert role_of(name) is None


@pytest.mark.parametrize("test", NAMES_OF_ROLES["test"])
@pytest.mark.parametrize("train", NAMES_OF_ROLES[""])
def test_what_lies_in_a_folder_for_tests_is_never_learned_from(tmp_path, train, test):
    for place in (train, test):
        for name in ("cat", "dog"):
            put(tmp_path / place / name / "1.png", b"x")
    listing = list_images(tmp_path)
    assert listing.class_names == ("cat", "dog")
    assert {path.split("/")[0]: role for path, role in zip(listing.paths, listing.roles, strict=True)} == {
        train: "",
        test: "test",
    }


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["seg_train/cat/1.png", "seg_test/dog/1.png"], ["'seg_test', 'seg_train'", "look like roles"]),
        (["train/train/cat/1.png", "train/Test/cat/1.png"], ["'Test', 'train'", "look like roles"]),
        (["photos/cat/1.png", "photos/dog/1.png"], ["only one class, 'photos'"]),
        (["cat/1.png", "dog/1.png", "test/cat/2.png"], ["'test' says a role, but 'cat', 'dog'", "labeled/"]),
        (["cat/train/1.png", "cat/Test/2.png", "dog/1.png"], ["'cat/Test'", "'Test', below that of a class"]),
        (["labeled/cat/val/1.png", "labeled/dog/1.png"], ["'labeled/cat/val'", "first, as in val/<class>/"]),
        (["bus/1.png", "train/1.png"], ["no image files", "images in train/ itself", "'bus'"]),
    ],
)
def test_folders_that_could_be_read_in_two_ways_are_refused_in_one_line(tmp_path, files, words):
    for file in files:
        put(tmp_path / file, b"x")
    with user_mistake() as raised:
        list_images(tmp_path)
    assert all(word in str(raised.value) for word in words), str(raised.value)


def test_a_class_may_be_called_like_a_role_beside_others_and_unlabeled_images_may_lie_anywhere(tmp_path):
    for file in ("labeled/train/1.png", "labeled/bus/1.png", "unlabeled/test/val/1.png"):
        put(tmp_path / file, b"x")
    assert list_images(tmp_path).class_names == ("bus", "train")


def test_folders_beside_the_roles_are_passed_over_and_said(tmp_path):
    for file in ("Train/cat/1.png", "Train/dog/1.png", "extra/cat/2.png"):
        put(tmp_path / file, b"x")
    listing = list_images(tmp_path)
    assert len(listing) == 2
    assert listing.notes == ("passed over 1 folders that are named like no role: 'extra'",)


def test_files_whose_names_are_no_text_are_passed_over_and_said(tmp_path):
    for file in ("labeled/cat/1.png", "labeled/cat/\udcff.png", "labeled/dog/a\nb.png", "unlabeled/\udcfe/1.png"):
        put(tmp_path / file, b"x")
    listing = list_images(tmp_path)
    assert listing.paths == ["labeled/cat/1.png", "labeled/dog/a\nb.png"]
    assert listing.notes == ("passed over 2 files whose names are no UTF-8; rename them to have them used",)


# --- classes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a\x00b", "a\tb", "a\nb", "\udcff"])
def test_a_class_whose_name_is_no_text_is_refused(tmp_path, name):
    put(tmp_path / "a.png", b"x")
    manifest = None
    if name == "\udcff":  # as the system gives a folder whose name is no UTF-8
        put(tmp_path / "cat" / "1.png", b"x")
        put(tmp_path / name / "1.png", b"x")
    else:
        manifest = tmp_path / "m.parquet"
        pd.DataFrame({"path": ["a.png", "b.png"], "label": ["cat", name]}).to_parquet(manifest)
    with pytest.raises(UserError, match="no text"):
        list_images(tmp_path, manifest)


def test_blanks_around_the_name_of_a_folder_make_no_class_of_its_own(tmp_path):
    for file in ("cat/1.png", "cat /2.png", " dog/1.png"):
        put(tmp_path / file, b"x")
    listing = list_images(tmp_path)
    assert listing.class_names == ("cat", "dog")
    assert sorted(zip(listing.paths, listing.labels.tolist(), strict=True)) == [
        (" dog/1.png", 1),
        ("cat /2.png", 0),
        ("cat/1.png", 0),
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ant", "ants"),
        ("cherry", "cherries"),
        ("box", "boxes"),
        ("ice cream", "ice_cream"),
        ("ice-cream", "icecream"),
        ("elephant", "elepant"),
        ("strawberry", "strawbery"),
        ("garden spider", "graden spider"),
        ("maple leaf", "maple leafs"),
    ],
)
def test_names_that_look_alike_are_a_pair(first, second):
    assert look_alikes(["zebra", second, first, "whale"]) == [tuple(sorted([first, second]))]


@pytest.mark.parametrize(
    "names",
    [["cat", "car", "bat"], ["1", "2", "12"], ["class 01", "class 02"], ["bus", "bud"], ["typea", "typeb", "typec"]],
)
def test_short_words_numbers_and_series_look_like_no_others(names):
    assert look_alikes(names) == []


def edits(one: str, other: str) -> int:
    """Damerau's distance with adjacent swaps, by its recurrence."""
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (a != b)))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                row[-1] = min(row[-1], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]


@given(st.lists(st.text("abs", min_size=4, max_size=7), unique=True, min_size=2, max_size=8))
@settings(deadline=None, max_examples=200)
def test_words_of_a_single_edit_are_exactly_those_that_look_alike_but_for_plurals(words):
    found = set(look_alikes(words))
    ordered = sorted(words)
    for place, first in enumerate(ordered):
        for second in ordered[place + 1 :]:
            near = [word for word in words if {edits(word, first), edits(word, second)} <= {0, 1}]
            if edits(first, second) == 1:
                assert (first, second) in found or len(near) > 2  # three may be a series
            elif (first, second) in found:
                assert first.endswith("s") or second.endswith("s")


def test_ten_thousand_names_are_compared():
    names = [f"{chr(97 + n % 26)}{n * 7919 % 10007:05d} kind" for n in range(10_000)]
    assert look_alikes([*names, "unlike", "unlikes"]) == [("unlike", "unlikes")]


def test_init_names_classes_that_look_alike_with_their_counts(tmp_path):
    for name, seeds in {"ant": range(8), "ants": range(10, 13), "bee": range(20, 26)}.items():
        put_photos(tmp_path / "photos" / "labeled" / name, seeds, side=8)
    put_photos(tmp_path / "photos" / "test" / "bee", range(30, 32), side=8)
    forget()
    warnings = survey(tmp_path / "photos", None, tmp_path / "cache", lambda *_: None).warnings()
    forget()
    assert any("'ant' (8 images) and 'ants' (3)" in line for line in warnings)


def test_the_same_file_under_two_classes_is_named_as_a_contradiction(tmp_path):
    put_photos(tmp_path / "photos" / "labeled" / "cat", range(4), side=8)
    put_photos(tmp_path / "photos" / "labeled" / "dog", range(10, 14), side=8)
    put_photos(tmp_path / "photos" / "test" / "dog", range(20, 22), side=8)
    for place in ("labeled/dog/cat.png", "labeled/cat/again.png", "unlabeled/cat.png"):
        put(tmp_path / "photos" / place, encoded(photo(2, 8, 8), "PNG"))
    forget()
    warnings = survey(tmp_path / "photos", None, tmp_path / "cache", lambda *_: None).warnings()
    forget()
    (line,) = [line for line in warnings if "same" in line]
    assert "'labeled/cat/0002.png' (cat) and 'labeled/dog/cat.png' (dog) are the same" in line


# --- classes with few test images -------------------------------------------------------------------------------------


def test_the_limit_is_the_least_number_of_images_that_can_show_more_than_half_to_be_right():
    assert accuracy_interval(FEWEST - 1, FEWEST - 1).low < 0.5 < accuracy_interval(FEWEST, FEWEST).low


@pytest.mark.parametrize(
    ("tested", "said"),
    [
        ({"cat": FEWEST, "dog": 100}, []),
        ({"cat": FEWEST, "dog": 1}, ["1 class has fewer than 6 test images, 'dog' (1): "]),
        (
            {"cat": 5, "dog": 1, "emu": 0},
            ["no test image is of class 'emu'; ", "2 classes have", "'cat' (5), 'dog' (1)"],
        ),
        (dict.fromkeys("abcde", 2), ["5 classes have", "'a' (2), 'b' (2), 'c' (2) and 2 more: "]),
    ],
    ids=["enough", "one class", "few and none", "many classes"],
)
def test_classes_with_few_test_images_are_named_with_their_number(tested, said):
    lines = few_test_images(tested, DataConfig(name="folder", root=Path("photos")))
    assert bool(lines) == bool(said)
    assert all(any(part in line for line in lines) for part in said)


@pytest.mark.parametrize(
    ("data", "says", "not_said"),
    [
        ({"name": "folder", "root": "photos"}, ["test/<class>/", "data.test_share (now 0.2)"], []),
        ({"name": "folder", "manifest": "a.csv"}, ["rows", "role test", "data.test_share"], ["<class>"]),
        *(({"name": name, "root": "x"}, ["called test", "data.test_share"], ["<class>"]) for name in CALLED_TEST),
        (
            {"name": "fiftyone", "root": "x", "test_share": 0.3},
            ["raise data.test_share (now 0.3)"],
            ["<class>", "put "],
        ),
        *(({"name": name}, [f"data.name='{name}'"], ["<class>", "test_share", "put "]) for name in PUBLISHED),
    ],
)
def test_who_has_few_test_images_is_told_what_gives_more_of_them_there(data, says, not_said):
    for line in few_test_images({"cat": 0, "dog": 1}, DataConfig.model_validate(data)):
        way_out = line.rpartition("; ")[2]
        assert all(part in way_out for part in says)
        assert not any(part in line for part in not_said)


def test_every_source_of_ones_own_images_says_how_it_names_test_images():
    own = {name for name in SOURCES.own if SOURCES[name].own_images}
    assert own == {"folder", *IN_CONTAINERS}


# --- tables -----------------------------------------------------------------------------------------------------------


def listed(folder: Path, text: str):
    put(folder / "a.png", b"x")
    put(folder / "m.csv", text.encode())
    return list_images(None, folder / "m.csv")


def test_blanks_around_labels_and_roles_mean_nothing_and_a_blank_label_is_none(tmp_path):
    listing = listed(tmp_path, "path, label,role\na.png, cat ,\nb.png,cat, Train\nc.png,dog\t,TESTING\nd.png,  ,\n")
    assert listing.class_names == ("cat", "dog")
    assert listing.labels.tolist() == [0, 0, 1, UNLABELED]
    assert list(listing.roles) == ["", "", "test", "unlabeled"]


@given(
    labels=st.lists(st.integers(-5, 30) | st.none(), min_size=3, max_size=12).filter(
        lambda labels: len({label for label in labels if label is not None}) > 1
    )
)
@example(labels=[0, 1, None])
@settings(deadline=None, max_examples=25)
def test_whole_numbers_are_the_same_classes_in_parquet_and_csv_with_and_without_gaps(labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    put(folder / "0.png", b"x")
    table = pd.DataFrame({"path": [f"{n}.png" for n in range(len(labels))], "label": pd.Series(labels, dtype=float)})
    table.to_parquet(folder / "m.parquet")
    table.to_csv(folder / "m.csv", index=False)
    expected = tuple(sorted({str(label) for label in labels if label is not None}))
    for name in ("m.parquet", "m.csv"):
        assert list_images(None, folder / name).class_names == expected


def test_numbers_that_are_not_whole_stay_as_they_are(tmp_path):
    assert listed(tmp_path, "path,label\na.png,1.0\nb.png,1.5\n").class_names == ("1.0", "1.5")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label,label\na.png,cat,dog\nb.png,dog,dog\n", "two columns 'label'"),
        ("path,label, label\na.png,cat,dog\nb.png,dog,dog\n", "two columns 'label'"),
        ("path,label\na.png,cat,\nb.png,dog,\n", "line 2 has 3 fields, but the header 2; take away a comma at the end"),
        ("path,label\na,b.png,cat\n", "quotes around a field"),
        ("path;label\na.png;cat\n", "save it with commas"),
        ("path,label\ncat\\a.png,cat\nb.png,dog\n", r"'cat\\\\a.png' has backslashes.*write slashes"),
        ("path,label\nx/a.png,cat\ny/b.png,dog\n", "none of its 2 files, such as 'x/a.png', is in"),
        ("path,label\na.png,cat\n  ,dog\n", "row without a path"),
        ("path,label\na.png,cat\nb.png,cat\n", "only one class, 'cat'"),
        ("path,label\na.png,train\nb.png,test\n", "look like roles"),
        ("path,label\na.png,cat\na.png,dog\n", "'a.png' that it is 'cat' and 'dog'; keep one row"),
    ],
)
def test_a_message_says_what_is_wrong_with_the_table(tmp_path, text, words):
    with user_mistake(match=words):
        listed(tmp_path, text)


def test_two_label_columns_are_refused_in_parquet_as_well_and_so_are_values_that_are_no_text(tmp_path):
    columns = [pa.array(["a.png"]), pa.array(["cat"]), pa.array(["dog"])]
    pq.write_table(pa.table(columns, names=["path", "label", "label"]), tmp_path / "m.parquet")
    with pytest.raises(UserError, match="two columns 'label'"):
        list_images(None, tmp_path / "m.parquet")
    pq.write_table(pa.table({"path": ["a.png"], "label": [b"cat"]}), tmp_path / "m.parquet")
    with pytest.raises(UserError, match="holds values of type bytes"):
        list_images(None, tmp_path / "m.parquet")


def test_a_table_in_another_encoding_is_told_so(tmp_path):
    put(tmp_path / "m.csv", "path,label\nä.png,Käfer\n".encode("cp1252"))
    with pytest.raises(UserError, match="UTF-8"):
        list_images(None, tmp_path / "m.csv")


def test_a_file_name_may_hold_a_backslash_where_there_is_such_a_file(tmp_path):
    put(tmp_path / "a\\b.png", b"x")
    assert listed(tmp_path, "path,label\na\\b.png,cat\na.png,dog\n").paths == ["a.png", "a\\b.png"]


def test_heic_without_its_reader_is_counted_with_the_line_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tree_module, "PERHAPS_IMAGES", tree_module.PERHAPS_IMAGES - HEIF_EXTENSIONS)
    put_photos(tmp_path / "cat", range(2))
    put_photos(tmp_path / "dog", range(2, 4))
    put(tmp_path / "cat" / "IMG_1.HEIC", b"\x00\x00\x00\x1cftypheic")
    (note,) = list_images(tmp_path).notes
    assert note == "passed over 1 HEIC files, which are read after pip install 'semisup[heif]'"
