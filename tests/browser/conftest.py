"""A headless browser that reports all that a page asks for and complains about."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright.

    Its event loop runs as long as this lives. Prefect would take it for its own: other modules must not meet it.
    """
    api = pytest.importorskip("playwright.sync_api", reason="Playwright's Python package is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed; CI installs it")
    with api.sync_playwright() as playwright:
        # A container has no user namespaces for the sandbox; pages here are our own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page, and what it should not have done."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        width: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return width

    def background(self) -> list[int]:
        """Red, green and blue behind the page's text."""
        found = self.page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
        )
        return list(found)


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Any]:
    """Opens a file; afterwards the page must have asked for nothing outside and complained about nothing."""
    opened: list[tuple[Opened, Any, str]] = []

    def open_file(file: Path, size: dict[str, int] = DESK, scheme: str = "light", context: Any = None) -> Opened:
        context = context or chromium.new_context(viewport=size, color_scheme=scheme, accept_downloads=True)
        found = Opened(context.new_page())
        address = file.resolve().as_uri()

        def watch(route: Any) -> None:
            found.requests.append(route.request.url)
            if route.request.url.partition("#")[0] == address:
                route.continue_()
            else:
                route.abort()

        found.page.route("**/*", watch)
        found.page.on("console", lambda said: found.complaints.append(said.text) if said.type == "error" else None)
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.goto(address)
        opened.append((found, context, address))
        return found

    yield open_file
    for found, context, address in opened:
        context.close()
        outside = [url for url in found.requests if not url.startswith(("data:", "blob:")) and url != address]
        assert outside == [], f"asked for {outside}"
        assert found.complaints == []
