#!/usr/bin/env bash
# Dataset.map keeps its result under a hash of the function. A function that it calls in another module counts by name only: after a correction there, and in a new process, map
# gives the labels of before. Other than in a notebook, where functions count with their code.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "datasets==5.2.0"
HF_HOME="$folder/home" HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import subprocess
import sys
from pathlib import Path

import datasets

datasets.disable_progress_bars()
print(f"datasets {datasets.__version__}")
datasets.Dataset.from_dict({"confidence": [0.6, 0.99]}).to_parquet("table.parquet")
Path("job.py").write_text(
    "import datasets, rules\n"
    "datasets.disable_progress_bars()\n"
    "table = datasets.Dataset.from_parquet('table.parquet')\n"
    "print(table.map(lambda row: {'accepted': rules.accept(row['confidence'])})['accepted'][:])\n"
)


def labels_with(threshold: float) -> str:
    """What a new process prints once the other module has this threshold."""
    Path("rules.py").write_text(f"def accept(confidence):\n    return confidence >= {threshold}\n")
    done = subprocess.run([sys.executable, "-B", "job.py"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


first, second = labels_with(0.95), labels_with(0.5)
print("accepted with a threshold of 0.95:", first)
print("accepted once the rule says 0.5:", second)
sys.exit(0 if (first, second) == ("[False, True]", "[False, True]") else "changed: code of other modules counts")
PY
