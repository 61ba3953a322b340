"""The Prefect server of one command: several start side by side, none is left behind, a dead one is noticed first."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from typer.testing import CliRunner

from flows.cli import app
from flows.start.server import answers
from tests.waiting import LONG

SERVER_OF_OUR_OWN = """
import sys
from flows.start.server import ensure_prefect_api
from prefect.settings import PREFECT_API_URL

assert "zipapp" not in sys.modules
ensure_prefect_api(meanwhile=["zipapp"])
assert "zipapp" in sys.modules
print(PREFECT_API_URL.value(), flush=True)
sys.stdin.read()
"""
COMMAND = [str(Path(sys.executable).with_name("semisup")), "run", "digits"]


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"MLFLOW_TRACKING_URI", "PREFECT_API_URL"}}
    return kept | {"PREFECT_HOME": str(tmp_path / "prefect")} | more


def server_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The server that a command starts, as soon as there is one."""
    deadline = time.monotonic() + LONG
    while True:
        assert process.poll() is None, "it ended before a server was started"
        assert time.monotonic() < deadline, "no server was started"
        for child in psutil.Process(process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # another child that has just ended
                if "server" in child.cmdline():
                    return [child]
        time.sleep(0.01)


def kill_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_a_dead_configured_server_is_one_line_and_nothing_is_written(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    dead = environment(tmp_path, PREFECT_API_URL="http://127.0.0.1:9/api")
    how = {"cwd": folder, "env": dead, "capture_output": True, "text": True, "timeout": LONG}
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
        servers = server_of(process)
        process.send_signal(number)
        assert process.wait(timeout=LONG) in {130, 143}
        _, alive = psutil.wait_procs(servers, timeout=LONG)
        assert alive == []
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.prefect
def test_two_servers_started_at_once_in_a_fresh_home_both_answer_and_neither_outlives_a_killed_command(tmp_path):
    commands = [
        subprocess.Popen(
            [sys.executable, "-c", SERVER_OF_OUR_OWN],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    servers: list[psutil.Process] = []
    try:
        assert len({command.stdout.readline() for command in commands} - {""}) == 2  # each says its own address
        servers = [child for command in commands for child in psutil.Process(command.pid).children(recursive=True)]
        assert len(servers) == 2
        for command in commands:
            command.kill()
        _, alive = psutil.wait_procs(servers, timeout=LONG)
        assert alive == []
    finally:
        kill_all(servers)
        for command in commands:
            command.kill()
            command.communicate()


@pytest.mark.slow
@pytest.mark.prefect
def test_a_server_that_is_still_starting_ends_with_a_killed_command(tmp_path):
    process = subprocess.Popen(
        COMMAND, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    servers: list[psutil.Process] = []
    try:
        servers = server_of(process)
        process.kill()
        _, alive = psutil.wait_procs(servers, timeout=LONG)
        assert alive == []
    finally:
        kill_all(servers)
        process.kill()
        process.wait()


BEGUN_EARLY = """
import sys
from flows.start.server import begin_prefect_api, ensure_prefect_api
from prefect.settings import PREFECT_API_URL

begin_prefect_api()
print("begun", flush=True)
sys.stdin.readline()
ensure_prefect_api()
print(PREFECT_API_URL.value(), flush=True)
sys.stdin.readline()
"""


@pytest.mark.slow
@pytest.mark.prefect
def test_a_server_begins_early_where_prefect_has_a_database_and_is_the_one_that_is_waited_for(tmp_path):
    """In a new home nothing begins: the migrations of its database must not be cut off by a mistake in a config."""
    addresses, early = [], []
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", BEGUN_EARLY],
            env=environment(tmp_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            early.append([child.pid for child in psutil.Process(process.pid).children()])
            process.stdin.write("\n")
            process.stdin.flush()
            addresses.append(process.stdout.readline().strip())
            servers = psutil.Process(process.pid).children()
            assert len(servers) == 1
            process.communicate("\n", timeout=LONG)
        assert process.returncode == 0
        assert not any(server.is_running() for server in servers)
    assert all(address.startswith("http://127.0.0.1:") for address in addresses)
    assert early[0] == []
    assert early[1] == [servers[0].pid]


def test_a_port_that_does_not_speak_http_is_no_server():
    """Another program may be there: it is said so, and nobody waits for ever."""
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet() -> None:
            caller, _ = other.accept()
            with caller:
                caller.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        greeter = threading.Thread(target=greet, daemon=True)
        greeter.start()
        assert not answers(f"http://127.0.0.1:{other.getsockname()[1]}/api")
        greeter.join(timeout=10)


@pytest.mark.parametrize(("body", "is_one"), [(b"true", True), (b"OK", False), (b"", False)])
def test_only_prefects_own_word_of_health_makes_a_server_one_of_prefects(body, is_one):
    """MLflow's page of this name says OK."""

    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Healthy) as other:
        answerer = threading.Thread(target=other.handle_request, daemon=True)
        answerer.start()
        assert answers(f"http://127.0.0.1:{other.server_port}/api") == is_one
        answerer.join(timeout=10)


@pytest.fixture
def anothers_start(tmp_path, monkeypatch) -> Iterator[None]:
    """Another command is starting its server and does not get on, such as by Ctrl-Z; patience is short."""
    import flows.start.server

    monkeypatch.setattr(flows.start.server, "SECONDS_IN_SILENCE", 0.1)
    monkeypatch.setattr(flows.start.server, "SECONDS_FOR_OTHERS", 0.1)
    monkeypatch.setattr(
        flows.start.server, "_launch", lambda *_: pytest.fail("a server was started beside another's start")
    )
    home = tmp_path / "prefect-home"
    home.mkdir()
    settings = temporary_settings({PREFECT_HOME: home}, restore_defaults={PREFECT_API_URL})
    with settings, FileLock(home / "semisup-server.lock", is_singleton=False):
        yield


@pytest.mark.parametrize("command", ["run", "reap", "serve"])
def test_the_start_of_anothers_server_is_said_and_not_waited_for_for_ever(command, store, anothers_start):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    outcome = CliRunner().invoke(app, [command, "digits", *(["--port", str(port)] if command == "serve" else [])])
    assert outcome.exit_code == 2, outcome.output
    *_, said, mistake = outcome.stderr.splitlines()
    assert said == "waiting for another command that is starting its Prefect server"
    assert mistake.startswith("error: PREFECT_HOME=")
    assert "other commands have been starting their Prefect servers" in mistake
