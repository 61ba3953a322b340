"""Resident memory at the peak of `semisup run mnist`, and whether it grows with the epochs.

Of the command's own process; Prefect's server is another, and so is the one that exports the student. MNIST's files are
those below `SEMISUP_DATA_ROOT`; without it nothing is measured.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.commands.start_up import LIBRARIES
from benchmarks.output import Figure, publish_measured

SEMISUP = str(Path(sys.executable).with_name("semisup"))


def main() -> None:
    """Print and save the figures; the one turn of `--quick` is not kept."""
    publish_measured("peak_memory", measure)


def measure(*, quick: bool) -> list[Figure]:
    """Megabytes, and how many times as much three times the seconds of training take."""
    if not (root := os.environ.get("SEMISUP_DATA_ROOT")):
        print("peak_memory: SEMISUP_DATA_ROOT does not say where MNIST's files are; not measured", file=sys.stderr)
        return []
    data = Path(root).resolve()
    turns = range(1 if quick else 3)
    imports = [sys.executable, "-c", LIBRARIES]
    bare, short, long = zip(
        *((_peak_of(imports), _peak(data, seconds=10), _peak(data, seconds=30)) for _ in turns), strict=True
    )
    return [
        Figure.of("peak memory of a run on MNIST, MB", short, "≤ 900"),
        Figure.ratio(
            "… / that of a process that imports torch, torchvision, MLflow and Prefect", short, bare, "≤ 1.15"
        ),
        Figure.ratio("… of three times the epochs / that", long, short, "≤ 1.05"),
    ]


def _peak(data: Path, seconds: int) -> float:
    budgets = [f"data.root={data}", f"baseline.budget={seconds}s", f"joint.budget={seconds}s"]
    return _peak_of([SEMISUP, "run", "mnist", *(part for budget in budgets for part in ("--set", budget))])


def _peak_of(command: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, (Path(folder) / "log").read_text()
    return usage.ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
