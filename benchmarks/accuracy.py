"""Runs configs over seeds through the command line and prints mean ± standard deviation, the worst seed and the time.

    python -m benchmarks.accuracy configs/mnist.yaml configs/mnist_method1.yaml --seeds 3 --set data.root=data

Each run is a process of its own with the machine to itself; the store is `mlflow.db` in the working folder.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.output import publish


def main() -> None:
    """Print and save a row for each config."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 … n-1")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    arguments = parser.parse_args()
    rows, details = [], []
    for config in arguments.configs:
        results = []
        for seed in range(arguments.seeds):
            results.append(_run(config, seed, arguments.overrides))
            details.append(_detail(config.stem, seed, results[-1]))
            publish("accuracy_seeds", details, "one row a run")  # after each: a later failure loses nothing
        rows.append(_summarize(config.stem, results))
    publish("accuracy", rows, f"test accuracy in %, mean ± standard deviation over {arguments.seeds} seeds")


def _run(config: Path, seed: int, overrides: Sequence[str]) -> dict[str, Any]:
    command = [str(Path(sys.executable).parent / "semisup"), "run", str(config), "--set", f"seed={seed}", "--json"]
    command += ["--set", "promote.enabled=false"]  # the best of several seeds on the test images is no champion
    for override in overrides:
        command += ["--set", override]
    print(" ".join(command[1:]), file=sys.stderr)
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def _summarize(name: str, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def spread(key: str) -> str:
        values = [100 * result[key] for result in results if key in result]
        if not values:
            return "–"
        return f"{statistics.mean(values):.2f} ± {statistics.stdev(values) if len(values) > 1 else 0:.2f}"

    students = [result["student_test_accuracy"] for result in results]
    worst = min(range(len(students)), key=students.__getitem__)
    return {
        "config": name,
        "baseline": spread("baseline_test_accuracy"),
        "student": spread("student_test_accuracy"),
        "worst seed": f"{100 * students[worst]:.2f} (seed {worst})",
        "coverage": spread("pseudo_label_coverage"),
        "precision": spread("pseudo_label_precision"),
        "seconds, mean": statistics.mean(result["seconds"] for result in results),
        "longest": max(result["seconds"] for result in results),
    }


def _detail(name: str, seed: int, result: dict[str, Any]) -> dict[str, Any]:
    return {
        "config": name,
        "seed": seed,
        "baseline": f"{100 * result['baseline_test_accuracy']:.2f}",
        "student": f"{100 * result['student_test_accuracy']:.2f}",
        "coverage": f"{100 * result['pseudo_label_coverage']:.1f}",
        "precision": f"{100 * result['pseudo_label_precision']:.2f}" if "pseudo_label_precision" in result else "–",
        "McNemar p": f"{result['mcnemar_p']:.2g}",
        "seconds": f"{result['seconds']:.0f}",
    }


if __name__ == "__main__":
    main()
