"""A Prefect API for the length of one command."""

import atexit
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from typing import IO

from filelock import FileLock
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from semisup.errors import UserError
from semisup.signals import undisturbed

SECONDS_TO_START = 120
HOST = "127.0.0.1"
SILENT = ["--no-services", "--no-ui"]
"""For a single run: no scheduler, no pages."""
LEASES_ON_DISK = "prefect.server.concurrency.lease_storage.filesystem"
"""Prefect keeps in memory who holds a deployment's only slot. A restarted server would then end every run that is under
way, since it cannot renew its hold, and count a slot of nobody's as taken for ever."""


def check_configured_api(*, required: bool = False) -> None:
    """Make sure that a configured Prefect server answers, before anything is written.

    Raises:
        UserError: it does not, or none is configured although one is required.
    """
    configured = PREFECT_API_URL.value()
    if required and not configured:
        raise UserError("PREFECT_API_URL is not set; set it to the server's address, such as http://127.0.0.1:4200/api")
    if configured and not answers(configured):
        raise UserError(f"PREFECT_API_URL={configured!r} does not answer; start that server, or unset it")


def check_port(port: int) -> None:
    """Make sure that a server of our own can be reached at this port, unless one is configured.

    Raises:
        UserError: something else is there.
    """
    if PREFECT_API_URL.value():
        return
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as the server does: its predecessor's port is free
        try:
            probe.bind((HOST, port))
        except OSError as error:
            url = f"http://{HOST}:{port}/api"
            hint = f"; a Prefect server is there, PREFECT_API_URL={url} would use it" if answers(url) else ""
            raise UserError(f"--port {port} cannot be used ({error.strerror}); choose another one{hint}") from None


def ensure_prefect_api(port: int | None = None) -> None:
    """Point this process to the Prefect server that is configured, or else to one of our own.

    Ours is silent and on a free loopback port; with `port` it is there, and has the scheduler and the pages. Prefect
    would start one by itself, but in our process group: Ctrl-C would then end the server at once, and the flow would
    wait for minutes to report its end to nobody. Ours is stopped when the process exits, after Prefect's own exit hooks
    have sent their last logs to it (hooks run in reverse order, and theirs are made later).

    Raises:
        UserError: the configured server does not answer, or our own does not start.
    """
    if PREFECT_API_URL.value():
        check_configured_api()
        return
    if port is not None:
        check_port(port)
    _reach_loopback_without_proxy()
    url = _start(_free_port(), SILENT) if port is None else _start(port, ["--ui"])
    settings = temporary_settings({PREFECT_API_URL: url})
    settings.__enter__()  # for the rest of the process
    atexit.register(settings.__exit__, None, None, None)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()


def _start(port: int, options: list[str]) -> str:
    """The address of a server that answers. One at a time: several would race in the migrations of a new database."""
    home = PREFECT_HOME.value()
    lock = FileLock(home / "semisup-server.lock")
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise UserError(f"PREFECT_HOME={str(home)!r} cannot be used ({error.strerror}); name another folder") from None
    try:
        with tempfile.TemporaryFile() as log:  # the server holds it as long as it runs
            url = f"http://{HOST}:{port}/api"
            _wait_for(url, _launch(url, port, options, log), log)
    finally:
        lock.release()
    return url


def _launch(url: str, port: int, options: list[str], log: IO[bytes]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "flows.server_process", str(os.getpid()), "server", "start", *options]
    own = {"PREFECT_API_URL": url, "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES_ON_DISK}
    with undisturbed():  # a signal between these two lines would leave a server that nobody stops
        process = subprocess.Popen(
            [*command, "--host", HOST, "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | own,
            start_new_session=True,
        )
        atexit.register(_stop, process)
    return process


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            log.seek(0)
            said = log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
            last = next((line for line in reversed(said) if "Error" in line), said[-1]).strip()
            raise UserError(
                f"Prefect's server did not start ({last}); set PREFECT_API_URL to a running one, or try again"
            )
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _reach_loopback_without_proxy() -> None:
    """A proxy for the world outside cannot see this machine's own addresses; Prefect's client asks the environment."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        if HOST not in hosts:
            os.environ[name] = ",".join([*hosts, HOST])


def answers(url: str) -> bool:
    """Is there a Prefect server at this address?"""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=5) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        return error.code in {401, 403}  # a server that wants a key is there; Prefect's client brings it
    except (urllib.error.URLError, OSError, ValueError):
        return False
