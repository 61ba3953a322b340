"""Configs over seeds, as `semisup benchmark` runs them."""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from semisup.config import PipelineConfig
from semisup.config.files import to_yaml

CONFIGS = Path(__file__).parents[2] / "configs"
Row = dict[str, Any]


def run_over_seeds(config: PipelineConfig, seeds: range) -> list[Row]:
    """A row for each of these seeds, two processes at a time; runs are kept in the working folder's store."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{config.name}.yaml"
        path.write_text(to_yaml(config), encoding="utf-8")
        command = [str(Path(sys.executable).parent / "semisup"), "benchmark", str(path)]
        words = f"{seeds[0]}-{seeds[-1]}"
        print(f"{config.name}: seeds {words}", file=sys.stderr)
        output = subprocess.run(
            [*command, "--seeds", words, "--json"], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
    rows: list[Row] = json.loads(output.splitlines()[-1])["rows"]
    return rows


def mean_std(values: Sequence[float]) -> str:
    """In percent; of a single value the standard deviation is not known."""
    std = f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.2f}{std}"
