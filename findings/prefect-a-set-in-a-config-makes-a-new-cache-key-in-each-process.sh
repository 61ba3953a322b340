#!/usr/bin/env bash
# Prefect makes its cache key of what the arguments look like pickled. A set of class names, plain or in the dataclass of a config, is pickled in the order of Python's random hashes:
# equal configs have another key in each process, and what an earlier process cached is not found. A sorted list has one key.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "prefect==3.9.1" "whenever==0.11.0"
PREFECT_HOME="$folder/prefect" PREFECT_LOGGING_LEVEL=CRITICAL PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=100 venv/bin/python - <<'PY'
import subprocess
import sys
from pathlib import Path

import prefect

Path("keys.py").write_text("""
from dataclasses import dataclass
from prefect.cache_policies import INPUTS

@dataclass(frozen=True)
class Config:
    epochs: int
    classes: frozenset[str]

names = {"bird", "cat", "dog", "fish", "fox", "hen", "owl", "pig"}
for value in (names, Config(3, frozenset(names)), {"epochs": 3, "classes": sorted(names)}):
    print(INPUTS.compute_key(task_ctx=None, inputs={"config": value}, flow_parameters={})[:8])
""")
processes = [subprocess.run([sys.executable, "keys.py"], capture_output=True, text=True, check=True).stdout.split() for _ in range(4)]
different = [len(set(keys)) for keys in zip(*processes, strict=True)]
print(f"prefect {prefect.__version__}")
for name, count in zip(("a set", "a dataclass with a frozenset", "a dict with a sorted list"), different, strict=True):
    print(f"{name}: {count} different keys in 4 processes")
sys.exit(0 if min(different[:2]) > 1 and different[2] == 1 else "changed: keys differ otherwise")
PY
