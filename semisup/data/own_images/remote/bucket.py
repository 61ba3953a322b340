"""Objects below a URL, in S3-compatible storage or wherever else fsspec reads: which there are, and their bytes.

Credentials are those that the storage's own tools find: environment variables, or files in the user's home.
"""

import hashlib
import io
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from semisup.data.listing import NEVER_SURE
from semisup.errors import UserError

WAITS = (0.5, 2.0, 5.0)
"""Seconds before what failed is tried again."""
CONNECT, ANSWER = 10, 60
"""Seconds until a server of S3 that says nothing counts as failed."""
VERSIONS = ("ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified", "updated", "mtime", "created")
"""What storage of any kind says of an object's version, most telling first."""
PACKAGES = {"s3": "'semisup[s3]'", "s3a": "'semisup[s3]'", "gs": "gcsfs", "gcs": "gcsfs"}
PACKAGES |= dict.fromkeys(("az", "abfs", "abfss", "adl"), "adlfs") | dict.fromkeys(
    ("http", "https"), "aiohttp requests"
)
PIECE = 2**24
"""Bytes of one request."""
Answer = TypeVar("Answer")


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

    @classmethod
    def at(cls, url: str) -> "Bucket":
        """Nothing is asked of the server yet.

        Raises:
            UserError: no such kind of storage is known, or the package that reads it is not installed.
        """
        scheme = url.partition("://")[0]
        # s3fs remembers listings without end, and file systems are shared by all of a process that ask alike.
        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if scheme in {"s3", "s3a"}:
            once = {"mode": "standard", "total_max_attempts": 1}  # it is tried again here
            options["config_kwargs"] = {"connect_timeout": CONNECT, "read_timeout": ANSWER, "retries": once}
        try:
            files, base = fsspec.core.url_to_fs(url, **options)
        except ImportError as error:
            package = PACKAGES.get(scheme, "the package that fsspec names for it")
            raise UserError(f"data.url={url} needs another package ({error}); type: pip install {package}") from None
        except ValueError as error:
            raise UserError(f"data.url={url} cannot be read: {error}; use s3://, gs://, az:// or https://") from None
        if scheme in {"s3", "s3a"}:
            files.retries = 1
        return cls(url, files, base.rstrip("/"))

    def objects(self) -> list[Object]:
        """All objects, sorted by path; those of which a part of the path begins with a dot are left out.

        Raises:
            UserError: there is no such bucket, it must not be read, or the server does not answer.
        """
        try:
            found = self._asked(partial(self.files.find, self.base, detail=True))
        except FileNotFoundError as error:
            raise UserError(f"data.url={self.url} does not exist ({_line(error)}); name another bucket") from None
        objects = []
        for key, facts in found.items():
            inner = key.removeprefix(self.base).strip("/") or key.rpartition("/")[2]
            hidden = any(part.startswith(".") for part in inner.split("/"))
            if not hidden and not key.endswith("/") and facts.get("type", "file") == "file":
                known = facts if facts.get("size") is not None else self._asked(partial(self.files.info, key))
                objects.append(Object(inner, key, int(known.get("size") or 0), _version(known)))
        return sorted(objects, key=lambda one: one.path)

    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes of an object, or those from `start` to before `end`.

        Raises:
            OSError: there is no such object, or it ends earlier.
            UserError: it must not be read, or the server does not answer.
        """
        # By name: s3fs has a version in the place where fsspec has the start.
        content: bytes = self._asked(partial(self.files.cat_file, key, start=start, end=end))
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
        if (int(facts.get("size") or 0), _version(facts)) != (of.size, of.changed):
            raise self._changed(of)

    def _piece(self, of: Object, start: int) -> bytes:
        try:
            return self.read(of.key, start, min(start + PIECE, of.size))
        except OSError:
            raise self._changed(of) from None

    def _changed(self, of: Object) -> UserError:
        return UserError(f"data.url={self.url}: {of.path} changed while it was read; run it again")

    def opened(self, of: Object) -> io.BufferedIOBase:
        """An object as a file to be read from anywhere: what is not asked for is not moved."""
        return _Ranges(self, of)

    def _asked(self, ask: Callable[[], Answer]) -> Answer:
        """What the server answers, asked again a few times."""
        for wait in (*WAITS, None):
            try:
                return ask()
            except FileNotFoundError:
                raise
            except PermissionError as error:
                raise UserError(
                    f"data.url={self.url} may not be read: {_line(error)}; check the credentials (of S3: "
                    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL) and the bucket's name"
                ) from None
            except Exception as error:  # every kind of storage has errors of its own, of modules that may be missing
                if type(error).__name__ == "NoCredentialsError":
                    raise UserError(
                        f"data.url={self.url} may not be read: there are no credentials; set AWS_ACCESS_KEY_ID and "
                        "AWS_SECRET_ACCESS_KEY"
                    ) from None
                if wait is None:
                    raise UserError(
                        f"data.url={self.url} does not answer, asked {len(WAITS) + 1} times: {_line(error)}; check the "
                        "network (of S3: AWS_ENDPOINT_URL), then run it again: what was decoded so far is kept"
                    ) from error
            time.sleep(wait)
        raise AssertionError("the last wait is none")


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


def _version(facts: Mapping[str, Any]) -> int:
    told = next((str(facts[key]) for key in VERSIONS if facts.get(key) is not None), None)
    if told is None:
        return NEVER_SURE
    return -1 - int.from_bytes(hashlib.sha256(told.encode()).digest()[:7], "big")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
