"""Images in tars, Parquet files, arrays and the JSON of other tools are those of the folder they were made from."""

import json
import os
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import webdataset

from semisup.data.datasets import UNLABELED
from semisup.data.own_images import forget
from semisup.data.own_images.containers.recognized import recognize
from semisup.data.own_images.containers.row_files import open_rows
from semisup.data.own_images.containers.tars import key_of
from semisup.data.own_images.survey import survey, write_config
from tests.data.corpus import encoded, photo, put
from tests.data.packed import CLASSES, add, coco, facts, fiftyone, files, packed, parquet, saved, shards
from tests.mistakes import user_mistake


@pytest.mark.parametrize(
    ("name", "make"),
    [("webdataset", packed), ("webdataset", shards), ("parquet", parquet), ("parquet", saved), ("coco", coco)],
)
def test_a_container_holds_the_very_images_classes_and_roles_of_the_folder(name, make, photos, opened, tmp_path):
    root = make(photos, tmp_path / f"packed{'.tar' if make is packed else ''}")
    folder, container = opened("folder", photos), opened(name, root)
    assert recognize(root) == name
    assert facts(container) == facts(folder)
    assert container.named_test


@pytest.mark.parametrize(("name", "make"), [("webdataset", shards), ("parquet", parquet)])
def test_names_that_a_container_keeps_are_the_folders_so_that_a_run_is_the_same(name, make, photos, opened, tmp_path):
    folder, container = opened("folder", photos), opened(name, make(photos, tmp_path / "packed"))
    assert sorted(container.pool.ids) == sorted(folder.pool.ids)
    assert container.test.ids == folder.test.ids
    assert torch.equal(container.test.images, folder.test.images)
    assert torch.equal(container.test.labels, folder.test.labels)


def test_an_imagefolders_metadata_is_a_manifest(photos, opened, tmp_path):
    """As `load_dataset("imagefolder")` reads it: `file_name` beside whatever else is known."""
    root, rows = tmp_path / "made", []
    for number, (path, label, content) in enumerate(files(photos)):
        put(root / f"pictures/{number:02}.jpg", content)
        rows.append({"file_name": f"pictures/{number:02}.jpg", "label": label, "role": path.split("/")[0]})
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    loaded = datasets.load_dataset("imagefolder", data_dir=str(root), split="train", cache_dir=str(tmp_path / "hf"))
    assert sorted(filter(None, loaded["label"])) == sorted(label for _, label, _ in files(photos) if label)
    assert facts(opened("folder", manifest=root / "metadata.jsonl")) == facts(opened("folder", photos))


def test_fiftyones_labels_are_the_folders_without_its_test_images(photos, opened, tmp_path):
    root = fiftyone(photos, tmp_path / "export")
    pool = opened("folder", photos).pool
    own = opened("fiftyone", root, test_share=0.2)
    there = {name.rpartition("@")[2]: int(label) for name, label in zip(pool.ids, pool.labels, strict=True)}
    found = [*zip(own.pool.ids, own.pool.labels, strict=True), *zip(own.test.ids, own.test.labels, strict=True)]
    assert recognize(root) == "fiftyone"
    assert {name.rpartition("@")[2]: int(label) for name, label in found} == there


@pytest.mark.parametrize("style", ["medmnist", "keras", "folder of npy", "channels first"])
def test_arrays_are_read_to_the_very_pixels_with_any_of_the_usual_names(style, opened, tmp_path):
    rng = np.random.default_rng(0)
    train, test, pool = (rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8) for count in (20, 8, 12))
    y_train, y_test = np.arange(20) % 2, np.arange(8) % 2
    if style == "medmnist":
        arrays = {
            "train_images": train,
            "train_labels": y_train[:, None],
            "test_images": test,
            "test_labels": y_test[:, None],
        }
    elif style == "keras":
        arrays = {"x_train": train, "y_train": y_train, "x_test": test, "y_test": y_test}
    elif style == "channels first":
        arrays = {"images": train.transpose(0, 3, 1, 2), "labels": y_train, "test_images": test, "test_labels": y_test}
    else:
        arrays = {"images": train, "labels": y_train, "test_images": test, "test_labels": y_test}
    arrays["unlabeled_images"] = pool
    if style == "folder of npy":
        root = tmp_path / "arrays"
        root.mkdir()
        for name, array in arrays.items():
            np.save(root / f"{name}.npy", array)
    else:
        root = tmp_path / "set.npz"
        np.savez(root, **arrays)
    own = opened("arrays", root)
    assert recognize(root) == "arrays"
    labeled, hidden = own.pool.labels.numpy() != UNLABELED, own.given == "unlabeled"
    for images, expected in (
        (own.pool.images[labeled], train),
        (own.pool.images[hidden], pool),
        (own.test.images, test),
    ):
        seen = {image.tobytes() for image in images.permute(0, 2, 3, 1).contiguous().numpy()}
        assert seen == {image.tobytes() for image in expected}
    assert own.test.labels.tolist() == y_test.tolist()


def test_gray_arrays_stay_gray_and_a_label_of_minus_one_is_none(opened, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 32, 32), dtype=np.uint8)
    labels = np.where(np.arange(30) < 20, np.arange(30) % 2, -1)
    np.savez(tmp_path / "set.npz", images=images, labels=labels, class_names=np.array(["even", "odd"]))
    own = opened("arrays", tmp_path / "set.npz", channels="gray")
    assert own.pool.class_names == ("even", "odd")
    assert int((own.given == "unlabeled").sum()) == 10
    known = {image.tobytes() for image in own.pool.images[:, 0].numpy()} | {
        i.tobytes() for i in own.test.images[:, 0].numpy()
    }
    assert known == {image.tobytes() for image in images}


@pytest.mark.parametrize("name", ["a/0001.jpg", "img_0.5.jpg", "a.b/c.seg.png", "./x.left.jpg", "noextension"])
def test_the_key_of_a_sample_is_webdatasets_own(name):
    key, _ = webdataset.tariterators.base_plus_ext(name)
    assert key_of(name) == (name if key is None else key)


def test_each_image_counts_where_webdataset_would_cut_names_at_the_first_dot(photos, opened, tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for path, label, content in files(photos):
            if label is not None:
                stem = path.replace("/", "_").removesuffix(".jpg").replace("_", "_0.")  # labeled_0.cat_0.00
                add(archive, f"{stem}.jpg", content)
                add(archive, f"{stem}.cls", label.encode())
    own = opened("webdataset", tmp_path / "set.tar")
    assert len(own.pool) + len(own.test) == 36
    assert any("which WebDataset itself reads as one sample" in line for line in own.warnings)


def test_a_label_in_json_counts_and_null_is_none(photos, opened, tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for number, (path, label, content) in enumerate(files(photos)):
            add(archive, f"{number:04}.jpg", content)
            add(archive, f"{number:04}.json", json.dumps({"label": label, "from": path}).encode())
    own = opened("webdataset", tmp_path / "set.tar")
    assert own.pool.class_names == CLASSES
    assert int((own.given == "unlabeled").sum()) == 12


def test_parquet_of_any_writer_is_read_by_its_types(photos, opened, tmp_path):
    rows = files(photos)
    table = pd.DataFrame({"img": [content for *_, content in rows], "class": [label for _, label, _ in rows]})
    table["role"] = ["test" if path.startswith("test") else None for path, *_ in rows]
    table.to_parquet(tmp_path / "photos.parquet", row_group_size=10)
    assert facts(opened("parquet", tmp_path / "photos.parquet")) == facts(opened("folder", photos))


def test_a_row_group_is_read_once_in_order(photos, opened, tmp_path, monkeypatch):
    from semisup.data.own_images.containers import parquet as module

    rows = files(photos)
    pd.DataFrame({"image": [content for *_, content in rows], "label": [label for _, label, _ in rows]}).to_parquet(
        tmp_path / "photos.parquet", row_group_size=10
    )
    read, original = [], module.Rows._read_group
    monkeypatch.setattr(module.Rows, "_read_group", lambda self, *at: read.append(at) or original(self, *at))
    opened("parquet", tmp_path / "photos.parquet")
    assert sorted(read) == [(0, group) for group in range(5)]


def wrong(make, error, opened, root, name):
    make(root)
    with user_mistake() as told:
        opened(name, root)
    assert error in str(told.value)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_file_of_rows_is_closed_when_its_columns_are_read_and_they_stay(name, tmp_path):
    table, file = pa.table({"image": [b"one", b"two"]}), tmp_path / name
    if name.endswith(".arrow"):
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        pq.write_table(table, file)
    with open_rows(file, name) as rows:
        column = rows.group(0, "image")
    assert file not in [handle.readlink() for handle in Path("/proc/self/fd").iterdir() if handle.is_symlink()]
    assert column.to_pylist() == [b"one", b"two"]


def test_damage_is_one_line_that_names_shard_member_or_row(photos, opened, tmp_path):
    def cut(root):
        shards(photos, root)
        shard = root / "labeled-00001.tar"
        shard.write_bytes(shard.read_bytes()[:5000])

    def bad_label(root):
        root.mkdir()
        (root / "classnames.txt").write_text("cat\ndog\n")
        with tarfile.open(root / "0.tar", "w") as archive:
            for number, (_, _, content) in enumerate(files(photos)):
                add(archive, f"{number}.jpg", content)
                add(archive, f"{number}.cls", b"7" if number == 9 else b"1")

    def no_images(root):
        root.mkdir()
        pd.DataFrame({"text": ["a"], "label": [1]}).to_parquet(root / "x.parquet")

    def no_parquet(root):
        put(root / "x.parquet", b"PAR1 not really")

    def squeezed(root):
        root.mkdir()
        with tarfile.open(root / "x.tar", "w:gz") as archive:
            archive.add(photos, "photos")

    def floats(root):
        root.mkdir()
        np.savez(root / "x.npz", images=np.zeros((4, 8, 8)), labels=np.zeros(4, int))

    def too_few(root):
        root.mkdir()
        np.savez(root / "x.npz", images=np.zeros((4, 8, 8), np.uint8), labels=np.zeros(3, int))

    def pickled(root):
        root.mkdir()
        np.savez(root / "x.npz", images=np.array([{"a": 1}], dtype=object))

    cases = [
        (cut, "labeled-00001.tar is damaged", "webdataset"),
        (bad_label, "member '9.jpg' has label 7 of 2 classes", "webdataset"),
        (squeezed, "x.tar is compressed", "webdataset"),
        (no_images, "no column of images (its columns: text, label)", "parquet"),
        (no_parquet, "x.parquet cannot be read", "parquet"),
        (floats, "'images' is of type float64", "arrays"),
        (too_few, "'labels' is (3,) for 4 images", "arrays"),
        (pickled, "x.npz cannot be read", "arrays"),
        (lambda root: put(root / "a.json", b"{}"), "holds no COCO file", "coco"),
        (lambda root: put(root / "labels.json", b"[1"), "labels.json cannot be read", "fiftyone"),
        (lambda root: root.mkdir(), "holds no tar files", "webdataset"),
    ]
    for number, (make, error, name) in enumerate(cases):
        wrong(make, error, opened, tmp_path / str(number), name)


def test_labels_that_are_no_labels_are_one_line(photos, opened, tmp_path):
    images = [content for *_, content in files(photos)]

    def latin(root):
        shards(photos, root)
        (root / "classnames.txt").write_bytes("café\nthé\n".encode("latin-1"))

    def table(**columns):
        def make(root):
            root.mkdir()
            pd.DataFrame(
                {"image": images} | {name: [value] * len(images) for name, value in columns.items()}
            ).to_parquet(root / "x.parquet")

        return make

    def classes_are_a_number(root):
        put(root / "labels.json", b'{"classes": 5, "labels": {}}')

    cases = [
        (latin, "classnames.txt is no UTF-8", "webdataset"),
        (table(label=b"\xff\xfe"), "has a label that is no UTF-8", "parquet"),
        (table(label={"q": 1}), "has a label of type dict", "parquet"),
        (table(label="cat", role=["a", "b"]), "is no role", "parquet"),
        (classes_are_a_number, "'classes' of type int", "fiftyone"),
    ]
    for number, (make, error, name) in enumerate(cases):
        wrong(make, error, opened, tmp_path / str(number), name)


def test_a_list_of_one_label_is_that_label_and_images_of_several_are_counted(photos, opened, tmp_path):
    labels = [["cat"], ["dog"], ["cat", "dog"], []] * 12
    images = [content for *_, content in files(photos)]
    pd.DataFrame({"image": images, "labels": labels}).to_parquet(tmp_path / "x.parquet")
    own = opened("parquet", tmp_path / "x.parquet")
    assert own.pool.class_names == CLASSES
    assert len(own.pool) + len(own.test) == 36
    assert int((own.given == "unlabeled").sum()) == 12
    assert "passed over 12 images of several classes" in own.warnings


def age(*paths: Path) -> None:
    """As if they had been there for an hour: what has just been written is not trusted to stay."""
    for path in paths:
        stat = path.stat()
        os.utime(path, (stat.st_atime - 3600, stat.st_mtime - 3600))


def test_what_a_row_names_in_place_of_bytes_is_looked_at_anew(photos, opened, tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    names = [f"{number:02}.jpg" for number in range(48)]
    for name, (*_, content) in zip(names, files(photos), strict=True):
        put(tmp_path / "set" / name, content)
    rows = pa.array([{"bytes": None, "path": name} for name in names], kind)
    labels = [CLASSES[number % 2] for number in range(48)]
    pq.write_table(pa.table({"image": rows, "label": labels}), tmp_path / "set" / "x.parquet")
    age(*(tmp_path / "set").iterdir())
    before = opened("parquet", tmp_path / "set" / "x.parquet")
    put(tmp_path / "set" / "07.jpg", encoded(photo(999, 40, 48), "JPEG"))
    after = opened("parquet", tmp_path / "set" / "x.parquet")
    ids = [{*own.pool.ids, *own.test.ids} for own in (before, after)]
    assert {name.partition("@")[0] for name in ids[1] - ids[0]} == {"07.jpg"}


def test_an_array_that_is_replaced_by_an_older_file_is_read_anew(opened, tmp_path):
    rng, root = np.random.default_rng(0), tmp_path / "arrays"
    root.mkdir()
    first, second = (rng.integers(0, 256, (20, 32, 32), dtype=np.uint8) for _ in range(2))
    np.save(root / "labels.npy", np.arange(20) % 2)
    np.save(root / "images.npy", first)
    age(root / "images.npy", root / "images.npy")
    opened("arrays", root, channels="gray")
    np.save(root / "images.npy", second)
    age(root / "images.npy", root / "images.npy", root / "images.npy")
    own = opened("arrays", root, channels="gray")
    seen = {image.tobytes() for image in (*own.pool.images[:, 0].numpy(), *own.test.images[:, 0].numpy())}
    assert seen == {image.tobytes() for image in second}


def test_a_member_that_is_no_image_is_a_broken_file_and_the_others_stay(photos, opened, tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for path, _, content in files(photos):
            add(archive, path, b"words" if path == "labeled/cat/03.jpg" else content)
    own = opened("webdataset", tmp_path / "set.tar", max_broken=0.1)
    assert own.broken["path"].tolist() == ["labeled/cat/03.jpg"]
    assert len(own.pool) == 35


def test_what_is_decoded_is_kept_when_a_shard_is_added(photos, opened, tmp_path, monkeypatch):
    from semisup.data.own_images.decoded import building
    from semisup.data.own_images.reading.decode import decode

    root = shards(photos, tmp_path / "shards")
    last = root / "unlabeled-00001.tar"
    last.rename(tmp_path / "aside.tar")
    first = opened("webdataset", root)
    (tmp_path / "aside.tar").rename(last)
    seen = []
    monkeypatch.setattr(building, "decode", lambda content, target: seen.append(content) or decode(content, target))
    second = opened("webdataset", root)
    assert len(second.pool) - len(first.pool) == len(seen) == 5


@pytest.mark.parametrize(("name", "make"), [("webdataset", shards), ("parquet", parquet), ("coco", coco)])
def test_init_says_what_it_found_and_writes_a_config_for_it(name, make, photos, tmp_path):
    forget()
    root = make(photos, tmp_path / "packed")
    text = write_config(survey(root, None, tmp_path / "cache", lambda *_: None))
    assert f"  name: {name}\n" in text
    assert f"  root: {root}\n" in text
    forget()
