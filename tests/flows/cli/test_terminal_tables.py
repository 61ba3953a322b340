"""Tables on terminals of any width: no word is broken where leaving a column out can help."""

import re
import sys
from collections import Counter

import pytest

from flows.cli.printing import print_table

COLUMNS = ["run", "config", "seed", "status", "started", "took", "baseline", "student", "verdict"]
ROWS = [
    ["ef6b8912", "photos", "0", "finished", "34 min ago", "2 min", "85.7%", "85.7%", "no difference shown"],
    ["3e991a2d", "trash-of-2026", "1", "failed", "2 d ago", "47 s", "", "", "config: " + "a sentence about it " * 5],
]
EXPENDABLE = ("took", "status", "started", "seed")


@pytest.fixture
def printed(monkeypatch, capsys):
    """(stdout, stderr) of the table on a terminal of that width."""

    def at(width, rows, **options):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm")
        print_table(COLUMNS, rows, **options)
        said = capsys.readouterr()
        return re.sub(r"\x1b\[[0-9;]*m", "", said.out), said.err

    return at


@pytest.mark.parametrize("width", [60, 70, 80, 100, 140, 200])
def test_a_list_of_runs_has_a_line_for_each_and_says_what_is_left_out(printed, width):
    out, err = printed(width, ROWS[:1], expendable=EXPENDABLE)
    head, line = out.splitlines()
    there = [column for column in COLUMNS if column in head.split()]
    left_out = [column for column in COLUMNS if column not in there]
    assert set(left_out) <= set(EXPENDABLE)
    assert line.split() == [
        word for name, cell in zip(COLUMNS, ROWS[0], strict=True) if name in there for word in cell.split()
    ]
    assert bool(err) == bool(left_out) == (width < 95)
    assert all(name in err for name in left_out)


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_a_long_cell_takes_several_lines_and_breaks_no_word(printed, width):
    out, _ = printed(width, ROWS, expendable=EXPENDABLE)
    assert max(map(len, out.splitlines())) <= width
    assert {"ef6b8912", "trash-of-2026", "difference", "sentence"} <= set(out.split())
    assert set(out.split()) <= {*COLUMNS, *(word for row in ROWS for cell in row for word in cell.split())}


def test_words_that_fit_nowhere_are_folded_and_none_is_lost(printed):
    out, _ = printed(40, ROWS[:1])
    assert Counter("".join(out.split())) == Counter("".join([*COLUMNS, *ROWS[0]]).replace(" ", ""))
    assert max(map(len, out.splitlines())) <= 40


def test_where_a_wide_column_is_left_out_narrow_ones_stay(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    row = ["ef6b8912", "0", "2 min", "model.weights=a-long-name-without-a-blank"]
    print_table(["run", "seed", "took", "set"], [row], expendable=("took", "seed", "set"))
    said = capsys.readouterr()
    assert "took" in said.out
    assert "seed" in said.out
    assert said.err.startswith("left out for want of width: set;")


def test_columns_without_a_name_are_several_all_the_same(capsys):
    print_table(["", ""], [("Image files", "361"), ("Unlabeled", "288")], show_header=False)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["Image", "files", "361"],
        ["Unlabeled", "288"],
    ]
