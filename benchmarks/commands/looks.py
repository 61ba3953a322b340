"""Processor seconds of the commands that only look at a store, against an earlier build's, in turns.

Each build looks at a pipeline on digits that it ran itself, in a folder of its own. `SEMISUP_BEFORE` names the
`semisup` of the earlier one's environment, such as `../before/.venv/bin/semisup` of a worktree; without it nothing is
measured.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.output import Figure, publish_measured

SEMISUP = str(Path(sys.executable).with_name("semisup"))
MODEL, IMAGES = "RUN", "images"
COMMANDS = {
    "runs": (["runs"], "≤ 0.4"),
    "status": (["status", "digits"], "≤ 0.4"),
    "export": (["export", MODEL, "--format", "csv", "--out", "labels.csv", "--force"], "≤ 0.4"),
    "predict": (["predict", MODEL, IMAGES], "≤ 0.6"),
}


def main() -> None:
    """Print and save the ratios; the fewer turns of `--quick` are not kept."""
    publish_measured("looks", measure)


def measure(*, quick: bool) -> list[Figure]:
    """For each command the ratio of this build to the earlier one."""
    if not (before := os.environ.get("SEMISUP_BEFORE")):
        print("looks: SEMISUP_BEFORE does not name an earlier build's `semisup`; not measured", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        sides = [(SEMISUP, ours, _run(SEMISUP, ours)), (str(Path(before).resolve()), theirs, _run(before, theirs))]
        for _, folder, _ in sides:
            _write_images(Path(folder, IMAGES))
        figures = []
        for name, (command, goal) in COMMANDS.items():
            turns = [[_cpu_seconds(command, *side) for side in sides] for _ in range(3 if quick else 7)][1:]
            now, then = zip(*turns, strict=True)
            figures.append(
                Figure.ratio(f"semisup {name}, processor seconds / those of the build before", now, then, goal)
            )
    return figures


def _run(semisup: str, folder: str) -> str:
    """Run the digits; the pipeline's id."""
    done = subprocess.run(
        [str(Path(semisup).resolve()), "run", "digits", "--json"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return str(json.loads(done.stdout.splitlines()[-1])["run_id"])


def _write_images(folder: Path) -> None:
    from PIL import Image

    folder.mkdir()
    for number in range(10):
        Image.new("L", (8, 8), 20 * number).save(folder / f"{number}.png")


def _cpu_seconds(command: list[str], semisup: str, folder: str, run_id: str) -> float:
    """Of the command and all processes that it starts."""
    before = os.times()
    words = [run_id if word == MODEL else word for word in command]
    subprocess.run([semisup, *words], cwd=folder, check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    main()
