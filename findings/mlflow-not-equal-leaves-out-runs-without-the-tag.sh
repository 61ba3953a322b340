#!/usr/bin/env bash
# A search for runs whose tag is not "train" finds no run that lacks the tag, and the same holds for parameters and metrics:
# each condition first demands that the run has the key. "Everything but" needs two searches, one of them IS NULL.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "mlflow==3.17.2"
MLFLOW_DISABLE_TELEMETRY=true venv/bin/python - <<'PY'
import sys

import mlflow
from mlflow import MlflowClient

print(f"mlflow {mlflow.__version__}")
client = MlflowClient("sqlite:///store.db")
experiment = client.create_experiment("runs")
for tags in ({"stage": "train"}, {"stage": "evaluate"}, {}, {}):
    run = client.create_run(experiment, tags=tags).info.run_id
    for key, value in tags.items():
        client.log_param(run, key, value)
        client.log_metric(run, "is_train", float(value == "train"))


def found(wanted: str) -> int:
    """How many of the four runs a search finds."""
    return len(client.search_runs([experiment], wanted))


expected = {
    "": 4,
    "tags.stage = 'train'": 1,
    "tags.stage != 'train'": 1,
    "params.stage != 'train'": 1,
    "metrics.is_train != 1": 1,
    "tags.stage IS NULL": 2,
}
seen = {wanted: found(wanted) for wanted in expected}
for wanted, count in seen.items():
    print(f"{wanted or 'all runs'}: {count}")
sys.exit("changed: another number of runs is found" if seen != expected else 0)
PY
