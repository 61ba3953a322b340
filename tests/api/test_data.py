"""Data sets from arrays, folders and tables are the same data sets."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import semisup as ss
from semisup.data.own_images import own_images

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
