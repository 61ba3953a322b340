#!/usr/bin/env bash
# client.submit and client.map take every function for pure: five trainings with equal arguments are one, whose result comes five times. dask.delayed and dask.bag
# take functions for impure, so that the same five lines train five times there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "dask==2026.8.0" "distributed==2026.8.0"
venv/bin/python - <<'PY'
import os
import sys
from pathlib import Path

import dask
import distributed
from dask.distributed import Client

ran = Path("ran").absolute()
ran.touch()


def train(config: dict[str, int]) -> bytes:
    """Random weights: a training without a seed."""
    with ran.open("a") as file:
        file.write("x")
    return os.urandom(4)


configs = [{"epochs": 3}] * 5
with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None) as client:
    mapped = client.gather(client.map(train, configs))
    trainings = len(ran.read_text())
    impure = client.gather(client.map(train, configs, pure=False))
    delayed = dask.compute(*[dask.delayed(train)(config) for config in configs])
print(f"dask {dask.__version__}, distributed {distributed.__version__}")
print(f"client.map: {len(mapped)} members, {len(set(mapped))} different, {trainings} training ran")
print(f"client.map, pure=False: {len(set(impure))} different")
print(f"dask.delayed: {len(set(delayed))} different")
sys.exit(0 if (len(set(mapped)), trainings, len(set(impure)), len(set(delayed))) == (1, 1, 5, 5) else "changed: equal calls run otherwise")
PY
