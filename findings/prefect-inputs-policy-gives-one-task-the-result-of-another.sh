#!/usr/bin/env bash
# With cache_policy=INPUTS Prefect's key is made of the arguments alone, not of the task. Two tasks that are called with the same arguments, teacher(seed) and student(seed),
# share one key, and the second one is handed the first one's result without being run.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "prefect==3.9.1" "whenever==0.11.0"
PREFECT_HOME="$folder/prefect" PREFECT_LOGGING_LEVEL=CRITICAL PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=100 venv/bin/python - <<'PY'
import sys

import prefect
from prefect import flow, task
from prefect.cache_policies import INPUTS, TASK_SOURCE

ran: list[str] = []


def train(name: str, seed: int) -> str:
    ran.append(name)
    return f"{name} of seed {seed}"


@task(cache_policy=INPUTS)
def teacher(seed: int) -> str:
    return train("teacher", seed)


@task(cache_policy=INPUTS)
def student(seed: int) -> str:
    return train("student", seed)


@task(cache_policy=INPUTS + TASK_SOURCE)
def other_student(seed: int) -> str:
    return train("other student", seed)


@flow
def pipeline(seed: int) -> list[str]:
    return [teacher(seed), student(seed), other_student(seed)]


results = pipeline(7)
print(f"prefect {prefect.__version__}")
print("results of teacher, student and a student whose source counts:", results)
print("bodies that ran:", ran)
expected = ["teacher of seed 7", "teacher of seed 7", "other student of seed 7"]
sys.exit(0 if results == expected and ran == ["teacher", "other student"] else "changed: the task is part of the key")
PY
