"""A folder of photographs, and the same ones in the containers of other tools."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import datasets
import numpy as np
import webdataset
from PIL import Image
from pycocotools.coco import COCO

from tests.data.corpus import encoded, photo, put

CLASSES = ("cat", "dog")


def make_photos(root: Path) -> Path:
    """Three roles, 48 files of two sizes."""
    seed = 0
    for folder, count in (
        ("labeled/cat", 12),
        ("labeled/dog", 12),
        ("unlabeled", 12),
        ("test/cat", 6),
        ("test/dog", 6),
    ):
        for number in range(count):
            seed += 1
            put(root / folder / f"{number:02d}.jpg", encoded(photo(seed, 40 + seed % 2, 48), "JPEG"))
    return root


def files(root: Path) -> list[tuple[str, str | None, bytes]]:
    """(path, class, content) of all files of the folder, sorted by path."""
    found = []
    for path in sorted(root.rglob("*.jpg"), key=lambda path: path.relative_to(root).as_posix()):
        relative = path.relative_to(root).as_posix()
        parts = relative.split("/")
        found.append((relative, None if parts[0] == "unlabeled" else parts[1], path.read_bytes()))
    return found


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def packed(photos: Path, out: Path) -> Path:
    """The folder as one tar, as `tar -cf` makes it."""
    with tarfile.open(out, "w") as archive:
        archive.add(photos, "photos")
    return out


def shards(photos: Path, out: Path, each: int = 7) -> Path:
    """Shards written by webdataset itself, for each role its own, with labels as numbers."""
    out.mkdir()
    for role in ("labeled", "test", "unlabeled"):
        rows = [row for row in files(photos) if row[0].startswith(role)]
        with webdataset.ShardWriter(str(out / f"{role}-%05d.tar"), maxcount=each, verbose=0) as writer:
            for path, label, content in rows:
                sample = {"__key__": path.removesuffix(".jpg"), "jpg": content}
                writer.write(sample if label is None else sample | {"cls": CLASSES.index(label)})
    (out / "classnames.txt").write_text("\n".join(CLASSES))
    return out


def parquet(photos: Path, out: Path) -> Path:
    """Written by `datasets`: an image's bytes, its path and its class, -1 where there is none."""
    out.mkdir()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
    for split, role in (("train", "labeled"), ("test", "test"), ("unlabeled", "unlabeled")):
        rows = [row for row in files(photos) if row[0].startswith(role)]
        table = {
            "image": [{"path": path, "bytes": content} for path, _, content in rows],
            "label": [-1 if label is None else CLASSES.index(label) for _, label, _ in rows],
        }
        datasets.Dataset.from_dict(table, features=features).to_parquet(out / f"{split}-00000-of-00001.parquet")
    return out


def saved(photos: Path, out: Path) -> Path:
    """The same, as `save_to_disk` leaves it: Arrow."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
    splits = {}
    for role in ("labeled", "test", "unlabeled"):
        rows = [row for row in files(photos) if row[0].startswith(role)]
        table = {
            "image": [{"path": path, "bytes": content} for path, _, content in rows],
            "label": [None if label is None else CLASSES.index(label) for _, label, _ in rows],
        }
        splits["train" if role == "labeled" else role] = datasets.Dataset.from_dict(table, features=features)
    datasets.DatasetDict(splits).save_to_disk(out, num_shards={"train": 2, "test": 1, "unlabeled": 1})
    return out


def coco(photos: Path, out: Path) -> Path:
    """A COCO file for each role beside the images, boxes and all."""
    shutil.copytree(photos, out / "images")
    (out / "annotations").mkdir()
    for role in ("labeled", "test", "unlabeled"):
        images, annotations = [], []
        for number, (path, label, _) in enumerate(row for row in files(photos) if row[0].startswith(role)):
            images.append({"id": number, "file_name": path, "width": 48, "height": 40})
            if label is not None:
                about = {"image_id": number, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
                annotations += [
                    about | {"id": 2 * number + n, "category_id": 1 + CLASSES.index(label)} for n in range(2)
                ]
        categories = [{"id": 1 + n, "name": name} for n, name in enumerate((*CLASSES, "unused"))]
        file = out / "annotations" / f"{role}.json"
        file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
        assert len(COCO(file).getImgIds()) == len(images)  # it is one, for the format's own library
    return out


def fiftyone(photos: Path, out: Path) -> Path:
    """Labels by position, as FiftyOne's documentation has them; of images without one, null."""
    labels = {}
    for path, label, content in files(photos):
        if not path.startswith("test"):
            name = path.replace("/", "-")
            put(out / "data" / name, content)
            labels[name.removesuffix(".jpg")] = None if label is None else CLASSES.index(label)
    (out / "labels.json").write_text(json.dumps({"classes": list(CLASSES), "labels": labels}))
    return out


def arrays(photos: Path, out: Path) -> Path:
    """The decoded pixels, in a folder: an .npz for what is learned from, and the rest as .npy."""
    out.mkdir()
    parts = {
        role: [row for row in files(photos) if row[0].startswith(role)] for role in ("labeled", "test", "unlabeled")
    }
    pixels = {
        role: np.stack([np.array(Image.open(io.BytesIO(content)).resize((32, 32))) for *_, content in rows])
        for role, rows in parts.items()
    }
    labels = {role: [CLASSES.index(label) for _, label, _ in parts[role]] for role in ("labeled", "test")}
    np.savez(out / "train.npz", x_train=pixels["labeled"], y_train=labels["labeled"], class_names=np.array(CLASSES))
    for name, array in {"x_test": pixels["test"], "y_test": labels["test"], "x_unlabeled": pixels["unlabeled"]}.items():
        np.save(out / f"{name}.npy", array)
    return out


def facts(own):
    """What a run would see of an image, whatever it is called: sorted (content's hash, class, role, pixels)."""
    names = (*own.pool.class_names, "")
    rows = []
    for images, given in ((own.pool, own.given), (own.test, ["test"] * len(own.test))):
        for number, name in enumerate(images.ids):
            pixels = images.images[number].numpy().tobytes()
            rows.append((name.rpartition("@")[2], names[int(images.labels[number])], str(given[number]), pixels))
    return sorted(rows)
