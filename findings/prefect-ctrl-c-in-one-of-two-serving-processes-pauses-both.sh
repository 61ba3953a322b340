#!/usr/bin/env bash
# Two processes that serve one deployment share its runs, as two machines would. Ctrl-C in one of them pauses the deployment and takes its scheduled runs away; the other process lives on,
# says nothing, and has nothing to run any more. pause_on_shutdown=False is the way out.
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
from prefect.client.orchestration import get_client

Path("job.py").write_text("""
import sys
from prefect import flow

@flow
def nightly():
    pass

if __name__ == "__main__":
    nightly.serve(name="nightly", cron="0 2 * * *", pause_on_shutdown=sys.argv[1] == "pause")
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


def after_one_left(pause: str) -> tuple[bool, int, bool]:
    """Of two serving processes one gets Ctrl-C: whether the deployment is paused, its scheduled runs, whether the other lives."""
    serving = [subprocess.Popen([sys.executable, "job.py", pause], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    try:
        for _ in range(60):
            time.sleep(1)
            if len(scheduled()) >= 3:
                break
        time.sleep(10)  # both of them
        serving[0].send_signal(signal.SIGINT)
        serving[0].wait(timeout=60)
        paused = client.read_deployment_by_name("nightly/nightly").paused
        return paused, len(scheduled()), serving[1].poll() is None
    finally:
        for process in serving:
            process.kill()
            process.wait()


def scheduled() -> list[str]:
    """States of the runs that wait for their time."""
    return [run.state_name for run in client.read_flow_runs() if run.state_name == "Scheduled"]


with server(), get_client(sync_client=True) as client:
    alone = after_one_left("keep")
    paused = after_one_left("pause")
print(f"prefect {prefect.__version__}")
print("as it comes: paused {}, scheduled runs {}, the other one lives: {}".format(*paused))
print("pause_on_shutdown=False: paused {}, scheduled runs {}, the other one lives: {}".format(*alone))
right = paused == (True, 0, True) and not alone[0] and alone[1] > 0 and alone[2]
sys.exit(0 if right else "changed: the deployment goes on")
PY
