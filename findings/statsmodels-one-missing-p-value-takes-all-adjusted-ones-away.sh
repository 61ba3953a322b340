#!/usr/bin/env bash
# multipletests with Benjamini-Hochberg and one NaN among the p-values (an image without a score) answers two things at once: reject is right for all others,
# and the adjusted p-values are NaN for every one. Selecting by the second selects nothing. Bonferroni and Holm keep the others; scipy's false_discovery_control refuses a NaN.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "statsmodels==0.15.0" "scipy==1.17.1" "numpy==2.4.6"
venv/bin/python - <<'PY'
import sys

import numpy as np
import statsmodels
from statsmodels.stats.multitest import multipletests

print("statsmodels", statsmodels.__version__)
values = np.array([1e-6, 1e-5, 1e-4, 0.5, np.nan])
seen = {}
for method in ("fdr_bh", "fdr_by", "holm", "bonferroni"):
    reject, adjusted, *_ = multipletests(values, 0.05, method)
    seen[method] = (int(reject.sum()), int((adjusted < 0.05).sum()))
    print(f"{method}: {seen[method][0]} by reject, {seen[method][1]} by adjusted p < 0.05; adjusted {adjusted}")
expected = {"fdr_bh": (3, 0), "fdr_by": (3, 0), "holm": (3, 3), "bonferroni": (3, 3)}
sys.exit("changed: a NaN is treated otherwise" if seen != expected else 0)
PY
