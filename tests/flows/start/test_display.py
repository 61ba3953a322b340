"""What people see while a pipeline runs: lines in a pipe, bars on a terminal, every character that was said."""

import io
import re
import sys

import pytest
from rich.console import Console

from flows.start import display
from flows.start.display import Hidden, Live, Plain, bars

ODD_TEXTS = [
    "class [bold]T-shirt[/bold]",
    "classes [cat], [dog] and [/owl]",
    "[red]",
    "[/]",
    "a backslash at the end \\",
    "\\[escaped]",
    "100 %, {braces}, and a 猫",
    ":cat:",
]


def plain() -> tuple[Plain, io.StringIO]:
    file = io.StringIO()
    return Plain(Console(file=file, width=40)), file


class Screen:
    """A live display on a terminal that is a string; what stands on it, without colors and movements."""

    def __init__(self) -> None:
        self.file = io.StringIO()
        console = Console(file=self.file, force_terminal=True, width=200, legacy_windows=False)
        self.bars = bars(console)
        self.live = Live(self.bars)

    @property
    def text(self) -> str:
        self.bars.console.print(self.bars.get_renderable())
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.file.getvalue())


@pytest.mark.parametrize("text", ODD_TEXTS)
@pytest.mark.parametrize("warning", [False, True])
def test_a_plain_line_keeps_every_character(text, warning):
    shown, file = plain()
    shown.begin("split")
    shown.line(text, warning=warning)
    assert file.getvalue() == f"split: {'warning: ' if warning else ''}{text}\n"


def test_a_plain_line_is_one_line_however_long_and_has_no_color():
    shown, file = plain()
    shown.line("word " * 100, warning=True)
    assert file.getvalue().count("\n") == 1
    assert "\x1b" not in file.getvalue()


def test_a_plain_display_names_the_stage_only_while_it_runs():
    shown, file = plain()
    shown.line("before")
    shown.begin("baseline")
    shown.line("within")
    shown.end("baseline", 1.25)
    shown.line("after")
    assert file.getvalue().splitlines() == ["before", "baseline: within", "baseline: done in 1.2 s", "after"]


def test_plain_progress_speaks_at_once_then_now_and_then_and_not_at_every_step(monkeypatch):
    clock = {"now": 100.0}
    monkeypatch.setattr(display.time, "monotonic", lambda: clock["now"])
    shown, file = plain()
    shown.begin("joint")
    for epoch in range(1, 21):  # one epoch a second, a line at most every five
        clock["now"] += 1.0
        shown.progress(epoch, 20, "loss 0.5")
    assert file.getvalue().splitlines() == [f"joint: {epoch}/20 loss 0.5" for epoch in (1, 6, 11, 16, 20)]


def test_plain_progress_that_has_begun_ends_at_its_total_once():
    shown, file = plain()
    shown.begin("labels")
    for done in (128, 256, 288, 288):
        shown.progress(done, 288, "images")
    shown.progress(4, 9, "images compared")
    shown.progress(9, 9, "images compared")
    assert file.getvalue().splitlines() == ["labels: 128/288 images", "labels: 288/288 images"]


def test_plain_progress_is_silent_where_the_first_news_is_that_all_is_done():
    shown, file = plain()
    shown.begin("pseudo_label")
    shown.progress(1_097, 1_097, "images")
    assert file.getvalue() == ""


@pytest.mark.parametrize("text", ODD_TEXTS)
@pytest.mark.parametrize("warning", [False, True])
def test_a_line_above_the_bars_keeps_every_character(text, warning):
    screen = Screen()
    screen.live.begin("split")
    screen.live.line(text, warning=warning)
    assert f"split {'warning: ' if warning else ''}{text}\n" in screen.text


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_the_note_beside_a_bar_keeps_every_character(text):
    screen = Screen()
    screen.live.begin("joint")
    screen.live.progress(3, 10, text)
    assert f"3/10 {text}" in screen.text


def test_a_bar_is_full_once_its_stage_has_ended_and_its_clock_stands_still():
    screen = Screen()
    screen.live.begin("split")
    screen.live.end("split", 0.5)
    screen.live.begin("baseline")
    screen.live.progress(3, 10, "")
    split, baseline = screen.bars.tasks
    assert split.finished
    assert split.stop_time is not None
    assert "done in 0.5 s" in split.fields["note"]
    assert (baseline.completed, baseline.total, baseline.finished) == (3, 10, False)


def test_without_a_shown_block_nothing_is_shown(capsys):
    assert isinstance(display.current(), Hidden)
    display.current().begin("split")
    display.current().line("unheard", warning=True)
    display.current().progress(1, 2, "unheard")
    display.current().end("split", 1.0)
    assert capsys.readouterr() == ("", "")


def test_in_a_pipe_plain_lines_go_to_stderr_and_the_display_is_gone_afterwards(capsys):
    with display.shown() as shown:
        assert display.current() is shown
        shown.line("hello")
    assert isinstance(display.current(), Hidden)
    assert capsys.readouterr() == ("", "hello\n")


def test_on_a_terminal_bars_are_shown_on_stderr_and_gone_after_an_error(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal

    def fail() -> None:
        with display.shown() as shown:
            assert isinstance(shown, Live)
            shown.begin("split")
            shown.progress(1, 2, "half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert isinstance(display.current(), Hidden)
    out, err = capsys.readouterr()
    assert out == ""
    assert "half" in err
    assert err.count("\x1b[?25l") == err.count("\x1b[?25h")  # a cursor that was hidden is shown again


def test_what_is_looked_at_stands_on_a_terminal_until_it_is_done_and_nowhere_else(capsys, monkeypatch):
    with display.looking("digits"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with display.looking("[digits]") as look_away:
        look_away()
        assert "[digits]" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
        sys.stderr.write("after\n")
    assert capsys.readouterr().err == "after\n"
