"""`semisup doctor`: how machine, store and server are, what is slow or wrong, and what to type. It looks only."""

import base64
import http.client
import json
import os
import platform
import re
import shutil
import sqlite3
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

import typer

from flows.cli.command import Command
from flows.cli.options import AsJson
from flows.cli.printing import print_table
from flows.start.exits import user_mistakes_in_one_line
from semisup import __version__
from semisup.errors import UserError, in_one_line
from semisup.tracking.places.redaction import without_logins
from semisup.tracking.places.store import check_reachable, is_server, sqlite_path, store_uri, without_secrets
from semisup.wording import counted

Standing = Literal["ok", "note", "wrong"]
SHOWN = ("torch", "torchvision", "prefect", "mlflow", "sqlalchemy", "pydantic", "numpy", "pandas", "pyarrow", "timm")
VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "PREFECT_API_URL",
    "PREFECT_HOME",
    "XDG_CACHE_HOME",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "PYTHONDONTWRITEBYTECODE",
)
"""Of the environment, what changes how semisup behaves."""
LEAST_FREE, LITTLE_FREE = 1e9, 10e9
"""Bytes of a disk: below the first the next run is likely to fail, below the second it is worth a line."""
SECONDS_TO_ANSWER = 5
WIDTH = 100
"""Letters of a line where there is no terminal: its table is read by people, who paste it."""
REVISION = re.compile(r"^(down_)?revision\b[^=]*= *['\"](\w+)", re.MULTILINE)
"""In MLflow's migrations: which one a file is, and which one it follows."""


@dataclass(frozen=True)
class Finding:
    """One line of what was seen."""

    about: str
    seen: str
    standing: Standing = "ok"
    advice: str = ""
    """What to type or to set; "" where nothing is to be done."""


def doctor(as_json: AsJson = False) -> None:
    """Look at versions, store, server, cache, disks and device.

    Says what is slow or wrong, and what to type. Makes and changes nothing. Ends with status 1 where something is
    wrong, else with 0. --json is meant for a bug report: it holds no password or token.
    """
    with user_mistakes_in_one_line():
        findings = [_redacted(finding) for look in LOOKS for finding in _looked(look)]
    wrong = sum(finding.standing == "wrong" for finding in findings)
    if as_json:
        seen = {name: without_logins(value) for name in VARIABLES if (value := os.environ.get(name)) is not None}
        typer.echo(json.dumps({"findings": [*map(asdict, findings)], "environment": seen, "wrong": wrong}, indent=2))
    else:
        sign = {"ok": "", "note": "note", "wrong": "WRONG"}
        print_table(
            ["", "what there is", "", "what to do"],
            [(f.about, f.seen, sign[f.standing], f.advice) for f in findings],
            piped=WIDTH,
        )
        typer.echo(f"{wrong} of {len(findings)} wrong" if wrong else "nothing is wrong")
    raise typer.Exit(int(wrong > 0))


def _looked(look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """What a look finds; one that cannot be taken is a finding as well."""
    try:
        return list(look())
    except (UserError, OSError, ImportError, RuntimeError, ValueError, http.client.HTTPException) as error:
        about = look.__name__.strip("_").replace("_", " ")
        return [Finding(about, in_one_line(error), "wrong", "see the message")]


def _redacted(finding: Finding) -> Finding:
    return Finding(finding.about, without_logins(finding.seen), finding.standing, advice=without_logins(finding.advice))


def _versions() -> Iterator[Finding]:
    yield Finding("semisup", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield Finding("packages", ", ".join(f"{name} {version(name)}" for name in SHOWN if _installed(name)))


def _requirements() -> Iterator[Finding]:
    """What `pip check` says of us: a package that is missing, or of a version that we do not work with."""
    from packaging.requirements import Requirement

    extras: dict[str, list[str]] = {}
    for wanted in map(Requirement, requires("semisup") or []):
        found = _installed(wanted.name)
        extra = re.search(r"extra == ['\"](\w+)", str(wanted.marker or ""))
        fits = found is not None and wanted.specifier.contains(found, prereleases=True)
        if extra is not None and extra[1] != "dev" and found is None:
            extras.setdefault(extra[1], []).append(wanted.name)
        elif not fits and (extra is None or found is not None) and (extra is None or extra[1] != "dev"):
            bounds = f"{wanted.name}{wanted.specifier}"
            yield Finding(
                "requirement", f"{found or 'not installed'}, not {bounds}", "wrong", f"pip install '{bounds}'"
            )
    without = ", ".join(f"{name} ({', '.join(packages)})" for name, packages in extras.items())
    yield Finding("optional", f"without {without}" if without else "all extras are installed")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _store() -> Iterator[Finding]:
    uri = store_uri(Path.cwd())
    shown, database = without_secrets(uri), sqlite_path(uri)
    if is_server(uri):
        yield _server("store", f"{uri.rstrip('/')}/version", shown, "mlflow", "start that server, or mend the address")
    elif database is None:
        check_reachable(uri)
        yield Finding("store", f"{shown}, a database that answers")
    elif not database.exists():
        yield Finding("store", f"{shown}, not there yet: the first run makes it")
    else:
        yield _sqlite(database, shown)


def _sqlite(database: Path, shown: str) -> Finding:
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            (schema,) = connection.execute("select version_num from alembic_version").fetchone()
            runs, running = connection.execute("select count(*), sum(status = 'RUNNING') from runs").fetchone()
    except (sqlite3.Error, TypeError) as error:
        return Finding("store", f"{shown}: {error}", "wrong", "put a copy of it back, or move it away")
    seen = f"{shown}, {database.stat().st_size / 1e6:.1f} MB, {counted(runs, 'run')}"
    seen += f", {running} of them RUNNING (`semisup reap CONFIG` closes those that are lost)" if running else ""
    known, newest = _schemas()
    if schema not in known:
        return Finding("store", f"{seen}; of a newer MLflow", "wrong", "install that version, or name another store")
    if schema != newest:
        return Finding("store", f"{seen}; of an older MLflow", "wrong", f"mlflow db upgrade {shown}, after a copy")
    return Finding("store", seen)


def _schemas() -> tuple[set[str], str]:
    """All of MLflow's schemas of a database, and the newest: the one that none follows. MLflow is not imported."""
    spec = find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    found = [
        REVISION.findall(file.read_text(encoding="utf-8"))
        for file in (Path(spec.origin).parent / "store" / "db_migrations" / "versions").glob("*.py")
    ]
    revisions = {name for each in found for down, name in each if not down}
    followed = {name for each in found for down, name in each if down}
    (newest,) = revisions - followed
    return revisions, newest


def _server(about: str, address: str, shown: str, package: str, advice: str) -> Finding:
    try:
        with urllib.request.urlopen(_with_login(address), timeout=SECONDS_TO_ANSWER) as response:
            theirs = response.read(100).decode(errors="replace").strip('" \n')
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Finding(about, f"{shown} does not answer ({error})", "wrong", advice)
    if theirs != _installed(package):
        advice = f"install {package} {theirs} here, or {_installed(package)} there"
        return Finding(about, f"{shown}, {package} {theirs}, here {_installed(package)}", "note", advice)
    return Finding(about, f"{shown}, {package} {theirs}")


def _with_login(address: str) -> urllib.request.Request:
    """A login in an address is sent as MLflow sends it: urllib would take it for a part of the host's name."""
    parts = urlsplit(address)
    login, at, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(urlunsplit(parts._replace(netloc=host)))
    if at:
        request.add_header("Authorization", f"Basic {base64.b64encode(unquote(login).encode()).decode()}")
    return request


def _prefect() -> Iterator[Finding]:
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    configured = os.environ.get("PREFECT_API_URL")
    if home.exists():  # importing Prefect makes it otherwise; only there can a profile name a server
        from prefect.settings import PREFECT_API_URL

        configured = PREFECT_API_URL.value()
    if configured:
        way_out = "start that server, or unset PREFECT_API_URL"
        yield _server(
            "Prefect", f"{configured.rstrip('/')}/admin/version", without_secrets(configured), "prefect", way_out
        )
    else:
        yield Finding("Prefect", "no server is configured: each command starts its own")
    yield _writable("Prefect's folder", home, "set PREFECT_HOME to another folder")


def _places() -> Iterator[Finding]:
    from semisup.data.own_images.decoded.cache import cache_folder

    cache = cache_folder(None)
    size = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    found = _writable("cache", cache, "set data.cache or XDG_CACHE_HOME to another folder")
    yield Finding(found.about, f"{found.seen}, {size / 1e9:.2f} GB used", found.standing, found.advice)
    yield _writable("this folder", Path.cwd(), "work in another folder")
    yield _writable("temporary", Path(tempfile.gettempdir()), "set TMPDIR to another folder")


def _writable(about: str, folder: Path, advice: str) -> Finding:
    """Whether there is room, and leave to write, in a folder or where it would be made."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    seen = f"{folder}{'' if there == folder else ' (not there yet)'}, {free / 1e9:.1f} GB free"
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding(about, f"{seen}, no permission to write", "wrong", advice)
    if free < LITTLE_FREE:
        return Finding(about, seen, "wrong" if free < LEAST_FREE else "note", f"make room, or {advice}")
    return Finding(about, seen)


def _device() -> Iterator[Finding]:
    import psutil
    import torch

    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory()
    seen = f"{processors} processors, {memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB memory free"
    threads = torch.get_num_threads()
    if processors and threads > processors:
        yield Finding("device", f"{seen}, {counted(threads, 'thread')}", "note", f"export OMP_NUM_THREADS={processors}")
    else:
        yield Finding("device", seen)
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
        yield Finding("GPU", names)
    elif torch.version.cuda:
        yield Finding("GPU", f"none, though torch is built for CUDA {torch.version.cuda}; its CPU build is smaller")
    else:
        yield Finding("GPU", "none, and torch is built without")


def _slow() -> Iterator[Finding]:
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        seen = "PYTHONDONTWRITEBYTECODE is set: each process compiles torch, Prefect and MLflow anew"
        yield Finding("start", seen, "note", "unset PYTHONDONTWRITEBYTECODE")


LOOKS = (_versions, _requirements, _store, _prefect, _places, _device, _slow)


COMMANDS = (Command(doctor, ("semisup doctor", "semisup doctor --json")),)
