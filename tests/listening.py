"""A stage's log that a test can look at."""

from collections.abc import Mapping

from semisup.pipeline.log import Silence


class Listener(Silence):
    """Keeps what it is told: lines, warnings, the last value of each figure, its steps, and how far things were."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.figures: dict[str, float] = {}
        self.steps: list[int] = []
        self.progressed: list[tuple[int, int]] = []

    def info(self, message: str) -> None:
        self.lines.append(message)

    def warning(self, message: str) -> None:
        self.warnings.append(message)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.figures |= values
        if step is not None:
            self.steps.append(step)

    def progress(self, done: int, total: int, note: str = "") -> None:
        self.progressed.append((done, total))
