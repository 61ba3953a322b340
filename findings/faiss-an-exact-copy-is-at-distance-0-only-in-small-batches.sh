#!/usr/bin/env bash
# faiss computes distances of a few queries by differences, those of many at once as |x|² - 2xy + |y|². A copy of a vector is at distance 0 in the one way,
# and often not in the other: "distance 0" finds fewer copies the more images are asked about at once.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "faiss-cpu==1.15.1" "numpy==2.4.6"
OMP_NUM_THREADS=1 venv/bin/python - <<'PY'
import sys

import faiss
import numpy as np

print(f"faiss {faiss.__version__}, numpy {np.__version__}")
rng = np.random.default_rng(0)
pools = {
    "embeddings of 1,280 numbers in [0, 1)": rng.random((500, 1280), dtype="float32"),
    "images of 28x28 bytes": rng.integers(0, 256, (500, 784)).astype("float32"),
}
changed = False
for name, vectors in pools.items():
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(vectors)
    alone = np.array([index.search(vector[None], 1)[0][0, 0] for vector in vectors])
    together = index.search(vectors, 1)[0][:, 0]
    print(f"{name}: {(alone == 0).sum()} of 500 at distance 0 from themselves one by one, {(together == 0).sum()} all at once; farthest {together.max():.2g}")
    changed |= not (alone == 0).all() or (together == 0).all()
sys.exit("changed: copies are at distance 0 in both" if changed else 0)
PY
