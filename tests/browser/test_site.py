"""The documentation as a site: its pages and their search work from the folder, without a server or the web."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import DESK, PHONE
from tests.waiting import LONG

pytest.importorskip("mkdocs", reason="the extra docs is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    return folder


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def opened(chromium: Any, site: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    context = chromium.new_context(viewport=request.param)
    context.set_default_timeout(1000 * LONG)
    page = context.new_page()
    page.goto((site / "index.html").as_uri())
    yield page
    context.close()


def test_the_search_finds_a_page_from_the_folder_and_nothing_is_asked_for_elsewhere(opened, site):
    asked = list[str]()
    opened.on("request", lambda request: asked.append(request.url))
    opened.reload()
    if opened.viewport_size == PHONE:
        opened.locator("label.md-header__button[for=__search]").click()
    opened.locator(".md-search__input").press_sequentially("exit codes")
    found = opened.locator(".md-search-result__link").first
    found.wait_for()
    assert found.get_attribute("href").partition("?")[0] == (site / "reference" / "exit-codes.html").as_uri()
    assert asked
    assert [address for address in asked if not address.startswith(("file:", "data:", "about:"))] == []


def test_no_page_is_wider_than_a_phone_or_shows_code_as_a_quotation(opened, site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        opened.goto(page.as_uri())
        widths = opened.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1], page
        assert opened.locator("blockquote blockquote").count() == 0, page  # what >>> is, where it is no example
