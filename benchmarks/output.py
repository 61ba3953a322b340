"""What every benchmark does with its rows: a table on the screen, and JSON with the facts of the machine."""

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def publish(name: str, rows: Sequence[Mapping[str, Any]], note: str) -> None:
    """Print rows as a table, a dash where one lacks a key, and write them to `results/NAME.json`."""
    table = Table(title=name, caption=note, title_justify="left", caption_justify="left")
    columns = {key: value for row in reversed(rows) for key, value in row.items()}
    for key, value in columns.items():
        table.add_column(key, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        cells = (row.get(key, "–") for key in columns)
        table.add_row(*(f"{cell:,.3f}" if isinstance(cell, float) else str(cell) for cell in cells))
    Console(width=160).print(table)
    RESULTS.mkdir(exist_ok=True)
    document = {"benchmark": name, "note": note, "machine": machine(), "rows": list(rows)}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def kept_rows(name: str, key: str, order: Sequence[str]) -> list[dict[str, Any]]:
    """What `results/NAME.json` holds of the rows whose `key` is among these, in this order."""
    path = RESULTS / f"{name}.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return sorted((row for row in rows if row[key] in order), key=lambda row: order.index(row[key]))


def machine() -> dict[str, Any]:
    """What a figure depends on besides the code."""
    return {
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
