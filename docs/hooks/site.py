"""Hooks of mkdocs (named in mkdocs.yml): a line ``<!-- generated: NAME ARGUMENTS -->`` becomes what NAME makes."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:  # mkdocs reads this file by its path
    sys.path.insert(0, str(ROOT))

from docs.hooks import command_line, config_keys, results  # noqa: E402 -- they are found only now

MARK = re.compile(r"^<!-- generated: (\S+) ?(.*?) *-->$", re.MULTILINE)
MAKERS: dict[str, Callable[[str], str]] = {
    "command-line": command_line.commands,
    "config-keys": config_keys.pipeline,
    "ready-made-configs": config_keys.ready_made,
    "regression-keys": config_keys.regression,
    "results": results.table,
    "studies": results.studies,
}
PAGES_OF_THE_ROOT = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages that stand in the project's root, and what the site calls them."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The site has the root's pages, too. Their links lead into docs/, which is the site's own root."""
    for name, page in PAGES_OF_THE_ROOT.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its generated parts. Links to pages of the root lead to where the site has them.

    Raises:
        PluginError: nothing makes what a line asks for.
    """
    up = "../" * page.file.src_uri.count("/")
    for name, its_page in PAGES_OF_THE_ROOT.items():
        markdown = re.sub(rf"\]\((\.\./)+{re.escape(name)}", f"]({up}{its_page}", markdown)
    try:
        return filled(markdown)
    except LookupError as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from error


def filled(markdown: str) -> str:
    """The text with its generated parts.

    Raises:
        LookupError: nothing makes what a line asks for.
    """

    def made(mark: re.Match[str]) -> str:
        if mark[1] not in MAKERS:
            raise LookupError(f"nothing is called {mark[1]!r}; there are {', '.join(MAKERS)}")
        return MAKERS[mark[1]](mark[2])

    return MARK.sub(made, markdown)
