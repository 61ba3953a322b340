"""Pseudo-labels as a data set: what was accepted and nothing else, and the same again when it is read back."""

import hashlib
import json
import re
import unicodedata
import xml.etree.ElementTree
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semisup.config import DataConfig
from semisup.data.datasets import UNLABELED
from semisup.data.facts import DatasetFacts
from semisup.data.own_images import forget, own_images
from semisup.data.own_images.folders.listing import list_images
from semisup.data.own_images.folders.roles import role_of
from semisup.data.roles.split import Split
from semisup.data.sources import load_pool
from semisup.delivery import export as exporting
from semisup.delivery.chosen import choose, export_table
from semisup.delivery.export import MARK, export_imagefolder, export_labelstudio, served_images
from semisup.delivery.names import MOST_BYTES, safe_name
from semisup.delivery.sent import Sources
from semisup.errors import UserError
from tests.data.corpus import encoded, photo, put
from tests.delivery.labeling import split_and_labeled

ODD = ["../b: c?", "test", "..", "=Ça va#/", "con", "__background__"]
"""Classes that no folder can be called, or that a folder of ours would mean something else by."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """(config, folder of split, folder of pseudo-labels) of a manifest with odd classes and files of the same name."""
    folder = tmp_path_factory.mktemp("export")
    rows, seed = ["path,label,role"], 0
    for number, name in enumerate(ODD):
        for image in range(8):
            seed += 1
            put(folder / "photos" / f"{number}" / f"{image}.png", encoded(photo(seed), "PNG"))
            rows.append(f'"{number}/{image}.png","{name}",{"test" if image < 2 else ""}')
    for image in range(20):
        seed += 1
        put(folder / "photos" / f"new {image % 4}" / "IMG", encoded(photo(seed), "JPEG"))
        put(folder / "photos" / f"new {image % 4}" / f"{image}.png", encoded(photo(1000 + image), "PNG"))
    rows += [f'"new {image % 4}/{image}.png",,' for image in range(20)] + [
        f'"new {number}/IMG",,' for number in range(4)
    ]
    (folder / "photos.csv").write_text("\n".join(rows), encoding="utf-8")
    data = {"name": "folder", "root": folder / "photos", "manifest": folder / "photos.csv", "size": 16}
    with split_and_labeled(data, folder) as found:
        yield found


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def expected_contents(config, split: Path, pseudo_labels: Path, least: float) -> dict[str, str]:
    """Content's hash → class, worked out from pseudo-label table and split themselves."""
    names = DatasetFacts.read(split).class_names
    table, labels = Split.read(split / "split.parquet").table, pd.read_parquet(pseudo_labels / "pseudo_labels.parquet")
    rows = [*labels[labels["accepted"] & (labels["confidence"] >= least)].itertuples()]
    rows += [*table[table["role"] == "labeled"].itertuples()]
    return {digest_of(config.data.root / row.id.rpartition("@")[0]): names[row.label] for row in rows}


def read_back(root: Path, cache: Path) -> dict[str, str]:
    """Content's hash → class, as a run on the exported folder would see it."""
    forget()
    own = own_images(DataConfig(name="folder", root=root, size=(16, 16), cache=cache, duplicates="ignore"))
    shas = {path: digest_of(root / path) for path in own.files["path"]}
    pairs = [(name, label) for part in (own.pool, own.test) for name, label in zip(part.ids, part.labels, strict=True)]
    assert all(label != UNLABELED for _, label in pairs)
    forget()
    return {shas[name.rpartition("@")[0]]: own.pool.class_names[label] for name, label in pairs}


@pytest.mark.parametrize("link", [False, True])
def test_an_exported_folder_read_back_gives_the_same_labels_for_the_same_contents(found, tmp_path, link):
    config, split, pseudo_labels = found
    chosen = choose(split, pseudo_labels, min_confidence=0.6, with_labeled=True)
    sources = Sources(config, DatasetFacts.read(split))
    report = export_imagefolder(chosen, sources, tmp_path / "out", link=link, force=False, about={})
    expected = expected_contents(config, split, pseudo_labels, 0.6)
    assert report.images == len(chosen) == len(expected)
    back = read_back(tmp_path / "out", tmp_path / "cache")
    assert {sha: unquote(name) for sha, name in back.items()} == expected
    hard = {file.stat().st_nlink for file in (tmp_path / "out").glob("*/*")}
    assert hard == {2 if link else 1}
    if not link:  # a file without an extension has got one: ImageFolder passes it over otherwise
        assert len(list((tmp_path / "out").rglob("IMG-*.jpeg"))) == len(
            [p for p in chosen["path"] if p.endswith("IMG")]
        )


def test_only_accepted_and_labeled_images_go_out_and_never_validation_or_test(found):
    _, split, pseudo_labels = found
    table, labels = Split.read(split / "split.parquet").table, pd.read_parquet(pseudo_labels / "pseudo_labels.parquet")
    chosen = choose(split, pseudo_labels, with_labeled=True)
    roles = chosen.merge(table, on="id", validate="one_to_one", suffixes=("", "_split"))["role_split"]
    assert set(roles) == {"labeled", "unlabeled"}
    accepted = set(labels.loc[labels["accepted"], "id"])
    assert set(chosen.loc[chosen["source"] == "pseudo_label", "id"]) == accepted
    assert set(choose(split, pseudo_labels)["id"]) == accepted
    assert (choose(split, pseudo_labels, min_confidence=0.8)["confidence"] >= 0.8).all()
    with pytest.raises(UserError, match="is that sure"):
        choose(split, pseudo_labels, min_confidence=1.0)


def test_a_confidence_of_exactly_the_least_one_goes_out(found, tmp_path):
    """float32 keeps 0.95 as 0.94999999, which some readers of Parquet files hold to be less than 0.95."""
    _, split, pseudo_labels = found
    labels = pd.read_parquet(pseudo_labels / "pseudo_labels.parquet").assign(accepted=True)
    labels["confidence"] = np.full(len(labels), 0.95, np.float32)
    labels.to_parquet(tmp_path / "pseudo_labels.parquet", index=False)
    assert len(choose(split, tmp_path, min_confidence=0.95)) == len(labels)
    with pytest.raises(UserError, match="is that sure"):
        choose(split, tmp_path, min_confidence=0.9501)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_exported_table_is_a_manifest_of_the_same_images(found, tmp_path, suffix):
    config, split, pseudo_labels = found
    chosen, out = choose(split, pseudo_labels, with_labeled=True), tmp_path / f"labels{suffix}"
    export_table(chosen, out)
    listing = list_images(config.data.root, out)
    read = {path: listing.class_names[label] for path, label in zip(listing.paths, listing.labels, strict=True)}
    assert read == dict(zip(chosen["path"], chosen["label"], strict=True))
    assert set(listing.roles) == {""}


def test_images_in_no_files_are_written_as_their_pixels(stage_folders, tiny_config, tmp_path):
    chosen = choose(stage_folders["split"], stage_folders["pseudo_label"], with_labeled=True)
    sources = Sources(tiny_config, DatasetFacts.read(stage_folders["split"]))
    export_imagefolder(chosen, sources, tmp_path / "out", link=True, force=False, about={})
    forget()
    data = DataConfig(name="folder", root=tmp_path / "out", size=(8, 8), channels="gray", cache=tmp_path / "cache")
    own = own_images(data.model_copy(update={"duplicates": "ignore"}))
    pool, seen = load_pool("digits", None, False), 0
    place = {name.replace("/", "-"): row for row, name in enumerate(pool.ids)}
    label_of = dict(zip(chosen["id"], chosen["label"], strict=True))
    for part in (own.pool, own.test):
        for name, image, label in zip(part.ids, part.images, part.labels, strict=True):
            row = place[Path(name.rpartition("@")[0]).stem]
            assert (image == pool.images[row]).all()
            assert own.pool.class_names[label] == label_of[pool.ids[row]]
            seen += 1
    assert seen == len(chosen)
    forget()


def test_label_studio_gets_predictions_with_their_score_and_labels_as_annotations(found, tmp_path):
    config, split, pseudo_labels = found
    chosen, facts = choose(split, pseudo_labels, with_labeled=True), DatasetFacts.read(split)
    sources = Sources(config, facts)
    export_labelstudio(chosen, sources, tmp_path / "ls", force=False, about={})
    served = served_images(sources.root, tmp_path / "ls")
    assert served.storage.parent == served.document_root  # Label Studio takes no storage that is its root
    tasks = json.loads((tmp_path / "ls" / "tasks.json").read_text(encoding="utf-8"))
    interface = xml.etree.ElementTree.parse(tmp_path / "ls" / "labels.xml").getroot()
    image, choices = interface.find("Image"), interface.find("Choices")
    assert [choice.get("value") for choice in choices] == list(facts.class_names)
    assert interface.find("Text") is None  # what no task has, Label Studio would refuse them for
    assert len(tasks) == len(chosen)
    for task, row in zip(tasks, chosen.itertuples(), strict=True):
        address = urlsplit(task["data"][image.get("value").removeprefix("$")])
        assert address.path == "/data/local-files/"
        file = served.document_root / parse_qs(address.query)["d"][0]
        assert file == config.data.root.resolve() / row.path
        assert file.is_relative_to(served.storage)
        assert file.is_file()
        (answer,) = task["predictions" if row.source == "pseudo_label" else "annotations"]
        (result,) = answer["result"]
        assert (result["from_name"], result["to_name"]) == (choices.get("name"), image.get("name"))
        assert (result["type"], result["value"]) == ("choices", {"choices": [row.label]})
        if row.source == "pseudo_label":
            assert (answer["score"], answer["model_version"]) == (pytest.approx(row.confidence), "baseline:0123")
        assert ("predictions" in task) != ("annotations" in task)


def test_files_that_are_gone_changed_or_outside_are_left_out_and_named(found, tmp_path):
    config, split, pseudo_labels = found
    chosen = choose(split, pseudo_labels, with_labeled=True)
    other = tmp_path / "photos"
    for path in chosen["path"]:
        put(other / path, (config.data.root / path).read_bytes())
    first, second = chosen["path"].iloc[0], chosen["path"].iloc[-1]
    (other / first).unlink()
    (other / second).write_bytes(b"another")
    put(tmp_path / "secret.png", (config.data.root / first).read_bytes())
    outside = chosen.assign(path=[chosen["path"].iloc[0], "../secret.png", *chosen["path"].iloc[2:]])
    moved = config.model_copy(update={"data": config.data.model_copy(update={"root": other})})
    sources = Sources(moved, DatasetFacts.read(split))
    report = export_imagefolder(outside, sources, tmp_path / "out", link=False, force=False, about={})
    assert sorted(sources.gone) == sorted([first, "../secret.png", second])
    assert report.images == len(chosen) - 3
    empty = config.model_copy(update={"data": config.data.model_copy(update={"root": tmp_path / "nowhere"})})
    with pytest.raises(UserError, match="--data-root"):
        export_imagefolder(
            chosen, Sources(empty, DatasetFacts.read(split)), tmp_path / "no", link=False, force=False, about={}
        )
    assert not (tmp_path / "no").exists()


def test_nothing_is_half_written_and_nothing_of_others_is_deleted(found, tmp_path, monkeypatch):
    config, split, pseudo_labels = found
    chosen, sources = choose(split, pseudo_labels), Sources(config, DatasetFacts.read(split))

    def go(out: Path, force: bool = False) -> None:
        export_imagefolder(chosen, sources, out, link=False, force=force, about={})

    go(tmp_path / "out")
    before = {file.relative_to(tmp_path) for file in tmp_path.rglob("*")}
    with pytest.raises(UserError, match="--force"):
        go(tmp_path / "out")
    put(tmp_path / "mine" / "letter.txt", b"dear")
    with pytest.raises(UserError, match="was not written by"):
        go(tmp_path / "mine", force=True)
    with pytest.raises(UserError, match=r"inside data\.root"):
        go(config.data.root / "out")
    go(tmp_path / "out", force=True)
    put(tmp_path / "out" / "rest.txt", b"mine")
    with pytest.raises(UserError, match=r"that semisup did not write, or that were changed since: rest\.txt;"):
        go(tmp_path / "out", force=True)
    (tmp_path / "out" / "rest.txt").rename(tmp_path / "rest.txt")
    exported = next((tmp_path / "out").rglob("*.png"))
    exported.write_bytes(exported.read_bytes() + b"edited")
    with pytest.raises(UserError, match=re.escape(exported.name)):
        go(tmp_path / "out", force=True)
    go(tmp_path / "anew")
    monkeypatch.setattr(exporting, "_put", full_disk)
    with pytest.raises(UserError, match="No space left"):
        go(tmp_path / "anew", force=True)
    after = {file.relative_to(tmp_path) for file in tmp_path.rglob("*")}
    anew = {Path("anew") / file.relative_to("out") for file in before if file.is_relative_to("out")}
    assert after == before | anew | {Path("mine"), Path("mine/letter.txt"), Path("rest.txt")}
    assert (tmp_path / "out" / MARK).is_file()


def full_disk(*_, **__):
    raise OSError(28, "No space left on device")


# --- names ------------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=40))
def test_a_safe_name_is_one_part_of_a_path_and_can_be_undone(name):
    safe = safe_name(name)
    assert not set(safe) & set('/\\:*?"<>|#')
    assert role_of(safe) is None
    assert safe[0] not in ". "
    assert not safe.startswith("__")
    assert safe[-1] not in ". "
    assert not any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in safe)
    assert len(safe.encode()) <= MOST_BYTES
    if "~" not in safe:
        assert unquote(safe, errors="surrogatepass") == name


@given(st.lists(st.text(min_size=1, max_size=300), unique=True, min_size=2))
def test_different_names_stay_different(names):
    assert len({safe_name(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    "name", ["aux", "NUL.png", "Test", "val", ".hidden", "end.", " blank ", "__background__", "a test"]
)
def test_names_that_mean_something_elsewhere_are_changed(name):
    assert safe_name(name) != name
    assert unquote(safe_name(name)) == name
