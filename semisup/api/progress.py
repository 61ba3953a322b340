"""How far a training is: a bar in a notebook, a function of one's own, or nothing."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias

from semisup.api.html import bar

Record: TypeAlias = dict[str, Any]
Progress: TypeAlias = Literal["auto"] | Callable[[Record], object] | None
"""`auto`: a bar in a notebook, and nothing elsewhere. A function is told the record of every epoch. None: nothing."""


class Listener(Protocol):
    """Who is told how far something is."""

    def tell(self, done: int, total: int, note: str, record: Record) -> None:
        """`done` of `total` parts are complete; `record` says all about the last one."""


class Quiet:
    """Nobody listens."""

    def tell(self, done: int, total: int, note: str, record: Record) -> None:
        """Say nothing."""


class Called:
    """A function of the user's."""

    def __init__(self, function: Callable[[Record], object]) -> None:
        self.function = function

    def tell(self, done: int, total: int, note: str, record: Record) -> None:
        """Hand on the record, in a copy."""
        self.function(dict(record))


class Notebook:
    """One bar below the cell, moved in place."""

    def __init__(self, display: Any) -> None:
        self.display = display
        self.handle: Any = None

    def tell(self, done: int, total: int, note: str, record: Record) -> None:
        """Move it; it is there from the first news on."""
        shown = {"text/html": bar(done, total, note)}
        if self.handle is None:
            self.handle = self.display(shown, raw=True, display_id=True)
        else:
            self.handle.update(shown, raw=True)


def listener(progress: Progress) -> Listener:
    """Who listens.

    Raises:
        ValueError: it is nobody of whom `Progress` knows.
    """
    if progress is None:
        return Quiet()
    if callable(progress):
        return Called(progress)
    if progress != "auto":
        raise ValueError(f"progress={progress!r}: use 'auto', a function of one record, or None")
    return Notebook(_display()) if in_notebook() else Quiet()


def in_notebook() -> bool:
    """Is this a cell of Jupyter's?"""
    # Where nobody has imported IPython there is no notebook, and nothing to wait for.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _display() -> Any:
    return sys.modules["IPython"].display.display


def sentence(record: Mapping[str, Any]) -> str:
    """What an epoch has to say, in few words."""
    said = f"{record['stage']}: loss {record['train_loss']:.3f}"
    accuracy = record.get("validation_accuracy")
    return said if accuracy is None else f"{said}, validation accuracy {accuracy:.1%}"
