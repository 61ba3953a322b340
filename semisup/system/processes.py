"""Which process is behind a run, and is it still there? Right also when several machines share a store."""

import hashlib
import os
import platform
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import psutil

HEARTBEAT = "heartbeat"
SECONDS_BETWEEN_BEATS = 15
SECONDS_UNTIL_GONE = 300
"""Without a heartbeat for this long, a process on another machine is thought to be gone: 20 missed beats, and room for
clocks that differ by minutes. Before it is acted upon, the heart is listened to for two beats more."""


PROCESS_TAGS = ("host", "machine", "pid", "pid.started", HEARTBEAT)


def process_tags() -> dict[str, str]:
    """Who writes a run: tags that :func:`is_gone` understands. A pid comes again one day, pid and start never do."""
    pid = os.getpid()
    return {
        "host": platform.node(),
        "machine": machine(),
        "pid": str(pid),
        "pid.started": started(pid),
        HEARTBEAT: beat(),
    }


def beat() -> str:
    """The value of a heartbeat: seconds since 1970."""
    return f"{time.time():.0f}"


def is_gone(tags: Mapping[str, str], now: float | None = None) -> bool:
    """Has the process that wrote these tags ended?

    On this machine the system knows. Another machine's process is judged by its heartbeat, against this machine's clock
    (`now`, seconds since 1970). A run without these tags is not ours to judge: it is never gone.
    """
    if "pid.started" not in tags or HEARTBEAT not in tags:
        return False
    if tags.get("machine") == machine():
        return not runs_here(int(tags["pid"]), tags["pid.started"])
    return (time.time() if now is None else now) - float(tags[HEARTBEAT]) > SECONDS_UNTIL_GONE


def is_mine(tags: Mapping[str, str]) -> bool:
    """Did this very process write these tags?"""
    mine = process_tags()
    return all(tags.get(name) == mine[name] for name in ("machine", "pid", "pid.started"))


@lru_cache
def machine() -> str:
    """12 hexadecimal digits that are the same exactly where a pid means the same process: one boot, one pid namespace.

    Containers on one host often share a host name, and never each other's processes.
    """
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists() and namespace.is_symlink():
        identity = f"{boot.read_text(encoding='ascii').strip()} {namespace.readlink()}"
    else:
        identity = f"{psutil.boot_time():.0f}"
    return hashlib.sha256(f"{platform.node()} {identity}".encode()).hexdigest()[:12]


def runs_here(pid: int, start: str) -> bool:
    """Does the process with this pid and :func:`started` value still run on this machine?"""
    try:
        return started(pid) == start and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def started(pid: int) -> str:
    """When a process of this machine started: the same text as long as it lives, another one for the next of its pid.

    Clock ticks since the boot where the system tells them: a time of day would move whenever the clock is set.

    Raises:
        psutil.NoSuchProcess: there is none.
    """
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        return after_name.split()[19]  # field 22 of proc(5); the second, the name, may hold spaces
    except FileNotFoundError:
        return f"{psutil.Process(pid).create_time():.0f}"
    except ProcessLookupError:
        raise psutil.NoSuchProcess(pid) from None
