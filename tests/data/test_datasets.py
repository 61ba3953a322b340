"""Data sets: what is read, where it is looked for, and one line of help for every file that is missing or damaged."""

import dataclasses
import gzip
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from scipy.io import savemat
from sklearn.datasets import load_digits as sklearn_digits

from semisup.config.sources import SOURCES
from semisup.data.datasets import UNLABELED, ImageSet, digest
from semisup.data.sources import list_test_ids, load_pool, load_test
from semisup.errors import UserError
from tests.waiting import LONG

REAL_MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist"
needs_mnist = pytest.mark.skipif(not REAL_MNIST.is_dir(), reason=f"the real MNIST files are not at {REAL_MNIST}")

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def pixels(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def write_idx_files(folder, train=12, test=5):
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, count, seed in (("train", train, 0), ("t10k", test, 1)):
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(pixels(count, 4, 6, seed=seed)))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))
    return folder


@pytest.fixture
def root(tmp_path):
    return write_idx_files(tmp_path)


def the_error(load, *arguments, **options):
    """The message of the UserError that a call ends with: one line, whatever went wrong."""
    with pytest.raises(UserError) as caught:
        load(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- ImageSet and its digest ------------------------------------------------------------------------------------------


def a_set(**changes):
    fields = {
        "images": torch.from_numpy(pixels(3, 2, 4, 5)),
        "labels": torch.tensor([0, 1, UNLABELED]),
        "ids": ("train/00000", "train/00001", "train/00002"),
        "class_names": ("cat", "dog"),
    }
    return ImageSet(**{**fields, **changes})


def test_an_image_set_knows_its_size_shape_and_classes():
    images = a_set()
    assert (len(images), images.image_shape, images.num_classes) == (3, (2, 4, 5), 2)


def test_an_image_set_may_be_empty():
    assert len(a_set(images=torch.empty(0, 1, 4, 4, dtype=torch.uint8), labels=torch.empty(0).long(), ids=())) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"images": torch.zeros(3, 2, 4, 5)},
        {"images": torch.zeros(3, 4, 5, dtype=torch.uint8)},
        {"images": torch.zeros(3, 4, 5, 2, dtype=torch.uint8).permute(0, 3, 1, 2)},
        {"labels": torch.tensor([0, 1])},
        {"labels": torch.tensor([0, 1, 2])},
        {"labels": torch.tensor([0, 1, -2])},
        {"labels": torch.tensor([0, 1, 1], dtype=torch.int32)},
        {"ids": ("train/00000", "train/00001")},
        {"ids": ("train/00000", "train/00001", "train/00001")},
    ],
)
def test_an_image_set_that_contradicts_itself_cannot_be_made(changes):
    with pytest.raises(AssertionError):
        a_set(**changes)


def test_the_digest_is_the_same_for_the_same_content():
    assert digest(a_set()) == digest(a_set())
    assert len(bytes.fromhex(digest(a_set()))) == 32


@pytest.mark.parametrize(
    "changes",
    [
        {"images": torch.from_numpy(pixels(3, 2, 4, 5)) ^ 1},
        {"images": torch.from_numpy(pixels(3, 2, 4, 5)).view(3, 2, 5, 4)},
        {"labels": torch.tensor([0, 1, 1])},
        {"ids": ("train/00000", "train/00002", "train/00001")},
        {"class_names": ("cat", "dog", "cow")},
    ],
)
def test_the_digest_changes_with_every_field(changes):
    assert digest(dataclasses.replace(a_set(), **changes)) != digest(a_set())


# --- digits -----------------------------------------------------------------------------------------------------------


def test_digits_has_fifty_test_images_of_each_class_and_the_rest_in_the_pool():
    pool, test = load_pool("digits"), load_test("digits")
    assert torch.bincount(test.labels).tolist() == [50] * 10
    assert len(pool) + len(test) == 1797
    assert set(pool.ids).isdisjoint(test.ids)
    assert {*pool.ids, *test.ids} == {f"digits/{position:04d}" for position in range(1797)}


@pytest.mark.parametrize("load", [load_pool, load_test])
def test_digits_are_those_of_scikit_learn_stretched_from_16_to_255(load):
    loaded, bunch = load("digits"), sklearn_digits()
    positions = [int(image_id.removeprefix("digits/")) for image_id in loaded.ids]
    assert loaded.labels.tolist() == bunch.target[positions].tolist()
    assert loaded.images.shape == (len(positions), 1, 8, 8)
    stretched = [round(value * 255 / 16) for value in range(17)]
    assert loaded.images[:, 0].tolist() == [
        [[stretched[int(v)] for v in row] for row in bunch.images[p]] for p in positions
    ]


def test_reading_the_digits_does_not_import_scikit_learn():
    """Which takes a second, before anybody sees a first epoch."""
    code = (
        "import sys\nfrom semisup.data.published.digits import read_digits\nread_digits('train')\n"
        "sys.exit('sklearn' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=LONG)


def test_the_test_split_of_digits_depends_on_nothing_at_all():
    torch.manual_seed(1)
    first = list_test_ids("digits")
    torch.manual_seed(2)
    assert list_test_ids("digits") == first == load_test("digits").ids


# --- idx files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_idx_files_are_read_as_written(root, name):
    pool, test = load_pool(name, root), load_test(name, root)
    assert np.array_equal(pool.images.numpy(), pixels(12, 4, 6, seed=0)[:, None])
    assert np.array_equal(test.images.numpy(), pixels(5, 4, 6, seed=1)[:, None])
    assert pool.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert (pool.ids[0], pool.ids[11], test.ids[4]) == ("train/00000", "train/00011", "test/00004")
    assert pool.num_classes == test.num_classes == 10


@pytest.mark.parametrize("place", ["", "MNIST/raw", "mnist"])
@pytest.mark.parametrize("gzipped", [False, True])
def test_idx_files_are_found_plain_or_gzipped_wherever_people_keep_them(tmp_path, place, gzipped):
    folder = write_idx_files(tmp_path / place)
    if gzipped:
        for path in list(folder.glob("*ubyte")):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    assert len(load_pool("mnist", tmp_path)) == 12


def test_without_a_root_the_environment_names_it(root, monkeypatch):
    monkeypatch.setenv("SEMISUP_DATA_ROOT", str(root))
    assert len(load_pool("mnist")) == 12
    monkeypatch.setenv("SEMISUP_DATA_ROOT", str(root / "nowhere"))
    assert f"SEMISUP_DATA_ROOT={root / 'nowhere'} does not exist" in the_error(load_pool, "mnist")
    monkeypatch.delenv("SEMISUP_DATA_ROOT")
    assert "data.root is not set, nor is SEMISUP_DATA_ROOT" in the_error(load_pool, "mnist")


def test_ids_of_the_test_split_are_listed_without_the_file_of_its_labels(root):
    ids = load_test("mnist", root).ids
    (root / TEST_LABELS).unlink()
    assert list_test_ids("mnist", root) == ids


def test_a_root_that_is_missing_or_a_file_is_refused(root):
    assert f"data.root={root / 'nowhere'} does not exist" in the_error(load_pool, "mnist", root / "nowhere")
    assert "is a file; it must be the folder" in the_error(load_pool, "mnist", root / TRAIN_IMAGES)


@pytest.mark.parametrize(
    "name", [name for name in SOURCES.own if not (SOURCES[name].embedded or SOURCES[name].own_images)]
)
def test_an_empty_folder_is_refused_with_the_places_searched_and_the_two_ways_out(tmp_path, name):
    message = the_error(load_pool, name, tmp_path)
    for expected in (f"data.root={tmp_path} lacks ", str(tmp_path / name), "set data.download: true, or data.root to"):
        assert expected in message


def test_a_missing_label_file_is_named(root):
    (root / TRAIN_LABELS).unlink()
    assert f"lacks {TRAIN_LABELS} (or {TRAIN_LABELS}.gz)" in the_error(load_pool, "mnist", root)


def test_an_unknown_name_is_refused_with_the_nearest_one(tmp_path):
    assert "data.name='mnst' is not a known data set; did you mean 'mnist'?" in the_error(load_pool, "mnst", tmp_path)
    assert "use one of digits, mnist" in the_error(load_pool, "imagenet", tmp_path)


GOOD_IMAGES, GOOD_LABELS = idx(pixels(12, 4, 6)), idx(np.arange(12) % 10)
ZIPPED = gzip.compress(GOOD_IMAGES)


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        (TRAIN_IMAGES, GOOD_IMAGES[:-1], "it holds 303 bytes, but its header announces 304"),
        (TRAIN_IMAGES, GOOD_IMAGES + b"x", "it holds 305 bytes, but its header announces 304"),
        (TRAIN_IMAGES, GOOD_IMAGES[:9], "it ends after 9 bytes, within its header"),
        (TRAIN_IMAGES, b"", "it begins with nothing, not with 00000803"),
        (TRAIN_IMAGES, GOOD_LABELS, "it begins with 00000801, not with 00000803"),
        (TRAIN_IMAGES, b"<html>not found</html>", "it begins with 3c68746d"),
        (TRAIN_IMAGES, b"\x00\x00\x08\x03" + b"\xff" * 12, "it holds 16 bytes, but its header announces 792281624"),
        (TRAIN_LABELS, idx(np.arange(11) % 10), "it has 11 labels for the 12 images of train-images-idx3-ubyte"),
        (TRAIN_LABELS, idx(np.arange(12)), "it holds label 11, but mnist has 10 classes"),
        (f"{TRAIN_IMAGES}.gz", ZIPPED[: len(ZIPPED) // 2], "it cannot be unpacked"),
        (f"{TRAIN_IMAGES}.gz", ZIPPED[:40] + b"\xff" * 40 + ZIPPED[80:], "it cannot be unpacked"),
        (f"{TRAIN_IMAGES}.gz", ZIPPED[:-8] + b"\x00" * 8, "it cannot be unpacked"),
        (f"{TRAIN_IMAGES}.gz", GOOD_IMAGES, "it cannot be unpacked"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong_and_what_to_do(root, file, content, why):
    if file.endswith(".gz"):
        (root / file.removesuffix(".gz")).unlink()
    (root / file).write_bytes(content)
    message = the_error(load_pool, "mnist", root)
    assert f"{root / file} is damaged: {why}" in message
    assert "delete it and download it again" in message


def test_what_is_there_is_not_downloaded(root, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.MNIST, "download", lambda _self: pytest.fail("downloaded"))
    assert len(load_pool("mnist", root, download=True)) == 12


def test_what_is_missing_is_downloaded_into_a_root_that_need_not_exist_yet(tmp_path, monkeypatch):
    monkeypatch.setattr(
        torchvision.datasets.KMNIST, "download", lambda self: write_idx_files(Path(self.raw_folder), train=3)
    )
    assert len(load_pool("kmnist", tmp_path / "new", download=True)) == 3


@pytest.mark.parametrize(
    ("name", "class_name"), [("fashion_mnist", "FashionMNIST"), ("cifar10", "CIFAR10"), ("svhn", "SVHN")]
)
@pytest.mark.parametrize("error", [URLError("no network"), RuntimeError("all mirrors\nsay: no network")])
def test_a_download_that_fails_says_why_in_one_line(tmp_path, monkeypatch, name, class_name, error):
    def fail(_self):
        raise error

    monkeypatch.setattr(getattr(torchvision.datasets, class_name), "download", fail)
    message = the_error(load_pool, name, tmp_path, download=True)
    assert message.startswith("data.download=true: ")
    assert "no network" in message
    assert "check the network" in message


@needs_mnist
def test_the_real_mnist_has_its_published_counts_and_one_pixel_layout():
    pool, test = load_pool("mnist", REAL_MNIST), load_test("mnist", REAL_MNIST)
    # Counts per class as published with the data set.
    assert torch.bincount(pool.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert pool.image_shape == test.image_shape == (1, 28, 28)
    # The familiar mean and standard deviation of MNIST's pixels.
    assert (pool.images.double().mean() / 255).item() == pytest.approx(0.1307, abs=5e-5)
    assert (pool.images.double().std() / 255).item() == pytest.approx(0.3081, abs=5e-5)


# --- CIFAR-10 and SVHN, with tiny files under their names -------------------------------------------------------------


@pytest.fixture
def tiny_cifar10(tmp_path, monkeypatch):
    """Five training batches of two images and a test batch, flat rows of R, G and B planes as in the original."""
    folder = tmp_path / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    data = pixels(12, 3072)
    for position, file in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        rows = data[2 * position : 2 * position + 2]
        (folder / file).write_bytes(pickle.dumps({"data": rows, "labels": [position, 9 - position]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["x"] * 10}))
    cifar10 = torchvision.datasets.CIFAR10
    monkeypatch.setattr(cifar10, "train_list", [[f"data_batch_{i}", None] for i in range(1, 6)])
    monkeypatch.setattr(cifar10, "test_list", [["test_batch", None]])
    monkeypatch.setattr(cifar10, "meta", {**cifar10.meta, "md5": None})
    return tmp_path, data.reshape(12, 3, 32, 32)


def test_cifar10_comes_channel_first_with_its_class_names(tiny_cifar10):
    root, data = tiny_cifar10
    pool, test = load_pool("cifar10", root), load_test("cifar10", root)
    assert np.array_equal(pool.images.numpy(), data[:10])
    assert np.array_equal(test.images.numpy(), data[10:])
    assert pool.labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert pool.class_names[:2] == ("airplane", "automobile")
    assert list_test_ids("cifar10", root) == ("test/00000", "test/00001")


def test_a_damaged_cifar10_is_told_from_a_missing_one(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"half a file")
    assert f"{folder} is damaged" in the_error(load_pool, "cifar10", tmp_path)


def test_svhn_comes_channel_first_with_zeros_labeled_zero(tmp_path, monkeypatch):
    data = pixels(4, 3, 32, 32)
    savemat(tmp_path / "test_32x32.mat", {"X": data.transpose(2, 3, 1, 0), "y": np.array([[10], [1], [9], [10]])})
    svhn = torchvision.datasets.SVHN
    monkeypatch.setattr(svhn, "split_list", {**svhn.split_list, "test": ["", "test_32x32.mat", None]})
    test = load_test("svhn", tmp_path)
    assert np.array_equal(test.images.numpy(), data)
    assert test.labels.tolist() == [0, 1, 9, 0]


def test_a_damaged_svhn_is_told_from_a_missing_one(tmp_path):
    (tmp_path / "train_32x32.mat").write_bytes(b"half a file")
    assert f"{tmp_path / 'train_32x32.mat'} is damaged" in the_error(load_pool, "svhn", tmp_path)
