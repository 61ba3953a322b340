#!/usr/bin/env bash
# LabelPropagation keeps given labels: in transduction_ each labelled image has its own. predict asked for the same image forgets that it was labelled, averages its neighbours (itself among them) and contradicts
# some of the labels that were given. Who writes pseudo-labels by predict, as with any classifier, overwrites labels of people.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "scikit-learn==1.9.1" "numpy==2.4.6"
OMP_NUM_THREADS=1 venv/bin/python - <<'PY'
import sys
import warnings

import numpy as np
import sklearn
from sklearn.datasets import load_digits
from sklearn.semi_supervised import LabelPropagation

print("scikit-learn", sklearn.__version__)
images, truth = load_digits(return_X_y=True)
labels = np.full(len(truth), -1)
known = np.random.default_rng(0).permutation(len(truth))[:100]
labels[known] = truth[known]
changed = False
for neighbours in (7, 15):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it has not converged
        model = LabelPropagation(kernel="knn", n_neighbors=neighbours).fit(images, labels)
        predicted = model.predict(images)
    kept = (model.transduction_[known] == truth[known]).sum()
    said = (predicted[known] == truth[known]).sum()
    print(f"{neighbours} neighbours: of 100 given labels transduction_ has {kept}, predict {said}")
    changed |= kept != 100 or said == 100
sys.exit("changed: predict keeps the labels, or transduction_ does not" if changed else 0)
PY
