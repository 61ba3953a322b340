"""Who is told how far something is."""

import re

import pytest

from semisup.api.html import bar, frame
from semisup.api.progress import Notebook, Quiet, in_notebook, listener


def test_outside_of_a_notebook_nobody_listens():
    assert not in_notebook()
    assert isinstance(listener("auto"), Quiet)
    assert isinstance(listener(None), Quiet)


def test_a_function_gets_a_copy_of_each_record():
    told, record = [], {"epoch": 1}
    listener(told.append).tell(1, 2, "", record)
    told[0]["epoch"] = 9
    assert record == {"epoch": 1}


def test_a_bar_says_how_far_it_is_and_shows_notes_as_text():
    shown = bar(1500, 3000, "loss <b>")
    assert re.search(r'<progress value="1500" max="3000"', shown)
    assert "1,500/3,000 loss &lt;b&gt;" in shown


def test_a_page_cannot_leave_its_frame():
    page = '<p class="x">"></iframe><script>alert(1)</script></p>'
    assert '"></iframe><script>' not in frame(page)
    assert "sandbox" in frame(page)


def test_in_a_notebook_one_bar_is_moved():
    display = pytest.importorskip("IPython.display").display
    Notebook(display).tell(1, 2, "loss", {})
