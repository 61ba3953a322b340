"""One's own folder becomes a pool and test images: roles by place, every file decoded once, the broken ones listed."""

import os
import shutil
import threading
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock

from semisup.config import DataConfig
from semisup.data.datasets import UNLABELED, digest
from semisup.data.own_images import forget, own_images
from semisup.data.own_images.decoded import building
from semisup.data.own_images.folders.listing import list_images
from semisup.data.own_images.images import share_in_test
from semisup.data.own_images.reading.decode import Target, decode
from semisup.data.own_images.reading.threads import worked_ahead
from semisup.errors import UserError
from tests.data.corpus import broken_files, encoded, photo, put, put_photos, three_colors
from tests.mistakes import user_mistake


@pytest.fixture
def open_folder(tmp_path):
    """Opens a folder as a new process would, with a cache of the test's own; keys of `data` may be added."""

    def opened(root=tmp_path / "photos", **keys):
        forget()
        values = {"name": "folder", "root": root, "size": 16, "cache": tmp_path / "cache"} | keys
        return own_images(DataConfig.model_validate(values))

    yield opened
    forget()


@pytest.fixture
def decoded(monkeypatch):
    """The contents that were decoded, one after the other."""
    contents = []

    def counting(content, target):
        contents.append(content)
        return decode(content, target)

    monkeypatch.setattr(building, "decode", counting)
    return contents


def age(root: Path) -> None:
    """As if the files had been there for an hour: what has just been written is not trusted to stay."""
    for file in root.rglob("*"):
        if file.is_file():
            stat = file.stat()
            os.utime(file, (stat.st_atime - 3600, stat.st_mtime - 3600))


def names(images) -> list[str]:
    """The paths in the ids."""
    return [name.rpartition("@")[0] for name in images.ids]


# --- which files, of which class, in which role -----------------------------------------------------------------------


def test_folders_say_class_and_role(tmp_path):
    root = tmp_path / "photos"
    for place in ("labeled/cat", "labeled/dog", "unlabeled/a/b", "unlabeled", "validation/cat", "test/dog"):
        put(root / place / "1.png", b"x")
    listing = list_images(root)
    assert listing.class_names == ("cat", "dog")
    assert dict(zip(listing.paths, zip(listing.labels.tolist(), listing.roles, strict=True), strict=True)) == {
        "labeled/cat/1.png": (0, ""),
        "labeled/dog/1.png": (1, ""),
        "test/dog/1.png": (1, "test"),
        "unlabeled/1.png": (UNLABELED, "unlabeled"),
        "unlabeled/a/b/1.png": (UNLABELED, "unlabeled"),
        "validation/cat/1.png": (0, "validation"),
    }


@pytest.mark.parametrize("above", ["train/", ""])
def test_class_folders_below_train_or_the_root_itself_will_do(tmp_path, above):
    for name in ("cat", "dog"):
        put(tmp_path / above / name / "deep" / "1.png", b"x")
    listing = list_images(tmp_path)
    assert listing.paths == [f"{above}cat/deep/1.png", f"{above}dog/deep/1.png"]
    assert listing.labels.tolist() == [0, 1]


def test_extensions_may_be_written_in_any_case_and_other_files_are_passed_over(tmp_path):
    for name in ("a.JPG", "b.Png", "c.jpeg", "d", ".hidden.png", "notes.txt", "Thumbs.db"):
        put(tmp_path / "train" / "x" / name, b"x")
    put(tmp_path / "train" / "y" / "1.png", b"x")
    listing = list_images(tmp_path)
    assert listing.paths == ["train/x/a.JPG", "train/x/b.Png", "train/x/c.jpeg", "train/x/d", "train/y/1.png"]
    assert listing.notes == ("passed over 2 files with other extensions",)


def test_names_may_be_in_any_script(tmp_path, open_folder):
    classes = ["猫", "собака", "ทะเล", "dög", "a b'c\"d,e", "🙂"]
    for seed, name in enumerate(classes):
        put_photos(tmp_path / "photos" / "train" / name, range(10 * seed, 10 * seed + 5))
    own = open_folder(test_share=0.2)
    assert set(own.pool.class_names) == set(classes)
    for name, label in zip(names(own.pool), own.pool.labels.tolist(), strict=True):
        assert name.split("/")[1] == own.pool.class_names[label]


def test_symbolic_links_are_not_followed_out_of_the_root_nor_in_circles(tmp_path):
    root, outside = tmp_path / "photos", tmp_path / "private"
    put(outside / "secret.png", b"x")
    put(root / "train" / "x" / "1.png", b"x")
    put(root / "train" / "y" / "1.png", b"x")
    (root / "train" / "x" / "file.png").symlink_to(outside / "secret.png")
    (root / "train" / "x" / "folder").symlink_to(outside)
    (root / "train" / "x" / "circle").symlink_to(root / "train")
    (root / "train" / "x" / "inside.png").symlink_to(root / "train" / "x" / "1.png")
    listing = list_images(root)
    assert listing.paths == ["train/x/1.png", "train/x/inside.png", "train/y/1.png"]
    assert "passed over 2 symbolic links that lead out of the root or nowhere" in listing.notes


@pytest.mark.parametrize(
    ("first", "second"), [("Cat", "cat"), (unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é"))]
)
def test_two_classes_that_look_the_same_are_refused(tmp_path, first, second):
    for name in (first, second):
        put(tmp_path / "train" / name / "1.png", b"x")
    with pytest.raises(UserError, match="differ by case"):
        list_images(tmp_path)


def test_a_class_without_images_is_not_dropped_in_silence(tmp_path, open_folder):
    put_photos(tmp_path / "photos" / "train" / "cat", range(9))
    (tmp_path / "photos" / "train" / "dog").mkdir()
    with pytest.raises(UserError, match="class 'dog' has nothing to learn from: it has no images"):
        open_folder()


def test_a_class_all_of_whose_images_are_broken_is_not_dropped_in_silence(tmp_path, open_folder):
    put_photos(tmp_path / "photos" / "train" / "cat", range(9))
    put(tmp_path / "photos" / "train" / "dog" / "1.png", b"")
    with pytest.raises(
        UserError, match="class 'dog' has nothing to learn from: its only image to learn from is broken"
    ):
        open_folder(max_broken=0.5)


def test_ten_thousand_classes_are_listed(tmp_path):
    for number in range(10_000):
        put(tmp_path / "train" / f"{number:05}" / "1.png", b"")
    listing = list_images(tmp_path)
    assert listing.labels.tolist() == list(range(10_000))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda root: None, "does not exist"),
        (lambda root: put(root, b"x"), "is a file"),
        (lambda root: root.mkdir(), "no folders"),
        (lambda root: (root / "train" / "cat").mkdir(parents=True), "no image files"),
        (lambda root: put(root / "unlabeled" / "1.png", b"x"), "no labeled images"),
    ],
)
def test_a_folder_that_cannot_be_a_data_set_is_refused_in_one_line(tmp_path, make, word):
    make(tmp_path / "photos")
    with user_mistake(match=word):
        list_images(tmp_path / "photos")


# --- manifests --------------------------------------------------------------------------------------------------------


ROWS = [("b.png", "cat", ""), ("a.png", "dog", "labeled"), ("c.png", "", ""), ("d.png", "cat", "unlabeled")]
ROWS += [("e.png", "dog", "test"), ("f.png", "cat", "validation")]


def manifest(folder: Path, rows, columns=("path", "label", "role"), name="m.csv") -> Path:
    table, file = pd.DataFrame(rows, columns=list(columns)), folder / name
    _ = table.to_parquet(file) if name.endswith("parquet") else table.to_csv(file, index=False)
    return file


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_a_manifest_says_class_and_role(tmp_path, name):
    put(tmp_path / "a.png", b"x")
    listing = list_images(None, manifest(tmp_path, ROWS, name=name))
    assert list(zip(listing.paths, listing.labels.tolist(), listing.roles, strict=True)) == [
        ("a.png", 1, ""),
        ("b.png", 0, ""),
        ("c.png", UNLABELED, "unlabeled"),
        ("d.png", 0, "unlabeled"),
        ("e.png", 1, "test"),
        ("f.png", 0, "validation"),
    ]


@pytest.mark.parametrize(
    ("rows", "columns", "word"),
    [
        ([("a.png", "cat")], ("path", "class"), "no column 'label', only 'path', 'class'"),
        ([("a.png", "cat")], ("file", "label"), "no column 'path'"),
        ([("a.png", "cat"), ("./a.png", "dog")], ("path", "label"), "'a.png' that it is 'cat' and 'dog'"),
        ([("a.png", "cat"), ("./a.png", "cat")], ("path", "label"), "names 'a.png' 2 times"),
        ([("../a.png", "cat")], ("path", "label"), "outside"),
        ([("/etc/passwd", "cat")], ("path", "label"), "outside"),
        ([("a.png", "cat", "trainee")], ("path", "label", "role"), "role 'trainee' of 'a.png'"),
        ([("a.png", "", "test"), ("b.png", "cat", "")], ("path", "label", "role"), "no label"),
        ([("a.png", "")], ("path", "label"), "no labeled images"),
        ([("", "cat")], ("path", "label"), "without a path"),
        ([], ("path", "label"), "no rows"),
    ],
)
def test_a_wrong_manifest_is_refused_in_one_line(tmp_path, rows, columns, word):
    put(tmp_path / "a.png", b"x")
    with user_mistake(match=word):
        list_images(None, manifest(tmp_path, rows, columns))


def test_a_file_that_a_manifest_names_and_that_is_not_there_is_broken(tmp_path, open_folder):
    put_photos(tmp_path, range(4))
    rows = [(f"{seed:04d}.png", "cat" if seed else "dog", "test" if seed == 3 else "") for seed in range(4)]
    rows += [("gone.png", "cat", "")]
    own = open_folder(tmp_path, manifest=manifest(tmp_path, rows), max_broken=0.5)
    assert own.broken.to_dict("records") == [
        {"path": "gone.png", "reason": "cannot be read: No such file or directory"}
    ]


# --- decoded once -----------------------------------------------------------------------------------------------------


def test_the_images_are_the_decoded_files_in_the_order_of_their_ids(tmp_path, open_folder):
    root = three_colors(tmp_path / "photos", test_per_class=2)
    own = open_folder()
    for images in (own.pool, own.test):
        for name, pixels in zip(names(images), images.images, strict=True):
            expected = decode((root / name).read_bytes(), Target(16, 16, "crop", "rgb")).pixels
            assert np.array_equal(pixels.numpy(), expected)


@pytest.mark.parametrize(("kind", "below"), [("JPEG", 1), ("JPEG", -1), ("PNG", 1)])
def test_one_thread_decodes_small_jpegs_and_as_many_as_there_are_cores_all_else(
    tmp_path, open_folder, monkeypatch, kind, below
):
    for first, name in ((0, "a"), (200, "b")):  # more than two tasks
        put_photos(tmp_path / "photos" / "labeled" / name, range(first, first + 200), kind, 16)
    alone, asked, threads = (kind, below) == ("JPEG", 1), [], set()

    def noting_threads(content, target):
        threads.add(threading.get_ident())
        return decode(content, target)

    def noting_workers(work, tasks, workers=None):
        asked.append(workers)
        return worked_ahead(work, tasks, workers)

    for number in range(20):  # so few of another kind, and of any size, decide nothing
        put(tmp_path / "photos" / "labeled" / "b" / f"{number}.bmp", encoded(photo(1000 + number, 200, 200), "BMP"))
    half = np.median([file.stat().st_size for file in (tmp_path / "photos").rglob("*.*")])
    monkeypatch.setattr(building, "SMALL", half + below)
    monkeypatch.setattr(building, "decode", noting_threads)
    monkeypatch.setattr(building, "worked_ahead", noting_workers)
    ways = [open_folder(cache=tmp_path / "cache").pool.images.clone()]
    assert set(asked) == {1 if alone else None}
    assert len(threads) == 1 or not alone
    monkeypatch.setattr(building, "SMALL", half - below)
    ways.append(open_folder(cache=tmp_path / "another").pool.images)
    assert torch.equal(*ways)


def test_what_other_decoders_made_is_made_anew(tmp_path, open_folder, decoded, monkeypatch):
    files = len(list(three_colors(tmp_path / "photos").rglob("*.png")))
    for decoders, count in (("one", files), ("another", 2 * files), ("one", 2 * files)):
        monkeypatch.setattr("semisup.data.own_images.decoded.pack.DECODERS", decoders)
        open_folder()
        assert len(decoded) == count


def test_a_second_start_decodes_and_reads_nothing(tmp_path, open_folder, decoded, monkeypatch):
    root = three_colors(tmp_path / "photos")
    age(root)
    first = digest(open_folder().pool)
    assert len(decoded) == len(list(root.rglob("*.png")))
    monkeypatch.setattr(building, "_one", None)
    monkeypatch.setattr(building, "read_hash", None)
    assert digest(open_folder().pool) == first


def test_a_file_that_is_added_is_the_only_one_decoded_and_moves_no_other(tmp_path, open_folder, decoded):
    root = three_colors(tmp_path / "photos")
    age(root)
    before = open_folder()
    decoded.clear()
    put(root / "labeled" / "green" / "new.png", encoded(photo(77), "PNG"))
    after = open_folder()
    assert decoded == [(root / "labeled" / "green" / "new.png").read_bytes()]
    for old, new in ((before.pool, after.pool), (before.test, after.test)):
        pixels = dict(zip(new.ids, new.images, strict=True))
        assert all(torch.equal(pixels[name], image) for name, image in zip(old.ids, old.images, strict=True))


def test_the_same_files_elsewhere_under_other_names_are_not_decoded_again(tmp_path, open_folder, decoded):
    root = three_colors(tmp_path / "photos")
    open_folder()
    decoded.clear()
    shutil.copytree(root, tmp_path / "copy")
    (tmp_path / "copy" / "labeled" / "red").rename(tmp_path / "copy" / "labeled" / "crimson")
    assert "crimson" in open_folder(tmp_path / "copy").pool.class_names
    assert not decoded


def test_a_file_with_another_content_is_another_image(tmp_path, open_folder):
    root = three_colors(tmp_path / "photos")
    age(root)
    before = open_folder()
    changed = root / "unlabeled" / "day 0" / "red 0.png"
    put(changed, encoded(photo(5, 16, 16), "PNG"))
    after = open_folder()
    assert len(set(before.pool.ids) - set(after.pool.ids)) == 1
    row = names(after.pool).index("unlabeled/day 0/red 0.png")
    assert np.array_equal(after.pool.images[row].numpy().transpose(1, 2, 0), photo(5, 16, 16))


class KilledError(Exception):
    """Stands for kill -9: nothing tidies up behind it."""


def test_a_building_that_was_killed_goes_on_where_it_was(tmp_path, open_folder, decoded, monkeypatch):
    root = three_colors(tmp_path / "photos")
    total = len(list(root.rglob("*.png")))
    monkeypatch.setattr(building, "FILES_PER_TASK", 4)
    monkeypatch.setattr(building, "FILES_PER_PART", 8)

    def kill(done, of, note):
        if done >= total // 2:
            raise KilledError

    config = DataConfig(name="folder", root=root, size=(16, 16), cache=tmp_path / "cache")
    forget()
    with pytest.raises(KilledError):
        own_images(config, kill)
    done = {part for parts in (tmp_path / "cache").rglob("part-*") for part in pd.read_parquet(parts)["path"]}
    assert len(done) >= total // 2 - 8
    decoded.clear()
    own = open_folder()
    assert len(decoded) == total - len(done)
    assert not list((tmp_path / "cache").rglob("building-*")), "nothing is left of it"
    fresh = open_folder(cache=tmp_path / "another cache")
    assert digest(own.pool) == digest(fresh.pool)
    assert torch.equal(own.pool.images, fresh.pool.images)


def test_what_a_killed_building_left_makes_room_for_others_of_other_settings(tmp_path, open_folder, monkeypatch):
    root = three_colors(tmp_path / "photos")
    monkeypatch.setattr(building, "FILES_PER_TASK", 4)
    monkeypatch.setattr(building, "FILES_PER_PART", 8)

    def kill(done, of, note):
        if done >= of // 2:
            raise KilledError

    forget()
    with pytest.raises(KilledError):
        own_images(DataConfig(name="folder", root=root, size=(16, 16), cache=tmp_path / "cache"), kill)
    each = len(list(root.rglob("*.png"))) * 16 * 17 * 3
    (left,) = (tmp_path / "cache").glob("*/building-*/")
    with FileLock(left.parent / "building.lock"):  # as the process has that builds there
        open_folder(size=[16, 17], cache_limit=f"{1.1 * each / 1000} kB")
        assert left.exists()
    open_folder(size=[17, 16], cache_limit=f"{1.1 * each / 1000} kB")
    assert not left.exists()


def test_images_lie_in_a_mapping_of_a_file(tmp_path, open_folder):
    three_colors(tmp_path / "photos")
    own = open_folder()
    assert str(own.pack.folder / "pool.u8") in Path("/proc/self/maps").read_text()


def test_a_cache_that_is_too_small_says_how_much_is_needed(tmp_path, open_folder):
    three_colors(tmp_path / "photos")
    with pytest.raises(UserError, match="cache_limit=") as raised:
        open_folder(cache_limit="10 kB")
    assert "data.size" in str(raised.value)
    assert not (tmp_path / "cache").exists()


def packs(cache: Path) -> set[Path]:
    return {file.parent for file in cache.glob("*/*/files-*.parquet")}


def test_the_longest_unused_pack_goes_first_and_none_that_is_in_use(tmp_path, open_folder):
    root = three_colors(tmp_path / "photos")
    each = len(list(root.rglob("*.png"))) * 16 * 16 * 3
    limit = f"{2.6 * each / 1000} kB"
    open_folder(channels="rgb", cache_limit=limit)
    (first,) = packs(tmp_path / "cache")
    held = open_folder(channels="rgb", resize="pad", cache_limit=limit)
    second = held.pack.folder
    os.utime(second / "lock", (0, 0))  # the longest unused, but held
    third = open_folder(size=[16, 17], cache_limit=limit).pack.folder
    assert packs(tmp_path / "cache") == {second, third}
    assert first != second


def test_a_cache_that_cannot_be_written_is_a_mistake_in_one_line(tmp_path, open_folder):
    three_colors(tmp_path / "photos")
    put(tmp_path / "file", b"x")
    with pytest.raises(UserError, match="cache="):
        open_folder(cache=tmp_path / "file")


# --- broken files -----------------------------------------------------------------------------------------------------


def test_broken_files_are_left_out_with_a_reason_and_the_others_go_on(tmp_path, open_folder):
    root = three_colors(tmp_path / "photos")
    for name, (content, _) in broken_files().items():
        put(root / "unlabeled" / name, content)
    own = open_folder(max_broken=0.5)
    found = dict(zip(own.broken["path"], own.broken["reason"], strict=True))
    assert found.keys() == {f"unlabeled/{name}" for name in broken_files()}
    for name, (_, reason) in broken_files().items():
        assert reason in found[f"unlabeled/{name}"]
    assert len(own.pool) + len(own.test) == 3 * (12 + 20)
    assert any("cannot be used" in warning for warning in own.warnings)


def test_too_many_broken_files_stop_the_run_with_one_line(tmp_path, open_folder):
    root = three_colors(tmp_path / "photos")
    put(root / "unlabeled" / "zero.png", b"")
    with pytest.raises(UserError, match=r"data.max_broken=0.01, but 1 of 97 files .*unlabeled/zero.png is empty"):
        open_folder()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_broken_until_it_may(tmp_path, open_folder):
    file = put(three_colors(tmp_path / "photos") / "unlabeled" / "closed.png", encoded(photo(1), "PNG"))
    file.chmod(0)
    assert open_folder(max_broken=0.1).broken["path"].tolist() == ["unlabeled/closed.png"]
    file.chmod(0o600)
    assert open_folder().broken.empty


# --- test images ------------------------------------------------------------------------------------------------------


def test_named_test_images_are_all_there_are(tmp_path, open_folder):
    three_colors(tmp_path / "photos", test_per_class=3)
    own = open_folder(test_share=0.5)
    assert all(name.startswith("test/") for name in names(own.test))
    assert len(own.test) == 9
    assert own.named_test


def test_drawn_test_images_have_a_label_and_depend_on_nothing_but_their_content():
    drawn = share_in_test(0.2)
    contents = [f"{number:032x}" for number in range(20_000)]
    share = np.mean([drawn(content) for content in contents])
    assert abs(share - 0.2) < 4 * np.sqrt(0.2 * 0.8 / len(contents))
    fewer = share_in_test(0.1)
    assert all(drawn(content) for content in contents if fewer(content)), "a larger share only adds to a smaller one"


def test_without_named_test_images_only_labeled_ones_are_drawn(tmp_path, open_folder):
    three_colors(tmp_path / "photos")
    own = open_folder(test_share=0.3)
    assert Counter(name.split("/")[0] for name in names(own.test)).keys() == {"labeled"}
    assert (own.test.labels != UNLABELED).all()
    assert not own.named_test
