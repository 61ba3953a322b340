"""A new class is a folder with copies: nothing that is there changes, and where anything fails nothing is left."""

import shutil

import pytest

from semisup.config.files import validate
from semisup.data.own_images.folders.listing import list_images
from semisup.data.own_images.folders.new_classes import add_classes, takes_new_classes
from tests.data.corpus import encoded, photo
from tests.mistakes import user_mistake


@pytest.fixture
def root(tmp_path):
    """Two classes of two images each, and in unlabeled/ four images, two of them with the same name."""
    folder = tmp_path / "photos"
    names = ["labeled/cat/1.png", "labeled/cat/2.png", "labeled/dog/3.png", "labeled/dog/4.png"]
    names += ["unlabeled/5.png", "unlabeled/6.png", "unlabeled/a/7.png", "unlabeled/b/7.png"]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(photo(number), "PNG"))
    return folder


def config_of(root, **data):
    return validate(
        {
            "data": {"name": "folder", "root": root, "cache": root.parent / "cache", **data},
            "split": {"labeled_per_class": "all", "validation_per_class": 1},
        },
        source="test",
    )


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_copies_lie_in_a_folder_of_the_class_and_all_else_is_as_it_was(root):
    before = tree(root)
    new = {"newt": ["unlabeled/5.png", "unlabeled/a/7.png", "unlabeled/b/7.png"], "red eft": ["unlabeled/6.png"]}
    result = add_classes(config_of(root), new, ("cat", "dog"))
    assert result.images == {root / "labeled" / "newt": 3, root / "labeled" / "red eft": 1}
    after = tree(root)
    assert {name: after[name] for name in before} == before
    added = {name: content for name, content in after.items() if name not in before}
    assert {name: added[name] for name in sorted(added)} == {
        "labeled/newt/5.png": before["unlabeled/5.png"],
        "labeled/newt/7-2.png": before["unlabeled/b/7.png"],
        "labeled/newt/7.png": before["unlabeled/a/7.png"],
        "labeled/red eft/6.png": before["unlabeled/6.png"],
    }
    assert list_images(root).class_names == ("cat", "dog", "newt", "red eft")
    (root / "labeled" / "newt" / "mine.txt").write_text("keep this")
    result.take_back()
    assert tree(root) == before | {"labeled/newt/mine.txt": b"keep this"}
    assert not (root / "labeled" / "red eft").exists()


@pytest.mark.parametrize(
    ("new", "why"),
    [
        ({"a/b": ["unlabeled/5.png"]}, "the new class 'a/b' is no name of a folder"),
        ({".hidden": ["unlabeled/5.png"]}, "'.hidden' is no name of a folder"),
        ({"..": ["unlabeled/5.png"]}, "'..' is no name of a folder"),
        ({"n" * 300: ["unlabeled/5.png"]}, "nnn…' is no name of a folder"),
        ({"notes": ["unlabeled/5.png"]}, "labeled/notes is a file; give the new class another name"),
        ({"Test set": ["unlabeled/5.png"]}, "'Test set' is the name of a role"),
        ({"Cat": ["unlabeled/5.png"]}, "'Cat' and 'cat' differ by case"),
        ({"newt": ["labeled/cat/1.png"]}, "lies in the folder of a class already"),
        ({"eft": ["unlabeled/5.png"], "newt": ["unlabeled/6.png", "unlabeled/gone.png"]}, "cannot be copied"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(root, new, why):
    (root / "labeled" / "notes").write_text("a file of somebody's")
    before = tree(root)
    with user_mistake(match=why):
        add_classes(config_of(root), new, ("cat", "dog"))
    assert tree(root) == before
    assert sorted(path.name for path in (root / "labeled").iterdir()) == ["cat", "dog", "notes"]


def test_a_disk_that_fills_up_leaves_nothing(root, monkeypatch):
    before, copied = tree(root), []

    def full(source, target):
        if copied:
            raise OSError(28, "No space left on device")
        copied.append(target.write_bytes(source.read_bytes()))

    monkeypatch.setattr(shutil, "copyfile", full)
    with user_mistake(match="No space left on device; mend that"):
        add_classes(config_of(root), {"newt": ["unlabeled/5.png", "unlabeled/6.png"]}, ("cat", "dog"))
    assert tree(root) == before
    assert copied


def test_a_class_is_taken_where_unlabeled_images_lie_apart_from_those_of_classes(root, tmp_path):
    assert takes_new_classes(config_of(root))
    assert not takes_new_classes(validate({}, source="test"))
    assert not takes_new_classes(config_of(tmp_path / "none"))
    flat = tmp_path / "flat"
    shutil.copytree(root / "labeled", flat)
    assert not takes_new_classes(config_of(flat))
    with user_mistake(match="lies in the folder of a class already"):
        add_classes(config_of(flat), {"newt": ["cat/1.png"]}, ("cat", "dog"))
    (tmp_path / "labels.csv").write_text("path,label\nphotos/labeled/cat/1.png,cat\n")
    listed = config_of(root, manifest=tmp_path / "labels.csv")
    assert not takes_new_classes(listed)
    with user_mistake(match="a class can only be added to a folder of image files"):
        add_classes(listed, {"newt": ["unlabeled/5.png"]}, ("cat", "dog"))
