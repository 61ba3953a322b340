"""Data sets from arrays, folders and tables are the same data sets."""

import dataclasses
import tarfile

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import semisup as ss
from semisup.data.own_images import own_images
from tests.mistakes import user_mistake

CLASSES = ("cat", "dog")


@pytest.fixture(scope="module")
def pictures():
    """(images (24, 8, 8), labels: every second one has none); no two alike."""
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8), dtype=np.uint8)
    labels = np.array([CLASSES[number // 2 % 2] if number % 2 else None for number in range(24)], dtype=object)
    return images, labels


@pytest.fixture(scope="module")
def folder(pictures, tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for number, (image, label) in enumerate(zip(*pictures, strict=True)):
        # The last four of each class are test images.
        part = "unlabeled" if label is None else f"{'test' if number >= 16 else 'labeled'}/{label}"
        (root / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / part / f"{number:02d}.png")
    return root


@pytest.fixture(scope="module")
def read(folder, tmp_path_factory):
    return ss.Dataset.from_folder(folder, cache=tmp_path_factory.mktemp("cache"))


def test_a_folder_holds_what_was_put_there(read, pictures):
    images, labels = pictures
    apart = np.array([label is not None and number >= 16 for number, label in enumerate(labels)])
    there = {image.tobytes(): label for image, label in zip(images[~apart], labels[~apart], strict=True)}
    assert {image.tobytes(): label for image, label in zip(read.images, read.labels, strict=True)} == there
    tested = {image.tobytes(): label for image, label in zip(images[apart], labels[apart], strict=True)}
    found = {image.tobytes(): label for image, label in zip(read.test.images, read.test.labels, strict=True)}
    assert found == tested
    assert read.classes == list(CLASSES)


def contents(data):
    """Pixels → class or None, of the images and of those to test with."""
    return [
        {image.tobytes(): label for image, label in zip(part.images, part.labels, strict=True)}
        for part in (data, data.test)
    ]


@pytest.fixture(scope="module")
def at_hugging_face(pictures):
    """The same pictures in the same roles, as `datasets` has them."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=[*CLASSES])})
    splits: dict[str, list[dict[str, object]]] = {"train": [], "test": []}
    for number, (image, label) in enumerate(zip(*pictures, strict=True)):
        row = {"image": Image.fromarray(image), "label": -1 if label is None else CLASSES.index(label)}
        splits["test" if label is not None and number >= 16 else "train"].append(row)
    return datasets.DatasetDict(
        {split: datasets.Dataset.from_list(rows, features=features) for split, rows in splits.items()}
    )


def test_a_data_set_of_hugging_faces_is_the_same_in_memory_and_in_its_folder(read, at_hugging_face, tmp_path):
    as_here = {"size": (8, 8), "cache": tmp_path / "cache"}
    at_hugging_face.save_to_disk(str(tmp_path / "saved"))
    in_memory = ss.Dataset.from_hf(at_hugging_face, **as_here)
    for found in (in_memory, ss.Dataset.from_hf(tmp_path / "saved", **as_here)):
        assert found.classes == list(CLASSES)
        gray = [{bytes(pixels[: 8 * 8]): label for pixels, label in part.items()} for part in contents(found)]
        assert gray == contents(read)
    assert in_memory.found is None
    assert not in_memory.images.flags.writeable


def test_shards_of_the_same_files_are_the_same_data_set(read, pictures, tmp_path):
    for number, (image, label) in enumerate(zip(*pictures, strict=True)):
        role = "unlabeled" if label is None else "test" if number >= 16 else "train"
        stem = tmp_path / f"{number:02d}"
        Image.fromarray(image).save(stem.with_suffix(".png"))
        parts = [stem.with_suffix(".png")]
        if label is not None:
            stem.with_suffix(".cls").write_text(label)
            parts.append(stem.with_suffix(".cls"))
        (tmp_path / "shards").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / "shards" / f"{role}-0.tar", "a") as shard:
            for part in parts:
                shard.add(part, part.name)
    found = ss.Dataset.from_shards(tmp_path / "shards", size=(8, 8), cache=tmp_path / "cache")
    assert contents(found) == contents(read)


@pytest.mark.parametrize("make", [ss.Dataset.from_hf, ss.Dataset.from_shards])
def test_what_holds_something_else_is_refused_with_what_to_use(make, folder, tmp_path):
    with user_mistake(match="data.name='folder'.*use Dataset.from_folder"):
        make(folder)
    with user_mistake(match="is not there"):
        make(tmp_path / "nowhere")


def test_what_is_no_data_set_of_hugging_faces_is_named_by_its_type():
    with user_mistake(match="no list; load it without streaming, or use Dataset.from_arrays"):
        ss.Dataset.from_hf([1, 2])


def test_a_table_of_the_same_files_is_the_same_data_set(read, folder, tmp_path):
    rows = [
        {"path": str(path.relative_to(folder)), "label": "" if "unlabeled" in path.parts else path.parent.name}
        | {"role": "test" if "test" in path.parts else ""}
        for path in sorted(folder.rglob("*.png"))
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "photos.csv", index=False)
    table = ss.Dataset.from_manifest(tmp_path / "photos.csv", root=folder, cache=tmp_path / "cache")
    order, others = np.argsort(read.images.sum(axis=(1, 2, 3))), np.argsort(table.images.sum(axis=(1, 2, 3)))
    assert (table.images[others] == read.images[order]).all()
    assert (table.labels[others] == read.labels[order]).all()
    assert len(table.test) == len(read.test)


def test_arrays_written_for_a_pipeline_are_read_back_to_the_bit(pictures, tmp_path):
    images, labels = pictures
    data = ss.Dataset.from_arrays(images[:18], labels[:18], test_images=images[19::2], test_labels=labels[19::2])
    found = data.survey(tmp_path / "data")
    pool = own_images(found.data).pool
    names = np.array([*pool.class_names, None], dtype=object)[pool.labels.numpy()]
    assert torch.equal(pool.images, torch.from_numpy(data.images))
    assert names.tolist() == labels[:18].tolist()
    assert torch.equal(own_images(found.data).test.images, torch.from_numpy(images[19::2][:, None]))


def test_a_size_that_is_asked_for_is_the_size(folder, tmp_path):
    assert ss.Dataset.from_folder(folder, size=(4, 6), cache=tmp_path / "cache").images.shape[2:] == (4, 6)


def test_a_classifier_takes_it_whole(read):
    quick = ss.PseudoLabelClassifier(budget="20 steps", width=0.5, random_state=0)
    whole = quick.fit(read)
    assert whole.predict(read).shape == (len(read),)
    assert 0 <= whole.score(read.test) <= 1
    assert whole.classes_.tolist() == list(CLASSES)
    with pytest.raises(ss.UserError, match="leave y out"):
        quick.fit(read, [0] * len(read))


def test_it_does_not_change(pictures):
    images, labels = pictures
    data = ss.Dataset.from_arrays(images.copy(), labels)
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.images = images
    with pytest.raises(ValueError, match="read-only"):
        data.images[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0] = "cat"


def test_it_says_what_it_is(pictures):
    said = "Dataset(24 images of 1×8×8, 12 with a label, 2 classes: cat, dog)"
    assert repr(ss.Dataset.from_arrays(*pictures)) == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"labels": [0, 1]}, "2 labels for 3 images"),
        ({"test_images": np.zeros((1, 8, 8), np.uint8)}, "belong together"),
        ({"test_images": np.zeros((1, 9, 8), np.uint8), "test_labels": [1]}, "use one size"),
        ({"test_images": np.zeros((2, 8, 8), np.uint8), "test_labels": [1, -1]}, "an image has no label"),
        ({"images": np.zeros((3, 64))}, "use uint8"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arguments, said):
    usual = {"images": np.zeros((3, 8, 8), np.uint8), "labels": [0, 1, -1]}
    with pytest.raises(ss.UserError, match=said):
        ss.Dataset.from_arrays(**usual | arguments)


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ss.UserError, match="nowhere"):
        ss.Dataset.from_folder(tmp_path / "nowhere")


def test_images_of_files_are_read_only(read):
    """They are mapped from the cache: a write would end the process."""
    for images in (read.images, read.test.images):
        with pytest.raises(ValueError, match="read-only"):
            images[0] = 0
