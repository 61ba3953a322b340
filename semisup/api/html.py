"""Results as they show themselves in a notebook, light and dark: they take the page's own colors."""

from collections.abc import Iterable
from html import escape

STYLE = (
    "border-collapse:collapse;margin:.5em 0;font-size:.95em;color:inherit;background:transparent;"
    "font-variant-numeric:tabular-nums"
)
CELL = "padding:.2em .9em .2em 0;text-align:left;vertical-align:top;border:0;background:transparent;color:inherit"


def table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Names and values, one pair a line, as text that needs no escaping by the caller."""
    lines = "".join(
        f'<tr style="background:transparent"><th scope="row" style="{CELL};font-weight:normal;opacity:.75">'
        f'{escape(name)}</th><td style="{CELL}">{escape(value)}</td></tr>'
        for name, value in rows
    )
    heading = f'<div style="font-weight:bold">{escape(title)}</div>'  # as a caption it would be as narrow as the table
    return f'<div>{heading}<table style="{STYLE}"><tbody>{lines}</tbody></table></div>'


def bar(done: int, total: int, note: str) -> str:
    """A bar of `done` of `total` parts, and a note behind it."""
    moved = f'<progress value="{done}" max="{max(total, 1)}" style="vertical-align:middle"></progress>'
    return f"<div>{moved} {done:,}/{total:,} {escape(note)}</div>"


def frame(page: str) -> str:
    """A whole page within another one, apart from its styles and scripts."""
    return (
        f'<iframe srcdoc="{escape(page, quote=True)}" sandbox title="Report" '
        'style="width:100%;height:40em;border:1px solid currentColor"></iframe>'
    )
