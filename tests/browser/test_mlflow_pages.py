"""MLflow's own pages in a real browser: somebody who types a bare `mlflow ui` sees the figures of a run at once."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.pipeline.results import PipelineResult, StageResult
from semisup.tracking.reader import Reader
from semisup.tracking.tracker import Tracker
from tests.browser.conftest import DESK
from tests.waiting import LONG, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow]
EVALUATE = {
    f"{name}{end}": value
    for name, value in {"baseline_test_accuracy": 0.93, "student_test_accuracy": 0.954}.items()
    for end in ("", "_low", "_high")
}
EVALUATE |= {f"test_accuracy_difference{end}": 0.024 for end in ("", "_low", "_high")} | {"mcnemar_p": 0.0075}
LABELS = {"coverage": 0.871467, "precision": 0.984309}
FIGURES = "93.0↗95.4 87/98"
"""What these figures are in a run's name."""
WHERE_TEXT_ENDS = """(link, letters) => {
    const text = document.createTreeWalker(link, NodeFilter.SHOW_TEXT).nextNode(), range = document.createRange();
    range.setStart(text, 0);
    range.setEnd(text, letters);
    return range.getBoundingClientRect().right;
}"""


@dataclass(frozen=True)
class Served:
    """A store with one pipeline's run, and where its pages are."""

    pages: str
    tracker: Reader


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("store")
    tracker = Tracker.open("semisup", folder)
    stages = {"labels": StageResult("a", "d", 1.0, LABELS), "evaluate": StageResult("b", "d", 1.0, EVALUATE)}
    with tracker.run("digits-seed0", {"stage": "pipeline"}) as run:
        result = PipelineResult(run.id, 1.0, stages, "student better", "report.html", "page", None)
        run.rename(f"{result.headline} digits-seed0")
        tracker.show_figures()
        run.conclude(result.figures() | result.pseudo_labels, {"verdict": result.verdict}, "")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log"
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (
        log.open("wb") as out,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out) as server,
    ):
        try:
            wait_until(lambda: b"startup complete" in log.read_bytes(), server, log)
            yield Served(f"http://127.0.0.1:{port}", tracker)
        finally:
            server.terminate()
            server.wait(LONG)


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport=DESK)
    context.set_default_timeout(1000 * LONG)
    yield context.new_page()
    context.close()


def test_a_bare_table_of_runs_shows_accuracies_verdict_coverage_and_precision_and_says_what_they_are(served, page):
    page.goto(f"{served.pages}/#/experiments/{served.tracker.experiment_id}/runs")
    link = page.get_by_role("link", name=FIGURES)
    link.wait_for()
    cell = link.locator("xpath=ancestor::*[@role='gridcell']").bounding_box()
    assert link.evaluate(WHERE_TEXT_ENDS, len(FIGURES)) < cell["x"] + cell["width"]
    explained = page.get_by_text("accuracy of baseline↗student, pseudo-labels accepted/right")
    assert explained.is_visible()


def test_an_experiment_that_opens_with_pages_for_language_models_leads_to_its_runs(served, page):
    page.goto(f"{served.pages}/#/experiments/{served.tracker.experiment_id}")
    page.wait_for_url("**workflowType=genai**")
    link = page.locator("a", has_text="The runs").first  # MLflow's own hints hide its role
    link.wait_for()
    assert served.tracker.table(pages=served.pages) == f"{served.pages}/{link.get_attribute('href')}"


def test_the_link_in_the_note_and_our_own_open_the_runs_with_a_column_for_each_figure(served, page):
    page.goto(f"{served.pages}/#/experiments/{served.tracker.experiment_id}/runs")
    with page.expect_popup() as popup:
        page.get_by_role("link", name="The runs").click()
    ours = page.context.new_page()
    ours.goto(served.tracker.table(pages=served.pages))
    verdict, panel = ours.get_by_role("gridcell", name="student better"), ours.get_by_text("MLflow Assistant").first
    for part in (verdict, panel):  # on a desk's screen; the panel is open where nobody has closed it
        part.wait_for()
    cell = verdict.bounding_box()
    assert cell["x"] + cell["width"] < panel.bounding_box()["x"]
    for opened in (popup.value, ours):
        opened.set_viewport_size({"width": 1920, "height": 900})
        for column in ("baseline_test_accuracy", "student_test_accuracy", "coverage", "precision", "verdict"):
            opened.get_by_role("columnheader", name=column).first.wait_for()
        opened.get_by_role("gridcell", name="student better").wait_for()
        assert opened.get_by_text("viewing a shared view").is_visible()
        assert "workflowType=machine_learning" in opened.url
