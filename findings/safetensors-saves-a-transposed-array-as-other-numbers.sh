#!/usr/bin/env bash
# safetensors.numpy writes the memory of an array as it lies. Of an array in Fortran's order, such as scikit-learn's coef_ and components_, the file has the right shape and the numbers in another order:
# nothing is raised, and the classifier that is loaded guesses. safetensors.torch raises for the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "safetensors==0.8.0" "scikit-learn==1.9.1" "numpy==2.4.6"
OMP_NUM_THREADS=1 venv/bin/python - <<'PY'
import sys

import numpy as np
import safetensors
import sklearn
from safetensors.numpy import load, save
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

print(f"safetensors {safetensors.__version__}, scikit-learn {sklearn.__version__}, numpy {np.__version__}")
images, labels = load_digits(return_X_y=True)
model = LogisticRegression(solver="newton-cg").fit(images / 16, labels)
print("coef_ is in C's order:", model.coef_.flags["C_CONTIGUOUS"])


def accuracy(weights: np.ndarray) -> float:
    """Of the digits that the model was fitted on, in %."""
    return 100 * float(((images / 16 @ weights.T + model.intercept_).argmax(1) == labels).mean())


kept = load(save({"weights": model.coef_}))["weights"]
in_order = load(save({"weights": np.ascontiguousarray(model.coef_)}))["weights"]
print(f"accuracy: {accuracy(model.coef_):.1f} %, loaded again {accuracy(kept):.1f} %, saved in C's order {accuracy(in_order):.1f} %")
same = np.array_equal(np.sort(kept.ravel()), np.sort(model.coef_.ravel())) and kept.shape == model.coef_.shape
print("same shape and the same numbers, in another order:", same and not np.array_equal(kept, model.coef_))
right = same and accuracy(kept) < 50 and np.array_equal(in_order, model.coef_)
sys.exit(0 if right else "changed: the array comes back, or scikit-learn keeps it otherwise")
PY
