"""A stage's log that a test can look at."""

from collections.abc import Mapping

from semisup.pipeline.log import Silence


class Listener(Silence):
    """Keeps what it is told: lines, warnings, and the last value of each figure."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.figures: dict[str, float] = {}

    def info(self, message: str) -> None:
        self.lines.append(message)

    def warning(self, message: str) -> None:
        self.warnings.append(message)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.figures |= values
