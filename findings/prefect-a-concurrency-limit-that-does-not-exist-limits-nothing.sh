#!/usr/bin/env bash
# concurrency("gpu") waits for a slot of the limit of that name. Where nobody has made the limit, on a fresh server or after a slip of the pen, it lets everybody in
# at once and logs a warning; only strict=True makes it an error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "prefect==3.9.1" "whenever==0.11.0"
PREFECT_HOME="$folder/prefect" PREFECT_LOGGING_LEVEL=CRITICAL PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=100 venv/bin/python - <<'PY'
import sys
import threading
import time

import prefect
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency

lock = threading.Lock()
inside, most = 0, 0


@task
def train(name: str) -> None:
    global inside, most
    with concurrency(name, occupy=1):
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(2)
        with lock:
            inside -= 1


@flow
def trainings(name: str, make: bool) -> int:
    """The most trainings that were inside at once."""
    global most
    most = 0
    if make:
        get_client(sync_client=True).create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
    for future in [train.submit(name) for _ in range(3)]:
        future.result()
    return most


with_limit, without = trainings("gpu", True), trainings("gpus", False)
print(f"prefect {prefect.__version__}")
print("most at once, the limit gpu is 1:", with_limit)
print("most at once, a limit gpus was never made:", without)
sys.exit(0 if with_limit == 1 and without > 1 else "changed: what does not exist limits, or the limit does not")
PY
