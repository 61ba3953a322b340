"""How long a training may take: as many steps, or as many seconds, as its budget says."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

Unit: TypeAlias = Literal["steps", "CPU seconds", "seconds"]
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
Agreement: TypeAlias = Callable[[float], float]
TICKS = 10_000.0
"""What the whole of a time budget counts: the schedules see steps, and a second is none."""


@dataclass(frozen=True)
class Budget:
    """An amount of training: steps, seconds of CPU time (of all threads of the process) or seconds on the wall."""

    amount: float
    unit: Unit

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Read "2000 steps", "60s", "5 min", "1.5 h" (CPU time), or "60s wall".

        Raises:
            ValueError: it is none of these, or nothing at all.
        """
        found = re.fullmatch(
            r"(\d+(?:\.\d+)?)\s*(steps?|s|sec|seconds?|m|min|minutes?|h|hours?)(?:\s+(cpu|wall))?", text.strip().lower()
        )
        amount = float(found[1]) if found else 0.0
        steps = bool(found) and found[2].startswith("step")  # type: ignore[index]
        if found is None or amount <= 0 or (steps and (found[3] or amount % 1)):
            raise ValueError(
                f"budget {text!r} is not understood; write for example '2000 steps', '60s' or '5 min' of CPU time, "
                "or '60s wall'"
            )
        if steps:
            return cls(amount, "steps")
        return cls(amount * SECONDS[found[2][0]], "seconds" if found[3] == "wall" else "CPU seconds")

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}"

    @property
    def reproducible(self) -> bool:
        """Do two trainings with it end after the same step? No two seconds hold the same work."""
        return self.unit == "steps"

    def clock(self, summed: Agreement = float, of_first: Agreement = float) -> "Clock":
        """What tells how much of it is spent.

        Where several processes train together, `summed` makes one number of the CPU seconds of all of them, and
        `of_first` takes the first one's seconds on the wall: they must all stop at the same step.
        """
        match self.unit:
            case "steps":
                return StepClock(int(self.amount))
            case "CPU seconds":
                return TimeClock(self.amount, lambda: summed(time.process_time()))
            case "seconds":
                return TimeClock(self.amount, lambda: of_first(time.perf_counter()))


class Clock(Protocol):
    """How far a training is. `total` and `position` are in one unit: steps, or the ticks of a time budget."""

    total: float

    @property
    def position(self) -> float:
        """From 0 at the start to `total` at the end, or beyond."""

    def tick(self) -> None:
        """A step is done."""

    def state(self) -> dict[str, Any]:
        """What has been spent."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken: what was spent before an interruption is spent."""


@dataclass
class StepClock:
    """Counts the steps."""

    total: float
    position: float = 0

    def tick(self) -> None:
        """One more."""
        self.position += 1

    def state(self) -> dict[str, Any]:
        """The steps done."""
        return {"position": self.position}

    def restore(self, state: dict[str, Any]) -> None:
        """So many were done."""
        self.position = state["position"]


class TimeClock:
    """Reads the time at every tick, from the moment when it is made; `now` tells seconds."""

    total = TICKS

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self.seconds, self.now = seconds, now
        self.started = now()
        self.spent = 0.0

    @property
    def position(self) -> float:
        """Ticks, when the last step ended."""
        return TICKS * self.spent / self.seconds

    def tick(self) -> None:
        """Look at the time: once a step, for several processes have to agree on it."""
        self.spent = self.now() - self.started

    def state(self) -> dict[str, Any]:
        """The seconds spent."""
        return {"spent": self.spent}

    def restore(self, state: dict[str, Any]) -> None:
        """So many were spent before."""
        self.spent = state["spent"]
        self.started = self.now() - self.spent
