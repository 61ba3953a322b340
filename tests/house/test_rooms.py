"""The house stays one that a person can carry: rooms by subject, none of them full."""

from collections import Counter
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
MOST_FILES = 12
MOST_OF_ALL_LINES = 0.15


@pytest.fixture(scope="module")
def files() -> list[Path]:
    return [path for package in ("flows", "semisup") for path in (HOUSE / package).rglob("*.py")]


def test_no_room_has_more_than_a_dozen_files(files):
    full = {str(room): count for room, count in Counter(path.parent for path in files).items() if count > MOST_FILES}
    assert full == {}


def test_no_room_has_more_than_its_share_of_the_lines(files):
    lines = Counter[Path]()
    for path in files:
        lines[path.parent] += len(path.read_text(encoding="utf-8").splitlines())
    assert max(lines.values()) <= MOST_OF_ALL_LINES * lines.total()


def test_every_room_says_what_it_is_for(files):
    for room in {path.parent for path in files}:
        first = (room / "__init__.py").read_text(encoding="utf-8").lstrip()
        assert first.startswith('"""') or room.name == "semisup", room
