#!/usr/bin/env bash
# A run is deleted; later its experiment is deleted and restored. The run is active again, for restoring marks all runs of the experiment as active, and not only those that were when it was deleted.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "mlflow==3.17.2"
MLFLOW_DISABLE_TELEMETRY=true venv/bin/python - 2>/dev/null <<'PY'
import sys

import mlflow
from mlflow import MlflowClient

print(f"mlflow {mlflow.__version__}")
client = MlflowClient("sqlite:///store.db")
experiment = client.create_experiment("runs")
good, bad = (client.create_run(experiment, run_name=name).info.run_id for name in ("good", "bad"))


def active(when: str) -> list[str]:
    """Names of the runs that a search finds."""
    names = sorted(run.info.run_name for run in client.search_runs([experiment]))
    print(f"{when}: {', '.join(names)}")
    return names


client.delete_run(bad)
before = active("the bad run was deleted")
client.delete_experiment(experiment)
client.restore_experiment(experiment)
after = active("the experiment was deleted and restored")
sys.exit("changed: what was deleted before stays deleted" if (before, after) != (["good"], ["bad", "good"]) else 0)
PY
