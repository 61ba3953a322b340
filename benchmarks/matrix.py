"""Which Python versions and which versions of packages semisup works with: `make matrix`.

Every entry has an environment of its own in `.matrix/`, in which fast tests of every room that needs a library run, one
entry after the other; `python -m benchmarks.matrix tests` takes all fast ones. An entry whose interpreter uv cannot
find or fetch is told as such. `docs/how-to/platforms.md` has the table.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
ENVIRONMENTS = PROJECT / ".matrix"
RESULTS = PROJECT / "benchmarks" / "results" / "matrix.json"
SHOWN = ("torch", "torchvision", "prefect", "mlflow", "numpy", "pandas", "pyarrow", "scikit-learn", "pydantic")
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
    *(Entry(f"python {version}", version, PINNED) for version in ("3.11", "3.12", "3.13", "3.14")),
    Entry("lowest", "3.11", ("--resolution", "lowest-direct")),
    Entry("newest", "3.11", ()),
)


@dataclass(frozen=True)
class Outcome:
    """What became of an entry."""

    name: str
    python: str
    said: str
    """The closing line of pytest, or why there is none."""
    passed: bool
    versions: dict[str, str]


def run(entry: Entry, tests: Sequence[str]) -> Outcome:
    """Make the entry's environment, or bring it up to date, and run the tests in it."""
    folder = ENVIRONMENTS / entry.name.replace(" ", "-")
    uv = str(Path(sys.executable).with_name("uv"))
    made = _call([uv, "venv", "--quiet", "--allow-existing", "--python", entry.python, str(folder)])
    if made.returncode:
        return Outcome(entry.name, entry.python, "no such interpreter could be had", False, {})
    python = str(folder / "bin" / "python")
    install = [uv, "pip", "install", "--quiet", "--python", python, *entry.options, "--editable", ".[dev]"]
    installed = _call(install)
    if installed.returncode:
        return Outcome(entry.name, entry.python, f"cannot be installed: {_end(installed.stderr)}", False, {})
    report = folder / "pytest.txt"
    with report.open("w", encoding="utf-8") as out:
        # What old libraries say to each other in warnings is no fault of ours; with the pinned ones it is an error.
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", "-m", QUICK, *tests]
        done = subprocess.run(command, cwd=PROJECT, env=_environment(), stdout=out, stderr=out, check=False)
    found = LAST_LINE.findall(report.read_text(encoding="utf-8"))
    said = found[-1] if found else f"pytest ended with {done.returncode}, see {report.relative_to(PROJECT)}"
    return Outcome(entry.name, _version(python), said, done.returncode == 0, _versions(python))


def _call(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _end(text: str) -> str:
    return " ".join(text.split())[-300:]


def _version(python: str) -> str:
    return _call([python, "-c", "import platform; print(platform.python_version())"]).stdout.strip()


def _versions(python: str) -> dict[str, str]:
    code = f"from importlib.metadata import version; print(*(version(name) for name in {SHOWN}))"
    return dict(zip(SHOWN, _call([python, "-c", code]).stdout.split(), strict=True))


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a table in Markdown."""
    lines = [f"| | Python | {' | '.join(SHOWN)} | tests |", "| --- " * (len(SHOWN) + 3) + "|"]
    for outcome in outcomes:
        versions = [outcome.versions.get(name, "") for name in SHOWN]
        lines.append(f"| {outcome.name} | {outcome.python} | {' | '.join(versions)} | {outcome.said} |")
    return "\n".join(lines)


def main() -> int:
    """Run the entries that are asked for, keep what came out, and print the table; 1 if tests failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=[entry.name for entry in ENTRIES], help="an entry; all")
    parser.add_argument("tests", nargs="*", default=[*SUITE], help="files and folders of tests instead")
    arguments = parser.parse_args()
    before = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for entry in ENTRIES:
        if arguments.only and entry.name not in arguments.only:
            continue
        before[entry.name] = asdict(run(entry, arguments.tests))
        RESULTS.write_text(json.dumps(before, indent=2) + "\n", encoding="utf-8")
        print(table([Outcome(**before[entry.name])]), flush=True)
    outcomes = [Outcome(**before[entry.name]) for entry in ENTRIES if entry.name in before]
    print(table(outcomes))
    return int(any(outcome.versions and not outcome.passed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
