"""What this project may delete: only what carries its own mark, at a path of a pattern of its own.

A folder's mark is a file within it. What is not whole yet, a file or a folder, has the mark in its name, which says as
well whose it is: where that process was killed, the next command of the same kind takes it away.
"""

import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from semisup.errors import UserError
from semisup.system.processes import machine, runs_here, started

MARK = "semisup.mark"
MARKED = "This folder is semisup's own, which may delete it: keep nothing of yours here.\n"
SECONDS_UNTIL_OLD = 30 * 86_400
"""After which what a process of another machine, or of this one before it was booted, has left belongs to nobody."""
OWNER = r"(?P<machine>[0-9a-f]{12})-(?P<pid>\d+)-(?P<start>\d+)"
TEMPORARY = re.compile(rf"semisup-{OWNER}-[a-z0-9_]{{8}}")
_BESIDE = r"-wal|-shm|-journal|\.semisup-[0-9a-f]{12}-\d+-\d+\.new"
"""What SQLite keeps beside a database, and what has not become a file that is `tried`."""
ASIDE = re.compile(rf"\.(?P<name>.+?)\.semisup-{OWNER}\.(?P<kind>new|old|tried)({_BESIDE})?")
Kind = Literal["new", "old", "tried"]
_marking = threading.Lock()


def owner() -> str:
    """Names this process, as OWNER reads it."""
    pid = os.getpid()
    return f"{machine()}-{pid}-{started(pid)}"


def abandoned(found: "re.Match[str]", touched: float, now: float | None = None) -> bool:
    """Is the process gone that an OWNER names? That of another machine is, when nothing was written for a month."""
    if found["machine"] == machine():
        return not runs_here(int(found["pid"]), found["start"])
    return (time.time() if now is None else now) - touched > SECONDS_UNTIL_OLD


# --- folders ----------------------------------------------------------------------------------------------------------


def mark(folder: Path) -> None:
    """Make a folder, where it is not there, and say that it is ours: the mark is whole or not there.

    Raises:
        OSError: it cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _marking:  # threads of a process would write to the same file
        if not is_marked(folder):
            unfinished = aside(folder / MARK)
            unfinished.write_text(MARKED, encoding="utf-8")
            unfinished.replace(folder / MARK)


def is_marked(folder: Path) -> bool:
    """Is a folder ours?"""
    file = folder / MARK
    if folder.is_symlink() or file.is_symlink():
        return False
    with suppress(OSError, UnicodeDecodeError):
        return file.read_text(encoding="utf-8") == MARKED
    return False


def delete(folder: Path) -> bool:
    """Delete a folder that is ours, the mark last, so that half of it is still ours; False: it is none of ours."""
    if not is_marked(folder):
        return False
    with suppress(OSError):  # another process may be deleting it as well
        for path in folder.iterdir():
            if path.name != MARK:
                _remove(path)
        if [path.name for path in folder.iterdir()] == [MARK]:
            (folder / MARK).unlink()
            folder.rmdir()
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def place_within(wanted: Path, subfolder: str, adopt: Callable[[Path], bool] = lambda folder: False) -> Path:
    """The folder that is used where a person names `wanted`: itself, or where it holds anything foreign a subfolder.

    A person's links are followed: the path is that of the folder itself. `adopt` tells what an earlier version made,
    before there were marks.
    """
    wanted = followed(wanted)
    return wanted if _is_free(wanted, adopt) else followed(wanted / subfolder)


def claimed(wanted: Path, subfolder: str, field: str, adopt: Callable[[Path], bool] = lambda folder: False) -> Path:
    """As :func:`place_within`, and marked.

    Raises:
        UserError: what is there already is not ours.
        OSError: it cannot be made or written to.
    """
    place = place_within(wanted, subfolder, adopt)
    if not _is_free(place, adopt):
        raise UserError(
            f"{field}={str(wanted)!r}: its {subfolder} holds files that semisup did not write; name another folder"
        )
    mark(place)
    return place


def followed(path: Path) -> Path:
    """Where a path leads, all links followed; a link that leads to itself stays, for whoever opens it to say so."""
    return Path(os.path.realpath(path))


def _is_free(folder: Path, adopt: Callable[[Path], bool]) -> bool:
    """Is a folder ours, or may it become so?"""
    if is_marked(folder) or next(contents(folder), None) is None or adopt(folder):
        return True
    return is_marked(folder)  # what was seen may be another process's, which marks the folder first


def contents(folder: Path) -> Iterator[Path]:
    """What is in a folder, if it is one, but for a mark that somebody is about to set."""
    for path in folder.iterdir() if folder.is_dir() else ():
        found = ASIDE.fullmatch(path.name)
        if found is None or found["name"] != MARK:
            yield path


# --- files that are not whole yet -------------------------------------------------------------------------------------


def aside(path: Path, kind: Kind = "new") -> Path:
    """Where something lies until it is whole and gets its name. What dead processes left beside it is taken away."""
    sweep(path.parent)
    return path.with_name(f".{path.name}.semisup-{owner()}.{kind}")


def sweep(folder: Path) -> None:
    """Take away what dead processes left in a folder of what was not whole yet.

    What was moved out of the way (`old`) and never replaced is put back.
    """
    try:
        left = [(entry, found) for entry in folder.iterdir() if (found := ASIDE.fullmatch(entry.name))]
    except OSError:
        return  # whoever writes there will say so
    for entry, found in left:
        with suppress(OSError):
            if not abandoned(found, entry.lstat().st_mtime):
                continue
            if found["kind"] == "old" and not (folder / found["name"]).exists():
                entry.rename(folder / found["name"])
            else:
                _remove(entry)


# --- temporary folders ------------------------------------------------------------------------------------------------


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder that is deleted at the end, or by the next process where this one is killed."""
    _sweep_temporary()
    folder = Path(tempfile.mkdtemp(prefix=f"semisup-{owner()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep_temporary() -> None:
    for folder in Path(tempfile.gettempdir()).glob("semisup-*"):
        found = TEMPORARY.fullmatch(folder.name)
        with suppress(OSError):
            if found and folder.stat().st_uid == os.getuid() and abandoned(found, folder.stat().st_mtime):
                shutil.rmtree(folder, ignore_errors=True)
