#!/usr/bin/env bash
# MLflow's digest of a data set reads its first 10,000 numbers or rows. Of an array of 28x28 images these are the first twelve images, of a table of labels the first 10,000;
# columns of bool or of objects are never read. Data sets that differ in all the rest have one digest.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "mlflow==3.17.2" "pandas==3.1.1" "numpy==2.4.6"
MLFLOW_DISABLE_TELEMETRY=true venv/bin/python - <<'PY'
import sys

import mlflow
import numpy as np
import pandas as pd

print(f"mlflow {mlflow.__version__}")
images = np.random.default_rng(0).integers(1, 256, (1000, 28, 28), dtype="uint8")
blank = images.copy()
blank[13:] = 0
first = images.copy()
first[0] = 0
labels = pd.DataFrame({"image": np.arange(20_000), "label": -1, "accepted": False})
relabelled = labels.copy()
relabelled.loc[10_000:, "label"] = 3
accepted = labels.copy()
accepted["accepted"] = True


def digest(data: np.ndarray | pd.DataFrame) -> str:
    """The digest that MLflow logs with the data set."""
    return (mlflow.data.from_numpy(data) if isinstance(data, np.ndarray) else mlflow.data.from_pandas(data)).digest


pairs = {
    "1,000 images, and the same with 987 of them blank": (images, blank, True),
    "1,000 images, and the same with the first one blank": (images, first, False),
    "20,000 labels, and the same with half of them changed": (labels, relabelled, True),
    "20,000 rows, nothing accepted, and all accepted": (labels, accepted, True),
}
changed = False
for name, (one, other, alike) in pairs.items():
    print(f"{name}: {digest(one)}, {digest(other)}")
    changed |= (digest(one) == digest(other)) is not alike
sys.exit("changed: the digest covers something else" if changed else 0)
PY
