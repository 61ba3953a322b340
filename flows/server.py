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
from semisup.signals import undisturbed

SECONDS_TO_START = 120


def check_configured_api() -> None:
    """Make sure that a configured Prefect server answers, before anything is written.

    Raises:
        UserError: it does not.
    """
    configured = PREFECT_API_URL.value()
    if configured and not _answers(configured):
        raise UserError(f"PREFECT_API_URL={configured!r} does not answer; start that server, or unset it")


def ensure_prefect_api() -> None:
    """Point this process to the Prefect server that is configured, or else to one of our own on a free loopback port.

    Prefect would start one by itself, but in our process group: Ctrl-C would then end the server at once, and the
    flow would wait for minutes to report its end to nobody. Ours is stopped when the process exits, after Prefect's
    own exit hooks have sent their last logs to it (hooks run in reverse order, and theirs are made later).

    Raises:
        UserError: the configured server does not answer, or our own does not start.
    """
    if PREFECT_API_URL.value():
        check_configured_api()
        return
    url = _start()
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


def _start() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    log = tempfile.TemporaryFile()  # noqa: SIM115 -- the server holds it as long as it runs
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-services", "--no-ui"]
    _reach_loopback_without_proxy()
    with undisturbed():  # a signal between these two lines would leave a server that nobody stops
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"PREFECT_API_URL": url},
            start_new_session=True,
        )
        atexit.register(_stop, process)
    deadline = time.monotonic() + SECONDS_TO_START
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            log.seek(0)
            said = log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
            last = next((line for line in reversed(said) if "Error" in line), said[-1]).strip()
            raise UserError(
                f"Prefect's server did not start ({last}); set PREFECT_API_URL to a running one, or try again"
            )
        time.sleep(0.1)
    log.close()  # our end of it
    return url


def _reach_loopback_without_proxy() -> None:
    """A proxy for the world outside cannot see this machine's own addresses; Prefect's client asks the environment."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        if "127.0.0.1" not in hosts:
            os.environ[name] = ",".join([*hosts, "127.0.0.1"])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=5) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        return error.code in {401, 403}  # a server that wants a key is there; Prefect's client brings it
    except (urllib.error.URLError, OSError, ValueError):
        return False
