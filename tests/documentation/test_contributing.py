"""The worked examples of CONTRIBUTING do what they are said to do, as they stand on the page."""

import json
import re

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from semisup.pipeline.log import Silence
from tests.documentation.pages import FENCE, PROJECT, read
from tests.house.test_plugins import GROUPS, install, outcome

GUIDE = PROJECT / "CONTRIBUTING.md"


def example(title: str) -> str:
    """The code under that title."""
    found = [(indent, text) for indent, _, about, text in FENCE.findall(read(GUIDE)) if f'title="{title}"' in about]
    ((indent, text),) = found
    return re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "attribute", "sections"),
    [
        ("top_of_batch.py", "METHOD", {"joint": {"method": "theirs", "policy": {"options": {"count": 8}}}}),
        ("shades.py", "SOURCE", {"data": {"name": "theirs", "options": {"side": 6}}}),
        ("tiny.py", "FAMILY", {"model": {"name": "theirs:linear", "width": 1.0}}),
    ],
)
def test_the_example_of_a_method_a_source_and_a_family_trains_a_student(title, attribute, sections, tmp_path):
    install(tmp_path, attribute, example(title))
    assert outcome(tmp_path, sections)["accuracy"] > 0.3  # by chance: 0.1, and a third of three shades


def test_the_entry_points_are_those_that_are_looked_for():
    shown = dict(re.findall(r'entry-points\."([\w.]+)"\]\n\w+ = "[\w.]+:(\w+)"', read(GUIDE)))
    assert shown == {group: attribute for attribute, group in GROUPS.items()}


class Heard(Silence):
    """Keeps the figures."""

    def metrics(self, values, step=None):
        self.values = dict(values)


@pytest.mark.parametrize(
    ("accepted", "evenness"),
    [([5, 5], 1.0), ([7, 0, 0], 0.0), ([2, 1, 1], (0.5 * np.log(2) + 0.5 * np.log(4)) / np.log(3))],
)
def test_the_example_of_a_stage_leaves_what_it_says(accepted, evenness, tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps({"accepted_per_class": accepted}), encoding="utf-8")
    stage: dict = {}
    exec(compile(example("semisup/stages/evenness.py"), "evenness.py", "exec"), stage)
    heard = Heard()
    stage["run"](None, {"labels": tmp_path}, tmp_path, heard)
    assert json.loads((tmp_path / "evenness.json").read_text())["evenness"] == pytest.approx(evenness, abs=1e-12)
    assert heard.values["evenness"] == pytest.approx(evenness, abs=1e-12)


def test_the_example_of_a_command_answers_and_says_a_mistake_in_one_line():
    command: dict = {}
    exec(compile(example("flows/cli/look/champion.py"), "champion.py", "exec"), command)
    app = typer.Typer()
    app.command()(command["champion"])
    assert CliRunner().invoke(app, ["digits"]).stdout.strip() == "digits"
    assert CliRunner().invoke(app, ["digits", "--set", "promote.model=best"]).stdout.strip() == "best"
    wrong = CliRunner().invoke(app, ["digts"])
    assert wrong.exit_code == 2
    assert "digts" in wrong.output
