"""A review: whom it asks about, what the page holds, and that nothing in it can become markup."""

import base64
import io
import json
import re
import xml.etree.ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.data.sources import load_pool
from semisup.delivery.export import MARK
from semisup.delivery.page import build_page, thumbnail
from semisup.delivery.page.annotate import write_review
from semisup.delivery.page.candidates import CHECK, LABEL, Material, to_check, to_label
from semisup.errors import UserError
from semisup.stages.support.models.saved import load_model
from tests.data.corpus import encoded, photo

HOSTILE = ["</script><script>alert(1)</script>", 'say "a\'b"', "<img src=x onerror=alert(1)>", "猫 \u2028", "&amp;"]


def material_of(config, folders, learned_from=("pseudo_label",), split=None):
    return Material(
        config,
        DatasetFacts.read(folders["split"]),
        split or Split.read(folders["split"] / "split.parquet"),
        [pd.read_parquet(folders[name] / "pseudo_labels.parquet") for name in learned_from],
        load_model(folders["joint"]),
        None,
    )


@pytest.fixture(scope="module")
def material(tiny_config, stage_folders):
    return material_of(tiny_config, stage_folders)


def test_only_unlabeled_images_are_asked_about_each_once(material):
    table = to_label(material, 40)
    assert len(table) == table["id"].nunique() == 40
    assert set(table["id"]) <= set(material.split.ids("unlabeled"))
    assert (table["worth"] >= table["doubt"]).all()
    assert table["reason"].str.len().gt(0).all()


def test_what_is_asked_about_is_more_doubtful_and_more_often_wrong_than_the_rest(material):
    truth = load_pool("digits").labels.numpy()
    table = to_label(material, 40)
    wrong = (table["label_1"].astype(int).to_numpy() != truth[table["index"]]).mean()
    pseudo_labels = material.learned_from[0]
    assert wrong > 2 * (pseudo_labels["label"].to_numpy() != truth[pseudo_labels["index"]]).mean()


def test_labels_that_changed_between_rounds_are_told_and_count(tiny_config, round_folders):
    rounds = material_of(tiny_config, round_folders, ("pseudo_label", "pseudo_label-2", "pseudo_label-3"))
    table = to_label(rounds, len(rounds.split.ids("unlabeled")))
    second, third = (pseudo_labels.set_index("id")["flipped"] for pseudo_labels in rounds.learned_from[1:])
    expected = (second.astype(int) + third.astype(int))[table["id"]].to_numpy()
    np.testing.assert_allclose(table["flips"], expected / 2)
    assert (table["reason"].str.contains("its label changed in 1 of 2") == (expected == 1)).all()


def test_a_table_of_other_images_is_refused(material):
    other = Material(
        material.config, material.facts, material.split, [material.learned_from[0].iloc[1:]], material.student, None
    )
    with pytest.raises(UserError, match="other images"):
        to_label(other, 5)


def test_planted_wrong_labels_lead_those_to_check(tiny_config, stage_folders):
    split = Split.read(stage_folders["split"] / "split.parquet")
    table = split.table.copy()
    rows = table.index[table["role"] == "labeled"][[0, 20, 40]]
    table.loc[rows, "label"] = (table.loc[rows, "label"] + 3) % 10
    found = to_check(material_of(tiny_config, stage_folders, split=Split(table)), 10)
    assert not isinstance(found, str)
    assert set(found["id"]) & set(table.loc[rows, "id"])
    assert set(found["id"]) <= set(split.ids("labeled"))
    assert (found["section"] == CHECK).all()
    assert all(re.search(r"^labeled \w+, which a model .* agrees with \d+% of all", why) for why in found["reason"])


def test_a_reason_is_one_line_whatever_a_class_is_called(tiny_config, stage_folders, tmp_path):
    material = material_of(tiny_config, stage_folders)
    names = [f"class\n{name}" for name in material.facts.class_names]
    material = replace(material, facts=replace(material.facts, class_names=names))
    write_review(material, tmp_path / "out", run_id="1" * 32, budget=5, suspects=5, force=False)
    reasons = pd.read_csv(tmp_path / "out" / "candidates.csv")["reason"]
    assert len(reasons) >= 5
    assert not reasons.str.contains("\n").any()


@pytest.mark.parametrize("ones", [None, 0.5, 0.9], ids=["ten classes", "two", "two, 9 to 1"])
def test_a_model_that_knows_too_little_suspects_nobody_and_says_so(tiny_config, stage_folders, ones):
    """Where nine in ten labels are alike, a model that knows nothing agrees with eight or nine in ten."""
    table = Split.read(stage_folders["split"] / "split.parquet").table.copy()
    rows, rng = table.index[table["role"] == "labeled"], np.random.default_rng(0)
    labels = table.loc[rows, "label"].to_numpy() if ones is None else np.arange(len(rows)) >= ones * len(rows)
    table.loc[rows, "label"] = rng.permutation(labels.astype(np.int64))
    material = replace(material_of(tiny_config, stage_folders, split=Split(table)), first_step="as the report says")
    why = to_check(material, 10)
    assert isinstance(why, str)
    assert why.endswith("it knows too little to tell wrong labels; as the report says")


def test_with_too_few_labels_of_a_class_nobody_is_suspected(tiny_config, stage_folders):
    table = Split.read(stage_folders["split"] / "split.parquet").table
    dropped = table.index[(table["role"] == "labeled") & (table["label"] == 3)][2:]
    assert to_check(material_of(tiny_config, stage_folders, split=Split(table.drop(dropped))), 10) == (
        "some class has fewer than 3 labeled images: wrong labels cannot be told"
    )


def test_a_review_leaves_page_table_and_tasks_or_nothing(material, tmp_path, monkeypatch):
    out = tmp_path / "review"
    written = write_review(material, out, run_id="0123456789", budget=12, suspects=3, force=False)
    assert {file.name for file in out.iterdir()} == {
        "review.html", "candidates.csv", "tasks.json", "labels.xml", "images", MARK,
    }  # fmt: skip
    table = pd.read_csv(out / "candidates.csv")
    assert written.to_label == (table["section"] == LABEL).sum() == 12
    assert written.to_check == (table["section"] == CHECK).sum() <= 3
    tasks = json.loads((out / "tasks.json").read_text())
    assert [task["data"]["id"] for task in tasks] == table["id"].tolist()
    interface = xml.etree.ElementTree.parse(out / "labels.xml").getroot()
    shown = interface.find("Text").get("value").removeprefix("$")
    assert [task["data"][shown] for task in tasks] == table["reason"].tolist()
    assert written.served.storage == (out / "images").resolve()
    for task in tasks:  # the digits are in no files of their own
        assert (written.served.document_root / parse_qs(urlsplit(task["data"]["image"]).query)["d"][0]).is_file()
    with pytest.raises(UserError, match="is there already"):
        write_review(material, out, run_id="0123456789", budget=12, suspects=0, force=False)
    monkeypatch.setattr(
        "semisup.delivery.page.annotate.write_labelstudio", lambda *_: (_ for _ in ()).throw(OSError("full"))
    )
    with pytest.raises(UserError, match="full"):
        write_review(material, tmp_path / "other", run_id="0123456789", budget=12, suspects=0, force=False)
    assert [file.name for file in tmp_path.iterdir()] == ["review"]


class Reading(HTMLParser):
    """Collects what a browser would see: tags with their attributes, and the text of the data's script."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.data, self.inside = [], "", False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = ("id", "data") in attrs

    def handle_data(self, data):
        self.data += data if self.inside else ""

    def handle_endtag(self, tag):
        self.inside = False


def page_of(names, title="Review"):
    rows = pd.DataFrame(
        {
            "id": [f"{name}@1" for name in names], "path": names, "section": LABEL, "given": "", "reason": names,
            "label_1": names, "probability_1": 0.5,
        }
    )  # fmt: skip
    return build_page(title, "run", names, rows, [encoded(photo(seed), "PNG") for seed in range(len(names))])


def test_names_of_any_kind_stay_text_on_the_page():
    page = page_of(HOSTILE, title=HOSTILE[0])
    read = Reading(page)
    assert json.loads(read.data)["classes"] == HOSTILE
    assert [image["path"] for image in json.loads(read.data)["images"]] == HOSTILE
    assert [tag for tag, _ in read.tags].count("script") == 2
    assert "alert(1)</script>" not in page


def test_the_page_names_nothing_that_lies_outside():
    page = page_of(["cat", "dog"])
    assert not [value for _, attrs in Reading(page).tags for name, value in attrs.items() if name in {"src", "href"}]
    assert not re.findall(r"https?://|url\(|@import|//cdn", page)
    assert "default-src 'none'" in page


def test_ten_thousand_classes_are_on_the_page_once():
    names = [f"class {number}" for number in range(10_000)]
    rows = pd.DataFrame(
        {
            "id": ["a"],
            "path": ["a"],
            "section": LABEL,
            "given": "",
            "reason": "",
            "label_1": names[7],
            "probability_1": 1,
        }
    )
    page = build_page("Review", "run", names, rows, [encoded(photo(1), "PNG")])
    assert page.count("class 4321") == 1


@pytest.mark.parametrize(
    ("size", "side", "kind", "tiny"),
    [
        ((8, 8), 8, "png", True),
        ((32, 20), 32, "png", False),
        ((100, 50), 100, "jpeg", False),
        ((900, 400), 320, "jpeg", False),
    ],
)
def test_thumbnails_are_no_larger_than_needed(size, side, kind, tiny):
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG")
    uri, is_tiny = thumbnail(buffer.getvalue())
    assert is_tiny == tiny
    assert uri.startswith(f"data:image/{kind};base64,")
    assert Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size == (side, side)
