"""The report of a pipeline in a real browser."""

import pytest

from tests.browser.conftest import PHONE
from tests.report.test_report import build, everything

pytestmark = pytest.mark.browser


@pytest.fixture
def report(stage_folders):
    return stage_folders["evaluate"] / "report.html"


def test_the_report_shows_its_figures_and_asks_for_nothing(report, open_page):
    page = open_page(report).page
    assert page.locator("svg").count() > 3
    assert page.locator(".card").count() == 6
    assert "tiny" in page.title()


def test_the_config_opens_by_the_keyboard(report, open_page):
    page = open_page(report).page
    assert not page.is_visible("details pre")
    page.focus("summary")
    page.keyboard.press("Enter")
    assert page.is_visible("details pre")


def test_on_a_phone_the_report_is_no_wider_than_the_window(report, open_page):
    assert open_page(report, PHONE).overflow() == 0


def test_in_the_dark_the_report_is_dark(report, open_page):
    assert min(open_page(report).background()) > 200
    assert max(open_page(report, scheme="dark").background()) < 60


def test_long_names_of_files_and_classes_make_the_page_of_a_phone_no_wider(tmp_path, open_page):
    build(everything(tmp_path / "in", ("w" * 90, "v" * 90, "u" * 90)), tmp_path / "out")
    opened = open_page(tmp_path / "out" / "report.html", PHONE)
    assert opened.overflow() == 0
    tables = opened.page.locator("table.files")
    assert tables.count() == 3
    for table in tables.all():  # to be read without moving it sideways
        assert table.bounding_box()["width"] <= PHONE["width"]
