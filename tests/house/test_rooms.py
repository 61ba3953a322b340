"""The house stays one that a person can carry: rooms by subject, none of them full."""

from collections import Counter
from pathlib import Path

HOUSE = Path(__file__).parents[2]
MOST_FILES, MOST_TESTS = 12, 15
MOST_OF_ALL_LINES = 0.15


def modules(*packages: str) -> list[Path]:
    return [path for package in packages for path in (HOUSE / package).rglob("*.py")]


def test_no_room_has_more_than_a_dozen_files():
    rooms = Counter(path.parent for path in modules("flows", "semisup", "benchmarks"))
    assert {str(room): count for room, count in rooms.items() if count > MOST_FILES} == {}


def test_no_room_of_tests_has_many_more():
    rooms = Counter(path.parent for path in modules("tests"))
    assert {str(room): count for room, count in rooms.items() if count > MOST_TESTS} == {}


def test_no_two_files_of_tests_have_one_name():
    """Else pytest collects neither, once both are asked for."""
    names = Counter(path.name for path in modules("tests") if path.name.startswith("test_"))
    assert [name for name, count in names.items() if count > 1] == []


def test_no_room_has_more_than_its_share_of_the_lines():
    lines = Counter[Path]()
    for path in modules("flows", "semisup"):
        lines[path.parent] += len(path.read_text(encoding="utf-8").splitlines())
    assert max(lines.values()) <= MOST_OF_ALL_LINES * lines.total()


def test_every_room_says_what_it_is_for():
    for room in {path.parent for path in modules("flows", "semisup", "benchmarks")}:
        first = (room / "__init__.py").read_text(encoding="utf-8").lstrip()
        assert first.startswith('"""') or room.name == "semisup", room
