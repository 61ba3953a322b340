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

from prefect.settings import PREFECT_API_URL, temporary_settings

from semisup.errors import UserError

SECONDS_TO_START = 120


def ensure_prefect_api() -> None:
    """Point this process to the Prefect server that is configured, or else to one of our own on a free loopback port.

    Prefect would start one by itself, but in our process group: Ctrl-C would then end the server at once, and the
    flow would wait for minutes to report its end to nobody. Ours is stopped when the process exits, after Prefect's
    own exit hooks have sent their last logs to it (hooks run in reverse order, and theirs are made later).

    Raises:
        UserError: the configured server does not answer, or our own does not start.
    """
    configured = PREFECT_API_URL.value()
    if configured:
        if not _answers(configured):
            raise UserError(f"PREFECT_API_URL={configured!r} does not answer; start that server, or unset it")
        return
    url, process = _start()
    atexit.register(_stop, process)
    settings = temporary_settings({PREFECT_API_URL: url})
    settings.__enter__()  # for the rest of the process
    atexit.register(settings.__exit__, None, None, None)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()


def _start() -> "tuple[str, subprocess.Popen[bytes]]":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    log = tempfile.TemporaryFile()  # noqa: SIM115 -- the server holds it as long as it runs
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-services", "--no-ui"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=os.environ | {"PREFECT_API_URL": url},
        start_new_session=True,
    )
    deadline = time.monotonic() + SECONDS_TO_START
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            log.seek(0)
            last = (log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise UserError(
                f"Prefect's server did not start ({last}); set PREFECT_API_URL to a running one, or try again"
            )
        time.sleep(0.1)
    log.close()  # our end of it
    return url, process


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False
