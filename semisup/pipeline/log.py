"""Where a stage says what it does."""

from collections.abc import Mapping
from typing import Protocol


class StageLog(Protocol):
    """Where a stage says what it does; the caller decides who listens."""

    def info(self, message: str) -> None:
        """A line for people."""

    def warning(self, message: str) -> None:
        """A line for people that asks for attention."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Figures of one epoch (`step`, from 1) or of the whole stage (None)."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """How far the stage is, in units of its own (epochs, images)."""


class Silence:
    """A log that nobody listens to, for notebooks and tests."""

    def info(self, message: str) -> None:
        """Say nothing."""

    def warning(self, message: str) -> None:
        """Say nothing."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Keep nothing."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Show nothing."""
