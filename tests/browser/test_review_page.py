"""The labeling page in a real browser: keys label, undo takes back, and the table holds what was pressed."""

import pandas as pd
import pytest

from semisup.data.tables import protected, read_csv
from semisup.delivery.page import build_page
from semisup.delivery.page.candidates import AUDIT, CHECK, LABEL, NAME
from tests.browser.conftest import PHONE
from tests.data.corpus import encoded, photo

pytestmark = pytest.mark.browser

HOSTILE = ['<img src=x onerror="document.title=1">', "</script><script>document.title=2</script>", 'a "b", c', "猫"]


def page_file(tmp_path, names, images=4, checks=1):
    """A page with images named after their number; the last ones are labels to check."""
    rows = [
        {
            "id": f"{number}.png@{number}",
            "path": f"{number}.png",
            "section": CHECK if number >= images - checks else LABEL,
            "given": names[0] if number >= images - checks else "",
            "reason": f"undecided between {names[0]} and {names[1]}",
            "label_1": names[0],
            "probability_1": 0.5,
            "label_2": names[1],
            "probability_2": 0.4,
            "label_3": names[-1],
            "probability_3": 0.1,
        }
        for number in range(images)
    ]
    file = tmp_path / "review.html"
    contents = [encoded(photo(number), "PNG") for number in range(images)]
    file.write_text(build_page("Review of photos", "run", names, pd.DataFrame(rows), contents), encoding="utf-8")
    return file


def saved(page, tmp_path):
    """What the button leaves, as a table by row of the page."""
    with page.expect_download() as waiting:
        page.click("#save")
    assert waiting.value.suggested_filename == "labels.csv"
    waiting.value.save_as(tmp_path / "labels.csv")
    return read_csv(tmp_path / "labels.csv", "labels.csv")


def test_keys_label_and_the_table_holds_what_was_pressed(tmp_path, open_page):
    page = open_page(page_file(tmp_path, ["cat", "dog", "bird"])).page
    for key in ("2", "s", "x", "1"):  # image 0 dog, 1 skipped, 2 left out, 3 cat
        page.keyboard.press(key)
    table = saved(page, tmp_path)
    assert table.columns.tolist() == ["id", "path", "annotation", "label", "given"]
    assert table.to_numpy().tolist() == [
        ["0.png@0", "0.png", "label", "dog", ""],
        ["2.png@2", "2.png", "discard", "", ""],
        ["3.png@3", "3.png", "label", "cat", "cat"],
    ]
    assert page.inner_text("#count") == "3 of 4"


def test_undo_takes_the_annotations_back_one_by_one(tmp_path, open_page):
    page = open_page(page_file(tmp_path, ["cat", "dog", "bird"])).page
    for key in ("1", "2", "3", "u", "Backspace", "3"):  # 0 cat, 1 dog, 2 bird; both last ones back; 1 bird
        page.keyboard.press(key)
    table = saved(page, tmp_path)
    assert dict(zip(table["path"], table["label"], strict=True)) == {"0.png": "cat", "1.png": "bird"}


def test_an_annotation_given_again_replaces_the_older_and_undo_restores_it(tmp_path, open_page):
    page = open_page(page_file(tmp_path, ["cat", "dog", "bird"])).page
    for key in ("1", "ArrowLeft", "2"):
        page.keyboard.press(key)
    assert saved(page, tmp_path)["label"].tolist() == ["dog"]
    page.keyboard.press("u")
    assert saved(page, tmp_path)["label"].tolist() == ["cat"]


def test_clicks_label_as_keys_do_and_arrows_go_round(tmp_path, open_page):
    page = open_page(page_file(tmp_path, ["cat", "dog", "bird"])).page
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#path") == "3.png"
    assert page.inner_text("#section") == "Is this label right?"
    page.keyboard.press("ArrowRight")
    page.click("#classes button:has-text('bird')")
    page.click("#strip button >> nth=2")
    page.click("#discard")
    table = saved(page, tmp_path)
    assert dict(zip(table["path"], table["annotation"], strict=True)) == {"0.png": "label", "2.png": "discard"}


def test_annotations_outlive_the_page(tmp_path, open_page, chromium):
    file, context = page_file(tmp_path, ["cat", "dog", "bird"]), chromium.new_context()
    open_page(file, context=context).page.keyboard.press("2")
    again = open_page(file, context=context).page
    assert again.inner_text("#count") == "1 of 4"
    assert again.inner_text("#path") == "1.png"  # the first that is open
    assert saved(again, tmp_path)["label"].tolist() == ["dog"]


def test_a_class_that_is_called_by_a_key_has_that_key(tmp_path, open_page):
    page = open_page(page_file(tmp_path, [*"0123456789"])).page
    for key in ("7", "0"):
        page.keyboard.press(key)
    assert saved(page, tmp_path)["label"].tolist() == ["7", "0"]


def test_classes_stand_in_their_order_whatever_their_keys_are(tmp_path, open_page):
    names = ["cat", "1", "dog", *(f"class {number}" for number in range(9))]
    shown = open_page(page_file(tmp_path, names)).page.locator("#classes button").all_inner_texts()
    assert [text.split()[0] for text in shown[:3]] == ["cat", "1", "dog"]
    assert shown[0].split()[1:] == ["2"]  # the key 1 is the class 1
    assert len(shown) == len(names)


def test_names_of_any_kind_are_shown_and_saved_as_they_are(tmp_path, open_page):
    page = open_page(page_file(tmp_path, HOSTILE)).page
    for key in "1234":
        page.keyboard.press(key)
    assert saved(page, tmp_path)["label"].tolist() == HOSTILE
    assert page.title() == "Review of photos"
    for name in HOSTILE:
        assert name in page.inner_text("#classes")


def test_what_a_spreadsheet_would_run_is_saved_as_text_and_read_back_as_it_was(tmp_path, open_page):
    names = ["=1+1", "@SUM(A1)", "-1", "'=x"]
    page = open_page(page_file(tmp_path, names)).page
    for key in "1234":
        page.keyboard.press(key)
    assert saved(page, tmp_path)["label"].tolist() == names
    raw = pd.read_csv(tmp_path / "labels.csv", dtype=str, keep_default_na=False)
    assert raw["label"].tolist() == [protected(name) for name in names] == ["'=1+1", "'@SUM(A1)", "-1", "''=x"]


def test_among_ten_thousand_classes_one_is_found_by_its_name(tmp_path, open_page):
    page = open_page(page_file(tmp_path, [f"class {number}" for number in range(10_000)])).page
    assert page.locator("button").count() < 50
    page.keyboard.press("/")
    page.keyboard.type("class 4321")
    page.keyboard.press("Enter")
    page.keyboard.press("2")  # the second of the likeliest
    assert saved(page, tmp_path)["label"].tolist() == ["class 4321", "class 1"]


@pytest.mark.parametrize("names", [["cat", "dog", "bird"], HOSTILE, ["w" * 200, "v" * 200, "u"]])
def test_on_a_phone_nothing_is_wider_than_the_window(tmp_path, open_page, names):
    assert open_page(page_file(tmp_path, names, images=12), PHONE).overflow() == 0


def test_in_the_dark_the_page_is_dark(tmp_path, open_page):
    file = page_file(tmp_path, ["cat", "dog", "bird"])
    assert min(open_page(file).background()) > 200
    assert max(open_page(file, scheme="dark").background()) < 60


def audit_page(tmp_path, accepted, allowed, places=None):
    """An audit's page of as many images as there are labels; the third entry of `allowed` is that of two annotations.

    `places` in the sample: where no file is gone, they are counted.
    """
    rows = pd.DataFrame(
        {"id": f"{number}.png@{number}", "path": f"{number}.png", "section": AUDIT, "given": "", "reason": "drawn"}
        for number in range(len(accepted))
    )
    file = tmp_path / "audit.html"
    contents = [encoded(photo(number), "PNG") for number in range(len(accepted))]
    audit = {"name": "abc123", "target": 0.95, "allowed": allowed, "places": places or list(range(len(accepted)))}
    page = build_page("Audit", "run", ["cat", "dog", "newt"], rows, contents, audit=audit, labels=accepted)
    file.write_text(page, encoding="utf-8")
    return file


def test_an_audit_shows_no_label_takes_none_of_the_classes_and_says_when_enough_is_known(tmp_path, open_page):
    page = open_page(audit_page(tmp_path, ["cat", "dog", "cat", "cat"], [-1, -1, -1, 0, 1])).page
    assert page.locator("#predicted li").count() == 0
    assert page.locator("button.chosen").count() == 0
    for key in ("1", "2", "1"):
        assert page.inner_text("#enough") == ""
        page.keyboard.press(key)
    assert "at least 95 % of the accepted labels are right" in page.inner_text("#enough")  # 3 of 3
    page.keyboard.press("n")
    assert "at least 95 %" in page.inner_text("#enough")  # one of four may be wrong
    page.keyboard.press("u")
    page.click("#none")
    table = saved(page, tmp_path)
    assert table.columns.tolist() == ["id", "path", "annotation", "label", "given", "audit"]
    assert table["annotation"].tolist() == ["label", "label", "label", "none"]
    assert table["label"].tolist() == ["cat", "dog", "cat", ""]
    assert set(table["audit"]) == {"abc123"}
    assert set(table["given"]) == {""}


def test_images_skipped_in_an_audit_count_as_wrong_until_they_are_annotated(tmp_path, open_page):
    page = open_page(audit_page(tmp_path, ["cat"] * 4, [-1, -1, 0, 0, 0])).page
    for key in ("1", "s", "1"):
        page.keyboard.press(key)
    assert page.inner_text("#enough") == ""
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("1")
    assert "That is enough" in page.inner_text("#enough")


def test_images_of_the_sample_whose_files_are_gone_count_as_wrong_up_to_the_last_annotation(tmp_path, open_page):
    page = open_page(audit_page(tmp_path, ["cat"] * 3, [-1, -1, 0, 0, 1], places=[0, 2, 3])).page
    for key in ("1", "1"):
        page.keyboard.press(key)
        assert page.inner_text("#enough") == ""  # two of three, and none may be wrong
    page.keyboard.press("1")
    assert "That is enough" in page.inner_text("#enough")  # three of four, and one may be


def group_page(tmp_path, names=("cat", "dog"), groups=(1, 1, 1, 1, 2, 2, 0)):
    """A page of images in groups to be named, and of some (0) to be labeled."""
    rows = pd.DataFrame(
        {
            "id": f"{number}.png@{number}",
            "path": f"{number}.png",
            "section": NAME if group else LABEL,
            "given": "",
            "reason": "alike",
            "group": group,
        }
        for number, group in enumerate(groups)
    )
    contents = [encoded(photo(number), "PNG") for number in range(len(groups))]
    file = tmp_path / "groups.html"
    file.write_text(build_page("Review", "run", names, rows, contents, naming=True), encoding="utf-8")
    return file


def test_a_group_is_named_at_once_but_for_what_is_taken_out(tmp_path, open_page):
    page = open_page(group_page(tmp_path)).page
    assert page.inner_text("#section") == "What are these?"
    assert "about these 4 images" in page.inner_text("#together")
    page.click("#alike button:nth-child(2)")  # image 2
    assert "about these 3 images" in page.inner_text("#together")
    page.keyboard.press("c")
    page.keyboard.type(" red  newt ")
    page.keyboard.press("Enter")
    assert page.inner_text("#count") == "3 of 7"
    assert page.inner_text("#together") == "What you say is about this image alone."  # the one that was taken out
    page.keyboard.press("1")
    assert "about these 2 images" in page.inner_text("#together")  # the next group
    page.click("#classes button:has-text('red newt')")  # a class like all others now
    page.keyboard.press("2")
    assert page.inner_text("#count") == "7 of 7"
    table = saved(page, tmp_path)
    named = dict(zip(table["path"], zip(table["annotation"], table["label"], strict=True), strict=True))
    newt = ("new", "red newt")
    assert [named[f"{number}.png"] for number in range(7)] == [
        newt, newt, ("label", "cat"), newt, newt, newt, ("label", "dog"),
    ]  # fmt: skip


def test_a_group_is_undone_at_once_and_skipped_at_once(tmp_path, open_page):
    page = open_page(group_page(tmp_path)).page
    page.keyboard.press("x")
    assert page.inner_text("#count") == "4 of 7"
    page.keyboard.press("u")
    assert page.inner_text("#count") == "0 of 7"
    page.keyboard.press("s")
    assert page.inner_text("#path") == "4.png"
    page.keyboard.press("s")
    assert page.inner_text("#path") == "6.png"
    assert page.inner_text("#section") == "What is this?"


def test_undo_gives_back_what_was_taken_out_and_a_name_that_nobody_bears_is_gone(tmp_path, open_page):
    page = open_page(group_page(tmp_path)).page
    page.click("#alike button:nth-child(1)")
    page.fill("#name", "netw")
    page.click("#naming button")
    page.keyboard.press("u")
    assert "about these 3 images" in page.inner_text("#together")
    assert page.locator("#classes button").count() == 2
    page.fill("#name", "Newt")
    page.click("#naming button")
    assert page.inner_text("#count") == "3 of 7"
    assert set(saved(page, tmp_path)["label"]) == {"Newt"}


def test_names_outlive_the_page_and_one_that_there_is_makes_no_second_class(tmp_path, open_page):
    opened = open_page(group_page(tmp_path))
    page = opened.page
    for name in ("newt", "CAT"):
        page.fill("#name", name)
        page.click("#naming button")
    page.reload()
    assert page.locator("#classes button").all_inner_texts()[-1] == "newt"
    assert set(saved(page, tmp_path)["label"]) == {"newt", "cat"}
    assert set(saved(page, tmp_path)["annotation"]) == {"new", "label"}


def test_where_no_class_can_be_added_none_is_asked_for(tmp_path, open_page):
    page = open_page(page_file(tmp_path, ["cat", "dog", "newt"])).page
    assert not page.is_visible("#naming")
    assert not page.is_visible("#alike button")
    phone = open_page(group_page(tmp_path, ["w" * 200, "cat"], (1,) * 12), PHONE)
    assert phone.page.is_visible("#naming")
    assert phone.overflow() == 0


def test_a_page_that_is_no_audit_does_not_offer_none_of_the_classes(tmp_path, open_page):
    page = open_page(page_file(tmp_path, ["cat", "dog", "newt"])).page
    assert not page.is_visible("#none")
    page.keyboard.press("n")
    assert page.inner_text("#count") == "0 of 4"
