"""Which Python versions and which versions of packages semisup works with: `make matrix`.

Every entry has an environment of its own in `.matrix/`, in which fast tests of every room that needs a library run, one
entry after the other; `python -m benchmarks.robustness.matrix tests` takes all fast ones. An entry whose interpreter uv
cannot find or fetch is told as such. `docs/how-to/platforms.md` has the table.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.output import kept_rows, publish

PROJECT = Path(__file__).parents[2]
ENVIRONMENTS = PROJECT / ".matrix"
SHOWN = ("torch", "torchvision", "numpy", "pandas", "pyarrow", "scikit-learn", "pydantic", "pillow", "timm")
QUICK = "not slow and not prefect and not gpu and not browser"
SUITE = (
    "tests/frozen",
    "tests/pseudo_labels",
    "tests/tracking",
    "tests/delivery",
    "tests/flows/test_deployments.py",
    "tests/stages/test_stages.py",
    "tests/training/test_loop.py",
    "tests/training/test_checkpoints.py",
)
"""timm and torch, pandas and pyarrow, MLflow, Pillow, Prefect's schedules, and every stage."""
NO_INTERPRETER = "no interpreter could be had"
LAST_LINE = re.compile(r"=* ?((?:\d+ \w+(?:, )?)+) in [\d.]+s")


@dataclass(frozen=True)
class Entry:
    """One row of the table."""

    name: str
    python: str
    options: tuple[str, ...]
    """Of `uv pip install`."""


PINNED = ("--constraint", "constraints.txt")
ENTRIES = (
    *(Entry(f"pinned {version}", version, PINNED) for version in ("3.11", "3.12", "3.13", "3.14")),
    Entry("lowest", "3.11", ("--resolution", "lowest-direct")),
    Entry("newest", "3.11", ()),
)


NOTE = (
    "pinned: the versions of constraints.txt; lowest: each bound of pyproject.toml (lowest-direct); "
    "newest: what resolves; fast tests of every part that needs a library"
)


def run(entry: Entry, tests: Sequence[str]) -> dict[str, str]:
    """Make the entry's environment, or bring it up to date, and run the tests in it: a row of the table."""
    folder = ENVIRONMENTS / entry.name.replace(" ", "-")
    uv = str(Path(sys.executable).with_name("uv"))
    made = _call([uv, "venv", "--quiet", "--allow-existing", "--python", entry.python, str(folder)])
    if made.returncode:
        return {"versions": entry.name, "Python": entry.python, "tests": NO_INTERPRETER}
    python = str(folder / "bin" / "python")
    install = [uv, "pip", "install", "--quiet", "--python", python, *entry.options, "--editable", ".[dev]"]
    installed = _call(install)
    if installed.returncode:
        said = f"cannot be installed: {' '.join(installed.stderr.split())[-300:]}"
        return {"versions": entry.name, "Python": entry.python, "tests": said}
    report = folder / "pytest.txt"
    with report.open("w", encoding="utf-8") as out:
        # What old libraries say to each other in warnings is no fault of ours; with the pinned ones it is an error.
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", "-m", QUICK, *tests]
        done = subprocess.run(command, cwd=PROJECT, env=_environment(), stdout=out, stderr=out, check=False)
    found = LAST_LINE.findall(report.read_text(encoding="utf-8"))
    said = found[-1] if found else f"pytest ended with {done.returncode}, see {report.relative_to(PROJECT)}"
    return {"versions": entry.name, "Python": _version(python), **_versions(python), "tests": said}


def _call(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _version(python: str) -> str:
    return _call([python, "-c", "import platform; print(platform.python_version())"]).stdout.strip()


def _versions(python: str) -> dict[str, str]:
    code = f"from importlib.metadata import version; print(*(version(name) for name in {SHOWN}))"
    return dict(zip(SHOWN, _call([python, "-c", code]).stdout.split(), strict=True))


def main() -> int:
    """Run the entries that are asked for, and publish them beside those that were run before; 1 if tests failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [entry.name for entry in ENTRIES]
    parser.add_argument("--only", action="append", choices=names, help="an entry; all")
    parser.add_argument("tests", nargs="*", default=[*SUITE], help="files and folders of tests instead")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = kept_rows("matrix", "versions", names)
    for entry in ENTRIES:
        if arguments.only and entry.name not in arguments.only:
            continue
        others = [row for row in rows if row["versions"] != entry.name]
        rows = sorted([*others, run(entry, arguments.tests)], key=lambda row: names.index(row["versions"]))
        publish("matrix", rows, NOTE)
    return int(not all(" passed" in row["tests"] and " failed" not in row["tests"] for row in rows if "torch" in row))


if __name__ == "__main__":
    sys.exit(main())
