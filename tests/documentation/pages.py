"""The pages that people read, and what of them is prose, commands or code."""

import re
from pathlib import Path

from docs.hooks.site import filled

PROJECT = Path(__file__).parents[2]
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)```(\w+)?([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def read(page: Path) -> str:
    """Its text as it is written."""
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, without their indentation."""
    found = FENCE.findall(read(page))
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, kind, _, text in found if kind == language]


def prose(page: Path) -> str:
    """Its text, generated parts included, without code, addresses, comments and HTML."""
    text = FENCE.sub("", filled(read(page)))
    for other in (r"<!--.*?-->", r"`[^`\n]+`", r"\]\([^)]*\)", r"<[^>\n]*>", r"https?://\S+"):
        text = re.sub(other, " ", text, flags=re.DOTALL)
    return text


def quoted(page: Path) -> list[str]:
    """What stands between backticks outside of blocks."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", read(page)))


def commands(page: Path) -> list[str]:
    """Every `semisup …` that a page shows, without prompts and comments; continued lines are put together."""
    shown = "\n".join(blocks(page, "sh") + blocks(page, "console")).replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#\s.*$", "", line).strip().removeprefix("$ ") for line in shown.splitlines())
    found = (re.search(r"(?:^|do |exec worker )(semisup [^;]*)", line) for line in lines)
    return [match[1] for match in found if match]
