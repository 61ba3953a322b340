"""What is written for spreadsheets is run by none of them, and read back as it was."""

import csv

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from semisup.data.roles.annotations import Annotation, read_annotations, write_annotations
from semisup.data.tables import protected, read_csv, unprotected, write_csv
from semisup.delivery.chosen import export_table
from semisup.delivery.tables import table_written

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1:A9)", "\t=1", "＝1+1", '=HYPERLINK("http://x","y")']
cells = st.text(
    alphabet=st.sampled_from(["=", "+", "-", "@", "'", "a", "1", ".", "e", ",", '"', " ", "＝"]), max_size=6
)


@given(cells | st.text())
@example("'=x")
@example("-1")
@example("'-1")
def test_a_protected_cell_is_undone_to_what_it_was(cell):
    assert unprotected(protected(cell)) == cell


@given(cells)
def test_a_protected_cell_begins_like_no_formula_unless_it_is_a_number(cell):
    safe = protected(cell)
    if safe[:1] in set("=+-@＝＋－＠\t\r\n"):
        assert float(safe) == float(cell)


@pytest.mark.parametrize("cell", ["cat", "-1", "+1", "-1.5e-3", "'quoted'", "a=b", "", "3-2"])
def test_names_and_numbers_stay_as_they_are(cell):
    assert protected(cell) == cell


@given(rows=st.lists(st.tuples(cells.filter(str.strip), cells), min_size=1, max_size=5))
@settings(deadline=None, max_examples=50)
def test_a_table_that_is_written_is_read_back_as_it_was(rows, tmp_path_factory):
    file = tmp_path_factory.mktemp("tables") / "t.csv"
    table = pd.DataFrame(rows, columns=["=path", "label"])
    write_csv(table, file)
    assert read_csv(file, "t").values.tolist() == table.values.tolist()
    assert read_csv(file, "t").columns.tolist() == ["=path", "label"]


def raw_cells(file) -> set[str]:
    with file.open(encoding="utf-8", newline="") as opened:
        return {cell for row in csv.reader(opened) for cell in row}


def test_no_table_of_ours_holds_a_cell_that_runs(tmp_path):
    columns = ["path", "label", "role", "source", "confidence", "teacher", "id"]
    rows = [(f"{name}.png", name, "labeled", "labeled", 0.5, "", f"{name}@1") for name in FORMULAS]
    export_table(pd.DataFrame(rows, columns=columns), tmp_path / "export.csv")
    with table_written(tmp_path / "predicted.csv", {"path": str, "probability.=x": float, "=x": str}) as table:
        table.append(pd.DataFrame({"path": FORMULAS, "probability.=x": -0.5, "=x": FORMULAS}))
    annotations = [Annotation(f"{n}", name, "label", name, "unlabeled") for n, name in enumerate(FORMULAS)]
    write_annotations(annotations, tmp_path / "annotations.csv")
    for name in ("export.csv", "predicted.csv", "annotations.csv"):
        assert {cell for cell in raw_cells(tmp_path / name) if cell[:1] in set("=+-@＝\t")} <= {"-0.5"}, name
    assert list(read_annotations(tmp_path / "annotations.csv").values()) == annotations
    assert read_csv(tmp_path / "export.csv", "e")["label"].tolist() == FORMULAS
