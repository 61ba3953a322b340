#!/usr/bin/env bash
# An IVF index of faiss finds fewer than k neighbours wherever its cells hold fewer, though there are many more vectors. What is missing has the id -1, and labels[-1] is
# numpy's last label: a vote of neighbours then elects the last image's class, without an error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "faiss-cpu==1.15.1" "scikit-learn==1.9.1" "numpy==2.4.6"
OMP_NUM_THREADS=1 venv/bin/python - <<'PY'
import sys

import faiss
import numpy as np
import sklearn
from sklearn.datasets import load_digits

print(f"faiss {faiss.__version__}, scikit-learn {sklearn.__version__}'s digits")
points, labels = load_digits(return_X_y=True)
points = points.astype("float32")
known, asked = slice(0, 1500), slice(1500, None)
cells = 4 * 1500**0.5  # as faiss's guide advises
index = faiss.IndexIVFFlat(faiss.IndexFlatL2(64), 64, int(cells))
index.cp.min_points_per_centroid = 1
index.train(points[known])
index.add(points[known])
ids = index.search(points[asked], 20)[1]
missing = ids == -1
votes = np.zeros((len(ids), 10))
np.add.at(votes, (np.arange(len(ids))[:, None], labels[known][ids]), 1)
of_found = np.zeros((len(ids), 10))
np.add.at(of_found, (np.arange(len(ids))[:, None], labels[known][ids]), ~missing)
plain, masked = (100 * (table.argmax(1) == labels[asked]).mean() for table in (votes, of_found))
print(f"of 20 neighbours {100 * missing.mean():.0f} % are missing, though 1,500 vectors are there")
print(f"accuracy of the vote labels[ids]: {plain:.1f} %, with missing ones left out: {masked:.1f} %")
sys.exit("changed: neighbours are no longer missing, or do no harm" if missing.mean() < 0.2 or plain > masked - 20 else 0)
PY
