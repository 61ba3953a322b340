"""A Prefect API for the length of one command."""

import atexit
import http.client
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    temporary_settings,
)

from flows.start import display
from flows.start.prefect_home import check_prefect_home
from semisup.errors import UserError
from semisup.system.memory import uncollected
from semisup.system.signals import undisturbed
from semisup.tracking.places.redaction import without_logins
from semisup.tracking.places.store import may_be_sqlite

SECONDS_TO_START = 120
SECONDS_IN_SILENCE, SECONDS_FOR_OTHERS = 15.0, 600.0
"""How long the starts of other commands' servers are waited for: without a word, and after it."""
HOST = "127.0.0.1"
HEALTHY = b"true"
"""What Prefect says of itself. Others have such a page as well: MLflow's says OK."""
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
        shown = without_logins(configured)
        raise UserError(f"PREFECT_API_URL={shown!r} does not answer; start that server, or unset it")


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


def begin_prefect_api() -> None:
    """Let our own server start while this process imports what it needs; :func:`ensure_prefect_api` then waits for it.

    Only where Prefect has a database already: a mistake found meanwhile ends the server, and must not do so in the
    migrations of a new one.

    Raises:
        UserError: our own cannot be started.
    """
    global _begun  # noqa: PLW0603 -- a process has one server
    if PREFECT_API_URL.value():
        return
    check_prefect_home(PREFECT_HOME.value())  # a file of Prefect's may name it, too
    if not (PREFECT_HOME.value() / "prefect.db").exists():
        return
    _reach_loopback_without_proxy()
    with suppress(Timeout):  # `ensure_prefect_api` waits for another's start
        _begun = _begin(_free_port(), SILENT, lambda lock: lock.acquire(0))


def ensure_prefect_api(port: int | None = None, meanwhile: Iterable[str] = ()) -> None:
    """Point this process to the Prefect server that is configured, or else to one of our own.

    While our own starts, the modules `meanwhile` are imported one after the other, as far as the time goes.

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
    starting = _begin(port, ["--ui"]) if port is not None else _begun or _begin(_free_port(), SILENT)
    starting.wait(meanwhile)
    own: dict[Any, Any] = {PREFECT_API_URL: starting.url}
    if port is None:
        own[PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED] = False  # it is of this process's version
        own[PREFECT_FLOWS_HEARTBEAT_FREQUENCY] = None  # no service listens; a flow's end would wait for a sleep of 1 s
    settings = temporary_settings(own)
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


@dataclass
class _Starting:
    """A server that was launched. Others wait with theirs until it answers, whatever we do meanwhile."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: IO[bytes]
    lock: FileLock

    def __post_init__(self) -> None:
        self._over, self._failure = (
            threading.Event(),
            "Prefect's server could not be watched while it started; try again",
        )
        threading.Thread(target=self._watch, daemon=True).start()

    def wait(self, meanwhile: Iterable[str] = ()) -> None:
        """Until it answers; `meanwhile` these modules are imported.

        Raises:
            UserError: it does not.
        """
        with uncollected():
            for module in meanwhile:
                if self._over.is_set():
                    break
                with undisturbed():  # a signal's exception may come out of an import as another one, or crash the exit
                    import_module(module)
        self._over.wait()
        if self._failure:
            raise UserError(self._failure)

    def _watch(self) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        try:
            while not answers(self.url):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.process.kill()
                    self._failure = (
                        f"PREFECT_HOME={str(PREFECT_HOME.value())!r}: Prefect's server did not start there "
                        f"({self._last_words()}); set PREFECT_API_URL to a running one, or try again"
                    )
                    break
                time.sleep(0.1)
            else:
                self._failure = ""
        finally:  # others wait for the lock, and our own command for the end of this thread
            self.log.close()  # the server holds it as long as it runs
            self.lock.release()
            self._over.set()

    def _last_words(self) -> str:
        self.log.seek(0)
        said = self.log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
        return next((line for line in reversed(said) if "Error" in line), said[-1]).strip()


_begun: _Starting | None = None


def _wait_for_others(lock: FileLock) -> None:
    with suppress(Timeout):
        lock.acquire(SECONDS_IN_SILENCE)
        return
    display.current().line("waiting for another command that is starting its Prefect server")
    try:
        lock.acquire(SECONDS_FOR_OTHERS)
    except Timeout:
        raise UserError(
            f"PREFECT_HOME={str(PREFECT_HOME.value())!r}: for more than {SECONDS_FOR_OTHERS:.0f} s other commands have "
            "been starting their Prefect servers there; if one of them is stopped (as by Ctrl-Z), end it, or set "
            "PREFECT_API_URL to a server that runs"
        ) from None


def _begin(port: int, options: list[str], acquire: Callable[[FileLock], object] = _wait_for_others) -> _Starting:
    """Launch a server. One at a time: several would race in the migrations of a new database."""
    home = PREFECT_HOME.value()
    lock = FileLock(home / "semisup-server.lock", thread_local=False)  # another thread lets it go
    try:
        home.mkdir(parents=True, exist_ok=True)
        _check_database(home / "prefect.db")
        acquire(lock)
    except Timeout:  # an OSError as well
        raise
    except OSError as error:
        raise UserError(f"PREFECT_HOME={str(home)!r} cannot be used ({error.strerror}); name another folder") from None
    url = f"http://{HOST}:{port}/api"
    try:
        log = tempfile.TemporaryFile()  # noqa: SIM115 -- closed once the server answers
        return _Starting(url, _launch(url, port, options, log), log, lock)
    except BaseException:
        lock.release()
        raise


def _check_database(database: Path) -> None:
    if not database.exists():
        return
    problem = "a folder" if database.is_dir() else None if may_be_sqlite(database) else "not an SQLite database"
    if problem is None:
        try:
            with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", timeout=0, uri=True)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError:
            pass  # another server is writing
        except sqlite3.DatabaseError as error:
            problem = f"damaged ({error})"
    if problem is not None:
        raise UserError(
            f"PREFECT_HOME={str(database.parent)!r}: its {database.name} is {problem}; move it away, name another "
            "folder, or set PREFECT_API_URL to a server that runs"
        )


def _launch(url: str, port: int, options: list[str], log: IO[bytes]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "flows.start.server_process", str(os.getpid()), "server", "start", *options]
    own = {"PREFECT_API_URL": url, "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES_ON_DISK}
    own["PREFECT_SERVER_LOGGING_LEVEL"] = "ERROR"  # into the log that tells why it did not start
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
            return bool(response.status == 200 and response.read(16) == HEALTHY)
    except urllib.error.HTTPError as error:
        return error.code in {401, 403}  # a server that wants a key is there; Prefect's client brings it
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):
        return False  # perhaps it does not even speak HTTP
