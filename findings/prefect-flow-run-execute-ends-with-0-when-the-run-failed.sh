#!/usr/bin/env bash
# `prefect flow-run execute ID`, which containers and cron lines run, prints the traceback of a flow that raises, marks the run as failed, and exits with 0. What watches the exit status
# (a container's restart policy, a batch queue, `&&`) takes it for a success.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "prefect==3.9.1" "whenever==0.11.0"
PREFECT_HOME="$folder/prefect" PREFECT_LOGGING_LEVEL=CRITICAL PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=100 venv/bin/python - <<'PY'
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import prefect
from prefect import flow
from prefect.client.orchestration import get_client

Path("job.py").write_text("""
from prefect import flow

@flow
def nightly(works: bool):
    if not works:
        raise ValueError("no image is left")
""")


@contextmanager
def server() -> Iterator[None]:
    """A Prefect server of this folder's own, on a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(["venv/bin/prefect", "server", "start", "--port", str(port)], start_new_session=True, **quiet)
    try:
        for _ in range(100):
            time.sleep(1)
            try:
                if httpx.get(f"http://127.0.0.1:{port}/api/health").is_success:
                    break
            except httpx.TransportError:
                continue
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


seen = {}
with server():
    deployment = flow.from_source(str(Path.cwd()), "job.py:nightly").to_deployment("nightly").apply()
    with get_client(sync_client=True) as client:
        for works in (True, False):
            run = client.create_flow_run_from_deployment(deployment, parameters={"works": works}).id
            done = subprocess.run(["venv/bin/prefect", "flow-run", "execute", str(run)], capture_output=True, timeout=100)
            seen[client.read_flow_run(run).state_name] = done.returncode
print(f"prefect {prefect.__version__}")
print("exit status by the run's state:", seen)
sys.exit(0 if seen == {"Completed": 0, "Failed": 0} else "changed: other states or exit statuses")
PY
