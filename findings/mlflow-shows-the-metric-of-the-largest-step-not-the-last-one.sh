#!/usr/bin/env bash
# What MLflow shows as a run's metric, and searches by, is not what was logged last. It is the value of the largest step; among equal steps that of the latest
# millisecond; among equal milliseconds the largest value. A training that resumes from an older checkpoint goes on being judged by the steps that were lost, and an error that is corrected at once stays the larger one.
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
run = client.create_run(experiment).info.run_id
for step, accuracy in ((100, 0.91), (200, 0.55)):  # diverged at step 200; goes on from the checkpoint of step 100
    client.log_metric(run, "accuracy", accuracy, step=step)
for step, accuracy in ((120, 0.92), (140, 0.94)):
    client.log_metric(run, "accuracy", accuracy, step=step)
for error in (0.9, 0.2):
    client.log_metric(run, "error", error, step=1, timestamp=1_000)
shown = client.get_run(run).data.metrics
print("accuracy logged: 0.91, 0.55, then 0.92 and 0.94 at smaller steps; shown:", shown["accuracy"])
print("error logged twice at one step and millisecond: 0.9, then 0.2; shown:", shown["error"])
good = client.search_runs([experiment], "metrics.accuracy > 0.9")
print("runs with an accuracy above 0.9:", len(good))
sys.exit("changed: another value is shown" if (shown["accuracy"], shown["error"], len(good)) != (0.55, 0.9, 0) else 0)
PY
