"""Exports for other libraries: each is read back by the library itself and by our own source, to the same images."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from urllib.parse import unquote

import datasets
import pillow_heif
import pytest
import torchvision
import webdataset
from PIL import Image
from pycocotools.coco import COCO

from semisup.config import DataConfig
from semisup.data.facts import DatasetFacts
from semisup.data.own_images import forget, own_images
from semisup.data.own_images.reading.decode import size_of
from semisup.delivery import packed
from semisup.delivery.chosen import choose
from semisup.delivery.export import export_imagefolder, export_labelstudio, served_images
from semisup.delivery.names import SPLITS
from semisup.delivery.sent import Sources
from tests.data.corpus import encoded, photo, put
from tests.delivery.labeling import split_and_labeled

CLASSES = ("C#", "a test strip", "valid.ation", "über/cat")
"""Words that `datasets` takes for splits, a dot, and signs that no folder can have."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(config, split, table of pseudo-labels) of 60 files in one tar, and what each labeled content's class is."""
    folder = tmp_path_factory.mktemp("packed")
    seed = 0
    with tarfile.open(folder / "photos.tar", "w") as archive:

        def add(name, content):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

        for number in range(len(CLASSES)):
            for _ in range(10):
                seed += 1
                add(f"{seed:03}.jpg", encoded(photo(seed), "JPEG"))
                add(f"{seed:03}.cls", str(number).encode())
        for _ in range(20):
            seed += 1
            add(f"{seed:03}.jpg", encoded(photo(seed), "JPEG"))
    put(folder / "classnames.txt", "\n".join(CLASSES).encode())
    with split_and_labeled({"name": "webdataset", "root": folder / "photos.tar", "size": 16}, folder) as found:
        yield found


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


@pytest.fixture
def expected(run):
    """Content's hash → class of all that goes out, from the tables themselves: ids end with the hash."""
    _, split, pseudo_labels = run
    chosen = choose(split, pseudo_labels, with_labeled=True)
    return {name.rpartition("@")[2]: label for name, label in zip(chosen["id"], chosen["label"], strict=True)}


def export(run, write, out):
    config, split, pseudo_labels = run
    chosen, facts = choose(split, pseudo_labels, with_labeled=True), DatasetFacts.read(split)
    report = packed.export_packed(write, chosen, Sources(config, facts), out, force=False, about={})
    assert report.images == len(chosen)
    return out


def read_back(name, root, cache):
    forget()
    own = own_images(DataConfig(name=name, root=root, size=(16, 16), cache=cache, duplicates="ignore"))
    pairs = [(n, label) for part in (own.pool, own.test) for n, label in zip(part.ids, part.labels, strict=True)]
    forget()
    return {name.rpartition("@")[2]: own.pool.class_names[int(label)] for name, label in pairs}


def test_hugging_face_loads_an_export_with_its_images_and_names_of_classes(run, expected, tmp_path):
    out = export(run, packed.huggingface, tmp_path / "out")
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "hf"))
    assert list(loaded) == ["train"]
    names = loaded["train"].features["label"].names
    raw = loaded["train"].cast_column("image", datasets.Image(decode=False))
    assert {sha(row["image"]["bytes"]): names[row["label"]] for row in raw} == expected
    assert loaded["train"][0]["image"].size == (48, 48)
    assert read_back("parquet", out, tmp_path / "cache") == expected


def test_webdataset_reads_an_export_sample_by_sample(run, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "BYTES_A_SHARD", 30_000)  # so that there are several shards
    out = export(run, packed.webdataset, tmp_path / "out")
    names, found, shards = (out / "classnames.txt").read_text().splitlines(), {}, sorted(out.glob("*.tar"))
    assert len(shards) > 1
    for shard in shards:
        with shard.open("rb") as stream:
            members = webdataset.tariterators.tar_file_iterator(stream)
            for sample in webdataset.tariterators.group_by_keys({**m, "__url__": str(shard)} for m in members):
                found[sha(sample["jpg"])] = names[int(sample["cls"])]
                assert json.loads(sample["json"])["label"] == names[int(sample["cls"])]
    assert found == expected
    assert read_back("webdataset", out, tmp_path / "cache") == expected


def test_cocos_own_library_reads_an_export(run, expected, tmp_path):
    out = export(run, packed.coco, tmp_path / "out")
    read = COCO(out / "labels.json")
    found = {}
    for image in read.loadImgs(read.getImgIds()):
        (annotation,) = read.loadAnns(read.getAnnIds([image["id"]]))
        (category,) = read.loadCats([annotation["category_id"]])
        found[sha((out / "data" / image["file_name"]).read_bytes())] = category["name"]
    assert found == expected
    assert read_back("coco", out, tmp_path / "cache") == expected


def test_fiftyones_layout_is_read_back(run, expected, tmp_path):
    out = export(run, packed.fiftyone, tmp_path / "out")
    assert {file.stem for file in (out / "data").iterdir()} == set(
        json.loads((out / "labels.json").read_text())["labels"]
    )
    assert read_back("fiftyone", out, tmp_path / "cache") == expected


def test_every_image_of_an_exported_folder_is_seen_by_torchvision_and_by_datasets(run, expected, tmp_path):
    """A folder called "a test strip" is a split to `datasets`, which then passes over all others."""
    config, split, pseudo_labels = run
    chosen = choose(split, pseudo_labels, with_labeled=True)
    sources = Sources(config, DatasetFacts.read(split))
    export_imagefolder(chosen, sources, tmp_path / "out", link=False, force=False, about={})
    seen = torchvision.datasets.ImageFolder(tmp_path / "out")
    assert len(seen) == len(chosen)
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "hf"))
    names = loaded["train"].features["label"].names
    raw = loaded["train"].cast_column("image", datasets.Image(decode=False))
    found = {sha(Path(row["image"]["path"]).read_bytes()): unquote(names[row["label"]]) for row in raw}
    assert list(loaded) == ["train"]
    assert found == expected


def test_coco_has_the_size_of_a_photograph_of_a_phone():
    image = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(photo(3, 40, 60))).save(image)
    assert size_of(image.getvalue()) == (60, 40)


def test_the_words_that_are_escaped_are_those_of_datasets():
    assert set(SPLITS) == {word for words in datasets.data_files.SPLIT_KEYWORDS.values() for word in words}


def test_nothing_is_written_beside_images_that_lie_in_a_container(run, tmp_path):
    config, split, pseudo_labels = run
    before = sorted(config.data.root.parent.iterdir())
    chosen, facts = choose(split, pseudo_labels), DatasetFacts.read(split)
    sources = Sources(config, facts)
    export_labelstudio(chosen, sources, tmp_path / "ls", force=False, about={})
    assert sorted(config.data.root.parent.iterdir()) == before
    storage = served_images(sources.served_root(chosen["path"]), tmp_path / "ls").storage
    assert len(list(storage.iterdir())) == len(chosen)
