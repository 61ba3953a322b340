"""The Prefect server of one command: none is left behind, and a configured one that is dead is noticed first."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

COMMAND = [str(Path(sys.executable).with_name("semisup")), "run", "digits"]
SECONDS_AT_MOST = 120


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"MLFLOW_TRACKING_URI", "PREFECT_API_URL"}}
    return kept | {"PREFECT_HOME": str(tmp_path / "prefect")} | more


def test_a_dead_configured_server_is_one_line_and_nothing_is_written(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    dead = environment(tmp_path, PREFECT_API_URL="http://127.0.0.1:9/api")
    how = {"cwd": folder, "env": dead, "capture_output": True, "text": True, "timeout": SECONDS_AT_MOST}
    outcome = subprocess.run(COMMAND, check=False, **how)
    assert outcome.returncode == 2
    (line,) = outcome.stderr.strip().splitlines()
    assert "PREFECT_API_URL='http://127.0.0.1:9/api'" in line
    assert list(folder.iterdir()) == []


@pytest.mark.slow
@pytest.mark.prefect
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_server_starts_leaves_no_server_behind(number, tmp_path):
    process = subprocess.Popen(
        COMMAND,
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        servers: list[psutil.Process] = []
        deadline = time.monotonic() + SECONDS_AT_MOST
        while not servers:
            assert process.poll() is None, "it ended before a server was started"
            assert time.monotonic() < deadline, "no server was started"
            servers = [child for child in psutil.Process(process.pid).children() if "server" in child.cmdline()]
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(timeout=SECONDS_AT_MOST) in {130, 143}
        _, alive = psutil.wait_procs(servers, timeout=10)
        assert alive == []
    finally:
        process.kill()
        process.wait()
