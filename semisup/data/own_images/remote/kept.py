"""What is kept of a bucket in the cache: what its shards hold, for good, and the shards themselves while there is room.

Both are folders of the cache, each with its mark and lock, so that the longest unused ones go first. A shard that was
not fetched to its end is fetched anew.
"""

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from semisup.config import DataConfig, parse_bytes
from semisup.data.listing import NEVER_SURE
from semisup.data.own_images.decoded.cache import FETCHED, Cache, builders_lock, cache_folder, disk_errors
from semisup.data.own_images.decoded.checksums import is_intact, seal
from semisup.data.own_images.decoded.pack import BUILDING, LOCK
from semisup.data.own_images.reading.threads import worked_ahead
from semisup.data.own_images.remote.bucket import Bucket, Object
from semisup.data.source import Progress
from semisup.system.own_files import delete, mark

BODY = "body"
FETCHED_AT_ONCE = 4
SHARE = 0.5
"""Of the cache's limit, that shards may take: the rest is for what is decoded of them."""
FORMAT = 1
"""Raised when other things are kept of a shard, or they are written otherwise."""
Said = Any
"""What JSON can say."""
_listener: ContextVar[Progress] = ContextVar("listener")
"""Who wants to know how far fetching is: a source lists its images without being given anybody to tell."""


@contextmanager
def told_to(say: Progress) -> Iterator[None]:
    """Meanwhile `say` is told how many of how many shards have been fetched and looked through."""
    before = _listener.set(say)
    try:
        yield
    finally:
        _listener.reset(before)


def tell(done: int, total: int, note: str) -> None:
    """Whoever listens: how many of how many are done, and what was done with them."""
    if (say := _listener.get(None)) is not None and total > 1:
        say(done, total, note)


@dataclass
class Kept:
    """What is kept of one bucket."""

    bucket: Bucket
    cache: Cache
    room: int
    """Bytes of shards that may yet be kept."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, bucket: Bucket, data: DataConfig) -> "Kept":
        """In the cache of a config."""
        cache = Cache(cache_folder(data.cache), parse_bytes(data.cache_limit))
        return cls(bucket, cache, int(SHARE * cache.limit))

    def told(self, objects: Sequence[Object], kind: str, look: Callable[[Object], Said]) -> list[Said]:
        """What `look` says of every object, in their order; it is asked once for each version of an object.

        Raises:
            UserError: as `look` does, or the cache cannot be written.
        """
        if not objects:
            return []
        folder = self._folder(f"{kind} {FORMAT} {self.bucket.url}")
        with disk_errors(self.cache.folder):
            self.cache.claim()
            mark(folder)
            with _in_use(folder / LOCK):

                def one(of: Object) -> tuple[Said, bool]:
                    stem = folder / _key(f"{of.path} {of.size} {of.changed}")
                    for file in folder.glob(f"{stem.name}-*.json"):
                        if is_intact(file) and of.changed != NEVER_SURE:
                            return json.loads(file.read_text(encoding="utf-8")), True
                    said = look(of)
                    aside = stem.with_suffix(f".{os.getpid()}")
                    aside.write_text(json.dumps(said), encoding="utf-8")
                    seal(aside, stem, ".json")
                    return said, False

                told = []
                for said, was_known in worked_ahead(one, objects, FETCHED_AT_ONCE):
                    told.append(said)
                    if not was_known:
                        tell(len(told), len(objects), f"{kind} of the bucket looked through")
                current = {_key(f"{of.path} {of.size} {of.changed}") for of in objects}
                for file in folder.glob("*.json"):
                    if file.name.partition("-")[0] not in current:
                        file.unlink(missing_ok=True)
        return told

    def looked_into(self, of: Object, look: Callable[[Path], Said]) -> Said:
        """What `look` says of an object on the disk, where it stays if there is room.

        Raises:
            UserError: it is gone, must not be read, or the server does not answer.
        """
        body = self._body(of)
        aside = body.parent.with_name(f"{BUILDING}{body.parent.name}")
        aside.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(builders_lock(aside)):  # another process that wants it waits, and finds it
            if body.exists():
                with _in_use(body.parent / LOCK), suppress(FileNotFoundError):
                    return look(body)
            with self.lock:
                stays = of.size <= self.room
                self.room -= of.size if stays else 0
                self.cache.make_room(of.size)
            mark(aside)
            self.bucket.fetch(of, aside / BODY)
            said = look(aside / BODY)
            if stays:
                (aside / LOCK).touch()
                delete(body.parent)  # what is left of one that somebody began to delete
                aside.rename(body.parent)
            else:
                delete(aside)
        return said

    def read(self, of: Object, start: int, size: int) -> bytes:
        """Bytes of an object: from the disk where it stayed, or else from the bucket.

        Raises:
            OSError: it is gone, or ends earlier.
            UserError: it must not be read, or the server does not answer.
        """
        with suppress(FileNotFoundError), self._body(of).open("rb") as file:
            content = os.pread(file.fileno(), size, start)
            if len(content) == size:
                return content
        return self.bucket.read(of.key, start, start + size)

    def is_here(self, of: Object) -> bool:
        """Did it stay on the disk?"""
        return self._body(of).exists()

    def _body(self, of: Object) -> Path:
        return self._folder(f"{self.bucket.url} {of.path} {of.size} {of.changed}") / BODY

    def _folder(self, what: str) -> Path:
        return self.cache.folder / FETCHED / _key(what)


def _key(what: str) -> str:
    return hashlib.sha256(what.encode()).hexdigest()[:32]


@contextmanager
def _in_use(lock: Path) -> Iterator[None]:
    """Nobody deletes the folder meanwhile, and it counts as used now."""
    lock.touch()
    handle = os.open(lock, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)
