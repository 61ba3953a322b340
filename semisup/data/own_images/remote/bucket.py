"""Objects below a URL, in S3-compatible storage or wherever else fsspec reads: which there are, and their bytes.

Credentials are those that the storage's own tools find: environment variables, or files in the user's home.
"""

import hashlib
import io
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import fsspec

from semisup.data.listing import NEVER_SURE
from semisup.errors import UserError, in_one_line

WAITS = (0.5, 2.0, 5.0)
"""Seconds before what failed is tried again."""
CONNECT, ANSWER = 10, 60
"""Seconds until a server of S3 or of the web that says nothing counts as failed."""
VERSIONS = (
    *("ETag", "etag", "Content-MD5", "Digest", "generation", "md5Hash"),
    *("LastModified", "last_modified", "updated", "mtime", "created"),
)
"""What storage of any kind says of an object's version, most telling first."""
WEB_TIME, SECONDS_UNTIL_OLD = "Last-Modified", 60
"""All that some servers of the web say: whole seconds, which tell versions apart once they are past by so many."""
EXTRAS = {"s3": ("s3", "s3a"), "gs": ("gs", "gcs"), "az": ("az", "abfs", "abfss"), "http": ("http", "https")}
"""Extra of this package → the schemes that it reads."""
PACKAGES = {scheme: f"'semisup[{extra}]'" for extra, schemes in EXTRAS.items() for scheme in schemes}
S3, WEB = frozenset(EXTRAS["s3"]), frozenset(EXTRAS["http"])
OF_ANY_PLACE = S3 | WEB | frozenset(EXTRAS["gs"])
"""Schemes of which one file system reads every place; of others it knows the server, or account, of its URL alone."""
FORBIDDEN, GONE = frozenset({401, 403, 407}), frozenset({404, 410})
"""Answers of the web."""
PIECE = 2**24
"""Bytes of one request."""
Answer = TypeVar("Answer")
Stamp: TypeAlias = tuple[int, int]
"""Size in bytes, and what stands for the version, as in `Object`."""


@dataclass(frozen=True, slots=True)
class Object:
    """What a server says of one object.

    Attributes:
        path: relative to the URL, with slashes; of a URL that names one object, its last part.
        key: what the file system calls it.
        size: in bytes.
        changed: stands for its version, below 0: times of change are coarse, and clocks differ.
    """

    path: str
    key: str
    size: int
    changed: int


@dataclass(frozen=True)
class Bucket:
    """What lies below a URL. Several threads may read at once.

    A server that fails or does not answer is asked again a few times.
    """

    url: str
    files: Any = field(repr=False)
    """fsspec's file system."""
    base: str
    """What the file system calls the URL."""
    said: str
    """As errors name it."""

    @classmethod
    def at(cls, url: str, said: str = "") -> "Bucket":
        """Nothing is asked of the server yet; errors call it `said`, by itself `data.url=…`.

        Raises:
            UserError: no such kind of storage is known, the package that reads it is not installed, or it connects at
                once and there is no such server.
        """
        said = said or f"data.url={url}"
        scheme = url.partition("://")[0]
        try:
            files, base = fsspec.core.url_to_fs(url, **_options(scheme))
        except ImportError as error:
            package = PACKAGES.get(scheme, "the package that fsspec names for it")
            raise UserError(f"{said} needs another package ({error}); type: pip install {package}") from None
        except Exception as error:  # no finite list: some file systems want more than a URL, others connect at once
            raise UserError(
                f"{said} cannot be read: {in_one_line(error)}; use s3://, gs://, az://, https:// or http://"
            ) from None
        if scheme in S3:
            files.retries = 1
        return cls(url, files, base.rstrip("/"), said)

    def key_of(self, url: str) -> str:
        """What the file system calls another URL of the same scheme."""
        return str(self.files._strip_protocol(url))

    def objects(self) -> list[Object]:
        """All objects, sorted by path; those of which a part of the path begins with a dot are left out.

        Raises:
            UserError: there is no such bucket, it must not be read, or the server does not answer.
        """
        try:
            found = self._asked(partial(self.files.find, self.base, detail=True))
        except FileNotFoundError as error:
            raise UserError(f"{self.said} does not exist ({in_one_line(error)}); name another bucket") from None
        objects = []
        for key, facts in found.items():
            inner = key.removeprefix(self.base).strip("/") or key.rpartition("/")[2]
            hidden = any(part.startswith(".") for part in inner.split("/"))
            if not hidden and not key.endswith("/") and facts.get("type", "file") == "file":
                known = facts if facts.get("size") is not None else self._asked(partial(self.files.info, key))
                objects.append(Object(inner, key, *_stamp(known)))
        return sorted(objects, key=lambda one: one.path)

    def stamp(self, key: str, said: str = "") -> Stamp | None:
        """Of one object; None: there is none. Errors call it `said`.

        Raises:
            UserError: it must not be asked for, or the server does not answer.
        """
        try:
            facts = self._asked(partial(self.files.info, key), said)
        except FileNotFoundError:
            return None
        return _stamp(facts) if facts.get("type", "file") == "file" else None

    def stamps_in(self, folder: str, said: str = "") -> dict[str, Stamp]:
        """Of all objects right in a folder, by their keys, of a server that can list them; there may be no folder.

        Raises:
            UserError: as in `stamp`.
        """
        try:
            found = self._asked(partial(self.files.ls, folder, detail=True), said)
        except FileNotFoundError:
            return {}
        return {facts["name"]: _stamp(facts) for facts in found if facts.get("type", "file") == "file"}

    def read(self, key: str, start: int | None = None, end: int | None = None, said: str = "") -> bytes:
        """The bytes of an object, or those from `start` to before `end`. Errors call it `said`.

        Raises:
            OSError: there is no such object, or it ends earlier.
            UserError: it must not be read, or the server does not answer.
        """
        # By name: s3fs has a version in the place where fsspec has the start.
        content: bytes = self._asked(partial(self.files.cat_file, key, start=start, end=end), said)
        if start is not None and end is not None and len(content) < end - start:
            raise OSError(f"{key} ends before it does")
        return content

    def fetch(self, of: Object, to: Path) -> None:
        """An object, as a file on the disk.

        Raises:
            OSError: the file cannot be written.
            UserError: as in `read`, or it is no more what was listed.
        """
        with to.open("wb") as file:
            for start in range(0, of.size, PIECE):
                file.write(self._piece(of, start))
        facts = self._asked(partial(self.files.info, of.key))
        if _stamp(facts) != (of.size, of.changed):
            raise self._changed(of)

    def _piece(self, of: Object, start: int) -> bytes:
        try:
            return self.read(of.key, start, min(start + PIECE, of.size))
        except OSError:
            raise self._changed(of) from None

    def _changed(self, of: Object) -> UserError:
        return UserError(f"{self.said}: {of.path} changed while it was read; run it again")

    def opened(self, of: Object) -> io.BufferedIOBase:
        """An object as a file to be read from anywhere: what is not asked for is not moved."""
        return _Ranges(self, of)

    def _asked(self, ask: Callable[[], Answer], said: str = "") -> Answer:
        """What the server answers, asked again a few times."""
        said = said or self.said
        for wait in (*WAITS, None):
            try:
                return ask()
            except Exception as caught:  # every kind of storage has errors of its own, of modules that may be missing
                error = _told_by(caught)
                if isinstance(error, FileNotFoundError) or _status(error) in GONE:
                    raise FileNotFoundError(in_one_line(error)) from None
                if type(error).__name__ == "NoCredentialsError":
                    raise UserError(
                        f"{said} may not be read: there are no credentials; set AWS_ACCESS_KEY_ID and "
                        "AWS_SECRET_ACCESS_KEY"
                    ) from None
                if isinstance(error, PermissionError) or _status(error) in FORBIDDEN:
                    raise UserError(
                        f"{said} may not be read: {in_one_line(error)}; check the credentials (of S3: "
                        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL; of the web: ~/.netrc) and the name"
                    ) from None
                if wait is None:
                    raise UserError(
                        f"{said} does not answer, asked {len(WAITS) + 1} times: "
                        f"{in_one_line(error) or type(error).__name__}; "
                        "check the network (of S3: AWS_ENDPOINT_URL), then run it again: "
                        "what was decoded so far is kept"
                    ) from error
            time.sleep(wait)
        raise AssertionError("the last wait is none")


def _options(scheme: str) -> dict[str, Any]:
    """Of fsspec's file system.

    Raises:
        ImportError: the package that it needs is missing.
    """
    # s3fs remembers listings without end, and file systems are shared by all of a process that ask alike.
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme in S3:
        once = {"mode": "standard", "total_max_attempts": 1}  # it is tried again here
        options["config_kwargs"] = {"connect_timeout": CONNECT, "read_timeout": ANSWER, "retries": once}
    if scheme in WEB:
        from aiohttp import ClientTimeout

        waits = ClientTimeout(total=None, sock_connect=CONNECT, sock_read=ANSWER)
        # The environment has proxies, and the user's .netrc the passwords.
        options["client_kwargs"] = {"timeout": waits, "trust_env": True}
    return options


def _told_by(error: Exception) -> BaseException:
    """What went wrong: fsspec says of the web that an object is not found, whatever else had failed."""
    cause = error.__cause__
    of_web = type(cause).__module__.partition(".")[0] == "aiohttp" or isinstance(cause, TimeoutError)
    return cause if cause is not None and of_web and _status(cause) not in GONE else error


def _status(error: BaseException) -> int | None:
    """That of an answer of the web."""
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


class _Ranges(io.BufferedIOBase):
    """An object as a file."""

    def __init__(self, bucket: Bucket, of: Object) -> None:
        super().__init__()
        self._bucket, self._object, self._at = bucket, of, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._object.size}[whence]
        self._at = start + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = self._object.size - self._at
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted <= 0:
            return b""
        content = self._bucket.read(self._object.key, self._at, self._at + wanted)
        self._at += len(content)
        return content


def _stamp(facts: Mapping[str, Any]) -> Stamp:
    return int(facts.get("size") or 0), _version(facts)


def _version(facts: Mapping[str, Any]) -> int:
    told = next((str(facts[key]) for key in VERSIONS if facts.get(key) is not None), None)
    if told is None and _is_old(facts.get(WEB_TIME)):
        told = facts[WEB_TIME]
    if told is None:
        return NEVER_SURE
    return -1 - int.from_bytes(hashlib.sha256(told.encode()).digest()[:7], "big")


def _is_old(told: str | None) -> bool:
    """Is a time of the web past by so much that a later change has another one?"""
    try:
        return told is not None and parsedate_to_datetime(told).timestamp() < time.time() - SECONDS_UNTIL_OLD
    except ValueError:
        return False
