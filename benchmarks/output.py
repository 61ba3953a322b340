"""What every benchmark does with its rows: a table on the screen, and JSON with the facts of the machine."""

import json
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
WORSE = "WORSE"
NOTE = "medians over the turns of one run; goals are shown and never asserted"


def publish(name: str, rows: Sequence[Mapping[str, Any]], note: str) -> None:
    """Show rows, and write them to `results/NAME.json`."""
    show(name, rows, note)
    RESULTS.mkdir(exist_ok=True)
    document = {"benchmark": name, "note": note, "machine": machine(), "rows": list(rows)}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def show(name: str, rows: Sequence[Mapping[str, Any]], note: str) -> None:
    """Print rows as a table, a dash where one lacks a key; lists are for the JSON alone."""
    table = Table(title=name, caption=note, title_justify="left", caption_justify="left")
    columns = {key: value for row in reversed(rows) for key, value in row.items() if not isinstance(value, list)}
    for key, value in columns.items():
        table.add_column(key, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        cells = (row.get(key, "–") for key in columns)
        table.add_row(*(f"{cell:,.3f}" if isinstance(cell, float) else str(cell) for cell in cells))
    Console(width=160).print(table)


def kept_rows(name: str, key: str, order: Sequence[str]) -> list[dict[str, Any]]:
    """What `results/NAME.json` holds of the rows whose `key` is among these, in this order."""
    path = RESULTS / f"{name}.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return sorted((row for row in rows if row.get(key) in order), key=lambda row: order.index(row[key]))


def machine() -> dict[str, Any]:
    """What a figure depends on besides the code."""
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return gpu | {
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


@dataclass(frozen=True)
class Figure:
    """What was measured several times, beside a goal: the median over the turns, and how far it scattered."""

    what: str
    goal: str
    """Such as "≤ 1.03"."""
    median: float
    lowest: float
    highest: float
    turns: int

    @classmethod
    def of(cls, what: str, values: Sequence[float], goal: str) -> "Figure":
        """One value for each turn."""
        return cls(what, goal, statistics.median(values), min(values), max(values), len(values))

    @classmethod
    def ratio(cls, what: str, ours: Sequence[float], theirs: Sequence[float], goal: str) -> "Figure":
        """Of two sides that took turns: the first number through the second, turn by turn."""
        return cls.of(what, [one / other for one, other in zip(ours, theirs, strict=True)], goal)

    @property
    def met(self) -> bool:
        """Is the median as the goal says?"""
        limit = float(self.goal.split()[1])
        return self.median <= limit if self.is_better_low else self.median >= limit

    @property
    def is_better_low(self) -> bool:
        """Is a smaller number a better one?"""
        return self.goal.startswith("≤")

    def against(self, before: Mapping[str, Any] | None) -> str:
        """ "WORSE" or "better" where the median lies beyond all turns of the kept row of before, else "as before"."""
        if before is None:
            return "–"
        if before["lowest"] <= self.median <= before["highest"]:
            return "as before"
        return "better" if (self.median < before["lowest"]) == self.is_better_low else WORSE


def in_turns(sides: Mapping[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
    """What each side measured in each turn; one turn before them warms up."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, side in sides.items():
            seconds = side()
            if turn:
                times[name].append(seconds)
    return times


def publish_figures(name: str, figures: Sequence[Figure]) -> None:
    """Show them, and keep them as `results/NAME.json`."""
    publish(name, _beside_goals(name, figures), NOTE)


def publish_measured(name: str, measure: Callable[..., list[Figure]]) -> None:
    """Measure and publish, if anything was measured; the fewer turns of `--quick` are shown and not kept."""
    quick = "--quick" in sys.argv
    if figures := measure(quick=quick):
        (show_figures if quick else publish_figures)(name, figures)


def show_figures(name: str, figures: Sequence[Figure]) -> None:
    """Print them beside their goals and the kept figures of before."""
    show(name, _beside_goals(name, figures), NOTE)


def worse_than_before(name: str, figures: Sequence[Figure]) -> list[str]:
    """Which figures are worse than every turn of those kept."""
    before = _kept(name, figures)
    return [figure.what for figure in figures if figure.against(before.get(figure.what)) == WORSE]


def _kept(name: str, figures: Sequence[Figure]) -> dict[str, dict[str, Any]]:
    return {row["what"]: row for row in kept_rows(name, "what", [figure.what for figure in figures])}


def _beside_goals(name: str, figures: Sequence[Figure]) -> list[dict[str, Any]]:
    before = _kept(name, figures)
    return [
        {
            "what": figure.what,
            "goal": figure.goal,
            "median": figure.median,
            "lowest": figure.lowest,
            "highest": figure.highest,
            "turns": figure.turns,
            "goal met": "yes" if figure.met else "NO",
            "median before": before.get(figure.what, {}).get("median", "–"),
            "against before": figure.against(before.get(figure.what)),
        }
        for figure in figures
    ]
