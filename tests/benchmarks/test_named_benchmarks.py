"""Wherever a benchmark is named, as a command or as a file, it is there."""

import re
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
TEXTS = {".py", ".md", ".toml", ".yaml", ".json", ".sh", ""}
COMMAND = re.compile(r"-m\s+benchmarks\.([a-z][\w.]*\w)")
FILE = re.compile(r"\bbenchmarks/[a-z][\w/]*\.py\b")


@pytest.fixture(scope="module")
def texts() -> str:
    """All but the changelog, which tells of commands as they were called."""
    rooms = ("benchmarks", "configs", "deploy", "docs", "findings", "flows", "semisup", "tests", ".ci")
    files = [path for room in rooms for path in (HOUSE / room).rglob("*") if path.suffix in TEXTS and path.is_file()]
    files += [HOUSE / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml")]
    return "\n".join(path.read_text(encoding="utf-8") for path in files if path != Path(__file__))


def test_every_command_of_a_benchmark_that_a_text_shows_is_one(texts):
    named = set(COMMAND.findall(texts))
    assert len(named) > 20
    for name in sorted(named):
        path = HOUSE.joinpath("benchmarks", *name.split("."))
        file = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        assert file.exists(), name
        assert '\nif __name__ == "__main__":\n' in file.read_text(encoding="utf-8"), name


def test_every_file_of_a_benchmark_that_a_text_names_is_there(texts):
    assert [name for name in sorted(set(FILE.findall(texts))) if not (HOUSE / name).exists()] == []
