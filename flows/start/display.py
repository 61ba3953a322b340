"""What a person sees while a pipeline runs: a live bar on a terminal, plain lines elsewhere. Always on stderr."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

SECONDS_BETWEEN_PLAIN_LINES = 5.0


class Display(Protocol):
    """Shows the stages of one pipeline run."""

    def begin(self, stage: str) -> None:
        """A stage starts."""

    def line(self, text: str, *, warning: bool = False) -> None:
        """Something worth keeping on the screen."""

    def progress(self, done: int, total: int, note: str) -> None:
        """How far the current stage is."""

    def end(self, stage: str, seconds: float, *, reused: str = "") -> None:
        """A stage is complete; `reused` names the earlier run whose result was taken."""


class Hidden:
    """Shows nothing: for flows that a worker runs, where Prefect's own log is what people read."""

    def begin(self, stage: str) -> None:
        """Show nothing."""

    def line(self, text: str, *, warning: bool = False) -> None:
        """Show nothing."""

    def progress(self, done: int, total: int, note: str) -> None:
        """Show nothing."""

    def end(self, stage: str, seconds: float, *, reused: str = "") -> None:
        """Show nothing."""


class Plain:
    """Lines without color or movement, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.stage = ""
        self.last_line = -math.inf
        self.unfinished = False

    def begin(self, stage: str) -> None:
        """Remember the stage's name; its lines begin with it."""
        self.stage, self.last_line, self.unfinished = stage, -math.inf, False

    def line(self, text: str, *, warning: bool = False) -> None:
        """One line, at once."""
        mark = "warning: " if warning else ""
        name = f"{self.stage}: " if self.stage else ""
        self.console.print(f"{name}{mark}{text}", markup=False, emoji=False, highlight=False, soft_wrap=True)

    def progress(self, done: int, total: int, note: str) -> None:
        """The first news at once, unless all is done by then, a line now and then, and the last one."""
        now = time.monotonic()
        part = done < total
        if (part and now - self.last_line >= SECONDS_BETWEEN_PLAIN_LINES) or (self.unfinished and not part):
            self.last_line, self.unfinished = now, part
            self.line(f"{done}/{total} {note}")

    def end(self, stage: str, seconds: float, *, reused: str = "") -> None:
        """How long it took."""
        self.line(_ending(seconds, reused))
        self.stage = ""


class Live:
    """One moving bar per stage, with what is left."""

    def __init__(self, progress: Progress) -> None:
        self.bars = progress
        self.current: TaskID | None = None
        self.stage = ""

    def begin(self, stage: str) -> None:
        """A new bar; of unknown length until the stage reports."""
        self.stage = stage
        self.current = self.bars.add_task(stage, total=None, note="")

    def line(self, text: str, *, warning: bool = False) -> None:
        """A line above the bars."""
        name = (f"{self.stage} ", "bold") if self.stage else ""
        line = (f"{'warning: ' if warning else ''}{text}", "yellow" if warning else "dim")
        self.bars.console.print(Text.assemble(name, line))

    def progress(self, done: int, total: int, note: str) -> None:
        """Move the bar."""
        assert self.current is not None
        self.bars.update(self.current, completed=done, total=total, note=f"{done}/{total} {note}")

    def end(self, stage: str, seconds: float, *, reused: str = "") -> None:
        """Fill the bar and freeze its clock."""
        assert self.current is not None
        self.bars.update(self.current, completed=1, total=1, note=_ending(seconds, reused))
        self.bars.stop_task(self.current)
        self.stage = ""


def _ending(seconds: float, reused: str) -> str:
    return f"reused run {reused[:8]}: nothing it depends on has changed" if reused else f"done in {seconds:.1f} s"


def bars(console: Console) -> Progress:
    """The bars that `Live` moves."""
    return Progress(
        TextColumn("[bold]{task.description:<12}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


@contextmanager
def looking(what: str, *, lasting: bool = False) -> Iterator[Callable[[], None]]:
    """On a terminal a moving line until the block ends, or what it yields is called; elsewhere nothing, or a `lasting`
    line."""
    console = Console(stderr=True)
    if not console.is_terminal:
        if lasting:
            Plain(console).line(what)
        yield lambda: None
        return
    with console.status(Text(what, "dim")) as status:
        yield status.stop


_current: Display = Hidden()


def current() -> Display:
    """The display of this process."""
    return _current


def replace(display: Display) -> None:
    """Show what follows elsewhere; for a process that tells another one."""
    global _current  # noqa: PLW0603 -- as in `shown`
    _current = display


@contextmanager
def shown() -> Iterator[Display]:
    """Show pipeline runs of this process until the block ends."""
    global _current  # noqa: PLW0603 -- a process has one screen; Prefect calls tasks, so it cannot be an argument
    console = Console(stderr=True)
    try:
        if console.is_terminal:
            with bars(console) as progress:
                _current = Live(progress)
                yield _current
        else:
            _current = Plain(console)
            yield _current
    finally:
        _current = Hidden()
