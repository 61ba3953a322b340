"""A stage takes three files and a command two: each is added to a copy of the project, which needs no other change.

What is added stands in CONTRIBUTING. The copy is held to the laws of the house by its own tests, so that a list which
somebody would have to extend as well makes a test here fail.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from semisup.config.files import to_yaml
from tests.documentation.pages import PROJECT
from tests.documentation.test_contributing import example
from tests.waiting import LONG

PARTS = ("semisup", "flows", "configs", "tests", "benchmarks", "docs", "deploy", "findings")
FILES = ("pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "mkdocs.yml", "Dockerfile")
STAGE_LAWS = (
    "tests/house/test_rooms.py",
    "tests/house/test_words.py",
    "tests/documentation/test_pages.py",
    "tests/pipeline/test_plan.py",
    "tests/pipeline/test_inputs_matter.py",
    "tests/lineage/test_code_versions.py",
    "tests/lineage/test_lineage.py",
)
COMMAND_LAWS = (
    "tests/house/test_rooms.py",
    "tests/house/test_words.py",
    "tests/documentation/test_pages.py",
    "tests/flows/cli/test_cli.py::test_help_version_and_a_mistake_in_seeds_import_nothing_heavy",
    "tests/flows/cli/test_cli.py::test_help_shows_every_command_and_examples_that_work",
)
STAGE_TEST = '''
"""Stage `evenness` beside the formula."""

import numpy as np
import pytest

from semisup.config import PipelineConfig
from semisup.pipeline.log import Silence
from semisup.stages.evenness import run
from semisup.system.json_files import read_json, write_json


def test_evenness_is_the_entropy_of_the_shares_over_its_largest_value(tmp_path):
    write_json(tmp_path / "summary.json", {"accepted_per_class": [2, 1, 1]})
    run(PipelineConfig(), {"labels": tmp_path}, tmp_path, Silence())
    expected = (0.5 * np.log(2) + 0.5 * np.log(4)) / np.log(3)
    assert read_json(tmp_path / "evenness.json")["evenness"] == pytest.approx(expected, abs=1e-12)
'''
COMMAND_TEST = '''
"""The command `champion`."""

from typer.testing import CliRunner

from flows.cli import app


def test_the_champion_is_that_of_the_config_unless_another_one_is_named():
    assert CliRunner().invoke(app, ["champion", "digits"]).stdout.strip() == "digits"
    assert CliRunner().invoke(app, ["champion", "digits", "--set", "promote.model=best"]).stdout.strip() == "best"
'''


@pytest.fixture
def copy(tmp_path) -> Path:
    """The project, which may be changed."""
    folder = tmp_path / "project"
    for name in PARTS:
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(PROJECT / name, folder / name)
    return folder


def run(copy: Path, *words: str, folder: Path | None = None) -> str:
    """What a command of the copy's says, in its own process."""
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder or copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


def semisup(copy: Path, *words: str, folder: Path | None = None) -> str:
    return run(copy, "-c", "from flows.cli import app; app()", *words, folder=folder)


def holds(copy: Path, laws: Sequence[str]) -> None:
    run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not prefect", *laws)


def differing(copy: Path) -> set[str]:
    """Files of the copy that are new or changed."""
    files = {path.relative_to(copy) for path in copy.rglob("*") if path.suffix in {".py", ".md", ".toml", ".yaml"}}
    return {
        str(file)
        for file in files
        if not (PROJECT / file).exists() or (PROJECT / file).read_bytes() != (copy / file).read_bytes()
    }


def write(file: Path, text: str) -> None:
    assert not file.exists()
    file.write_text(text.lstrip("\n"), encoding="utf-8")


def insert(file: Path, text: str, before: str) -> None:
    """Add text in front of the only place that reads `before`."""
    front, found, behind = file.read_text(encoding="utf-8").partition(before)
    assert found
    assert before not in behind
    file.write_text(front + text + found + behind, encoding="utf-8")


@pytest.mark.slow
def test_a_stage_is_added_by_three_files(copy, tiny_config, tmp_path):
    write(copy / "semisup" / "stages" / "evenness.py", example("semisup/stages/evenness.py"))
    specs = copy / "semisup" / "pipeline" / "specs.py"
    insert(specs, '    "evenness",\n', before='    "regression_fit",\n    "regression_evaluate",\n]')
    insert(specs, f"    {example('a spec').strip()},\n", before='    StageSpec(\n        "regression_fit",')
    write(copy / "tests" / "stages" / "test_evenness.py", STAGE_TEST)
    assert differing(copy) == {
        "semisup/stages/evenness.py",
        "semisup/pipeline/specs.py",
        "tests/stages/test_evenness.py",
    }
    holds(copy, ("tests/stages/test_evenness.py", *STAGE_LAWS))

    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "tiny.yaml").write_text(to_yaml(tiny_config), encoding="utf-8")
    first, again = (
        json.loads(semisup(copy, "run", "tiny.yaml", "--json", folder=place).splitlines()[-1]) for _ in range(2)
    )
    assert [first["stages"]["evenness"]["reused"], again["stages"]["evenness"]["reused"]] == [False, True]
    status = json.loads(semisup(copy, "status", "tiny.yaml", "--json", folder=place))
    standing = {step["stage"]: step["standing"] for step in status}
    assert standing["evenness"] == "fresh"
    assert [*standing].index("evenness") == [*standing].index("labels") + 1
    (left,) = place.glob(f"mlartifacts/{first['stages']['evenness']['run_id']}/artifacts/**/evenness.json")
    (read,) = place.glob(f"mlartifacts/{first['stages']['labels']['run_id']}/artifacts/**/summary.json")
    accepted = np.array(json.loads(read.read_text(encoding="utf-8"))["accepted_per_class"], dtype=float)
    shares = accepted[accepted > 0] / accepted.sum()
    entropy = -(shares * np.log(shares)).sum() / np.log(len(accepted))
    assert json.loads(left.read_text(encoding="utf-8"))["evenness"] == pytest.approx(entropy, abs=1e-12)


@pytest.mark.slow
def test_a_command_is_added_by_two_files(copy):
    write(copy / "flows" / "cli" / "look" / "champion.py", example("flows/cli/look/champion.py"))
    write(copy / "tests" / "flows" / "test_champion_command.py", COMMAND_TEST)
    assert differing(copy) == {"flows/cli/look/champion.py", "tests/flows/test_champion_command.py"}
    holds(copy, ("tests/flows/test_champion_command.py", *COMMAND_LAWS))
    chapter = semisup(copy, "--help").partition("See what came of it:")[2].partition("\n\n")[0]
    assert "champion   Name the registered model whose champion this config crowns." in chapter
    made = run(copy, "-c", "from docs.hooks.command_line import commands; print(commands(''))")
    assert "## `semisup champion`" in made
    assert "semisup champion digits" in made
