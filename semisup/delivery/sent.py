"""The images that go out, and where their pixels are."""

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image

from semisup.config import PipelineConfig, resolve_base
from semisup.config.urls import is_url
from semisup.data.datasets import ImageSet, digest
from semisup.data.facts import DatasetFacts
from semisup.data.own_images.folders.places import base_of
from semisup.data.own_images.images import listing_of
from semisup.data.own_images.reading.decode import reader
from semisup.delivery.names import safe_name
from semisup.errors import UserError
from semisup.stages.support.images import pool_of
from semisup.wording import counted

Read = Callable[[str], tuple[bytes, str | None]]
"""Path of an image → its bytes, b"" where they are gone, and the file that holds nothing else."""


class Sent(NamedTuple):
    """An image that goes out."""

    row: int
    """In the table of :func:`choose`."""
    name: str
    """A file name unlike those of all others of the data set, but for copies of the same file."""
    content: bytes
    file: str | None
    """Where it lies; None: in no file of its own."""


@dataclass
class Sources:
    """The images of a table of :func:`choose`; `gone` are the paths of files that are no more what they were."""

    config: PipelineConfig
    facts: DatasetFacts
    gone: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path | None:
        """The folder of one's own images; None of other data sets, and of a bucket."""
        data = self.config.data
        if not data.facts.own_images:
            return None
        base = base_of(resolve_base(data), data.manifest)
        return None if isinstance(base, str) else base

    def served_root(self, paths: Iterable[str]) -> Path | None:
        """The root, where every one of these images is a file below it that other programs can open."""
        return self.root if self.config.data.facts.files and not any(map(is_url, paths)) else None

    def __call__(self, chosen: pd.DataFrame) -> Iterator[Sent]:
        """One image after another; those that are gone are left out.

        Raises:
            UserError: the data set is another one than the run's, or all files are gone.
        """
        data = self.config.data
        if not data.facts.own_images:
            found = self._of_array(chosen)
        else:
            served = self.served_root(chosen["path"])
            read = self._listed() if served is None else self._file_below(served)
            found = self._of_own(chosen, read)
        count = 0
        for sent in found:
            count += 1
            yield sent
        if not count:
            where = f"data.root={self.root}" if data.url is None else f"data.url={data.url}"
            raise UserError(
                f"{where}: none of {counted(len(chosen), 'file')}, such as {self.gone[0]}, is still as the run read "
                "it; name the folder with --data-root"
            )

    def _of_own(self, chosen: pd.DataFrame, read: Read) -> Iterator[Sent]:
        for row, (path, name) in enumerate(zip(chosen["path"], chosen["id"], strict=True)):
            known = name.rpartition("@")[2]
            content, file = read(path)
            if hashlib.sha256(content).hexdigest()[: len(known)] != known:
                self.gone.append(path)
                continue
            stem, extension = os.path.splitext(os.path.basename(path))  # noqa: PTH122, PTH119 -- of a path with slashes
            yield Sent(row, f"{safe_name(stem)}-{known}{extension or _extension(content)}", content, file)

    def _file_below(self, root: Path) -> Read:
        """Reads files by their paths, those of a million without a look at all others."""
        inside = os.path.realpath(root)

        def read(path: str) -> tuple[bytes, str]:
            real = os.path.realpath(Path(inside, path))
            return (_read(real) if os.path.commonpath([real, inside]) == inside else b""), real

        return read

    def _listed(self) -> Read:
        """Reads what lies among others."""
        listing = listing_of(self.config.data)
        place = {path: number for number, path in enumerate(listing.paths)}

        def read(path: str) -> tuple[bytes, str | None]:
            try:
                return (listing.contents.read(place[path]) if path in place else b""), None
            except OSError:
                return b"", None

        return read

    def _of_array(self, chosen: pd.DataFrame) -> Iterator[Sent]:
        pool = pool_of(self.config)
        if digest(pool) != self.facts.digest:
            raise UserError(
                f"data.root={self.config.data.root}: it holds other images of {self.config.data.name} than the run "
                "read; name their folder with --data-root"
            )
        for row, (name, index) in enumerate(zip(chosen["id"], chosen["index"], strict=True)):
            yield Sent(row, f"{safe_name(name.replace('/', '-'))}.png", _png(pool, index), None)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _extension(content: bytes) -> str:
    kind = getattr(reader(content), "format", None)
    return f".{kind.lower()}" if kind else ""


def _png(pool: ImageSet, index: int) -> bytes:
    pixels = pool.images[index].numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()
