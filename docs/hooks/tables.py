"""Markdown tables."""

import re
from collections.abc import Sequence


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """A table; the columns named in `right` are aligned to the right."""
    rules = ["---:" if column in right else "---" for column in columns]
    return "\n".join("| " + " | ".join(map(cell, row)) + " |" for row in [columns, rules, *rows])


def keys_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is a name that stays in one line."""
    return f'<div class="keys" markdown>\n\n{table(columns, rows)}\n\n</div>'


def cell(text: str) -> str:
    """The text as one cell: no line's end, no bar that would begin another cell, and outside of code no HTML."""
    parts = re.split("(`[^`]*`)", " ".join(text.split()).replace("|", "\\|"))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)
