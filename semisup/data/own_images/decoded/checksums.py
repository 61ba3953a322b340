"""Checksums of what lies in the cache: a file's in its name, those of images in the table of their pack.

To go through all pixels takes seconds where there are a million images. So it is done at once where there are few, or
where the file system says that a file is not what was last found whole; of the others a thread goes through them,
while they are worked with, for what a disk has changed by itself.
"""

import hashlib
import os
import re
import threading
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semisup.errors import UserError

SEAL = re.compile(r".+-(?P<sha>[0-9a-f]{16})\.[a-z0-9]+")
AT_ONCE = 2**28
"""Bytes that are gone through before they are used: a fifth of a second."""
READ = 2**22
"""Bytes that are read at a time."""
VERIFIED = "verified"
"""The file that says how other files stood when they were last found whole."""


class DamagedError(Exception):
    """What lies in the cache is not what was written there; says what, for people."""


# --- files with a seal ------------------------------------------------------------------------------------------------


def seal(aside: Path, stem: Path, suffix: str) -> Path:
    """Give a whole file its name, `<stem>-<checksum><suffix>`."""
    sealed = stem.with_name(f"{stem.name}-{_sha(aside)}{suffix}")
    aside.replace(sealed)
    return sealed


def is_intact(file: Path) -> bool:
    """Does a sealed file hold what its name says?"""
    found = SEAL.fullmatch(file.name)
    return found is not None and _sha(file) == found["sha"]


def _sha(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


# --- blocks of a large file -------------------------------------------------------------------------------------------


def checksum(pixels: memoryview) -> int:
    """CRC-32 of a block: an image, or the features of some."""
    return zlib.crc32(pixels)


@dataclass(frozen=True)
class Blocks:
    """A file of blocks, each `size` bytes but for the last, which may be shorter."""

    file: Path
    size: int
    total: int
    """Bytes of the file."""
    checksums: NDArray[np.uint32] = field(repr=False)

    def damaged(self) -> int | None:
        """The first block that is not what it was; None: all are."""
        at_a_time = max(READ // self.size, 1)
        with self.file.open("rb") as file:
            for first in range(0, len(self.checksums), at_a_time):
                content = memoryview(file.read(at_a_time * self.size))
                for number, expected in enumerate(self.checksums[first : first + at_a_time].tolist()):
                    if checksum(content[number * self.size : (number + 1) * self.size]) != expected:
                        return first + number
        return None


def verify(folder: Path, files: Sequence[Blocks]) -> None:
    """Make sure that files of a folder are whole; of large ones that have not been touched a thread does so.

    Raises:
        DamagedError: they are not. What a thread finds, `await_verified` raises.
    """
    files = [blocks for blocks in files if blocks.total]
    for blocks in files:
        try:
            size = blocks.file.stat().st_size
        except FileNotFoundError:
            raise DamagedError(f"{blocks.file} is gone") from None
        if size != blocks.total:
            raise DamagedError(f"{blocks.file} has {size:,} bytes instead of {blocks.total:,}")
    if sum(blocks.total for blocks in files) > AT_ONCE and _stamp(files) == _last_stamp(folder):
        _Watch(folder, files)
        return
    _go_through(files)
    remember_verified(folder, files)


def remember_verified(folder: Path, files: Sequence[Blocks]) -> None:
    """These files are whole, as they are now."""
    aside = folder / f"{VERIFIED}.{os.getpid()}"
    with suppress(OSError):  # of a folder that cannot be written, all is gone through each time
        aside.write_text(_stamp([blocks for blocks in files if blocks.total]), encoding="utf-8")
        aside.replace(folder / VERIFIED)


def _go_through(files: Sequence[Blocks]) -> None:
    for blocks in files:
        if (number := blocks.damaged()) is not None:
            raise DamagedError(f"{blocks.file} is damaged at {number * blocks.size:,} of {blocks.total:,} bytes")


def _stamp(files: Sequence[Blocks]) -> str:
    """What changes whenever a file is written to; nobody can set the time of its last change of status back."""
    lines = []
    for blocks in files:
        about = blocks.file.stat()
        lines.append(f"{blocks.file.name} {about.st_size} {about.st_mtime_ns} {about.st_ctime_ns} {about.st_ino}\n")
    return "".join(lines)


def _last_stamp(folder: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return (folder / VERIFIED).read_text(encoding="utf-8")
    return ""


_watches: "list[_Watch]" = []


class _Watch:
    """A thread that goes through files."""

    def __init__(self, folder: Path, files: Sequence[Blocks]) -> None:
        self.folder, self.files = folder, files
        self.problem = f"{folder} was not gone through to its end; run again"
        """What is wrong, and the way out; "": nothing."""
        self.thread = threading.Thread(target=self._work, name=f"verifies {folder}", daemon=True)
        self.thread.start()
        _watches.append(self)

    def _work(self) -> None:
        try:
            _go_through(self.files)
            self.problem = ""
        except FileNotFoundError:
            self.problem = ""  # nobody holds the folder any more
        except DamagedError as error:
            self.problem = f"{error}; run again: it is made anew"
        except OSError as error:
            self.problem = f"{self.folder} cannot be read ({error.strerror or error}); name another folder"
        if self.problem:
            with suppress(OSError):  # whoever opens it next goes through it at once
                (self.folder / VERIFIED).unlink(missing_ok=True)


def await_verified() -> None:
    """Wait until all that this process has opened has been gone through.

    Raises:
        UserError: some of it is damaged or cannot be read, so that what has been made of it is worth nothing.
    """
    while _watches:
        watch = _watches[0]
        watch.thread.join()
        _watches.remove(watch)
        if watch.problem:
            raise UserError(f"data.cache: {watch.problem}, and nothing of this is kept")
