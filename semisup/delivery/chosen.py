"""Which images of a finished run go out, with which labels, and where their pixels are."""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image

from semisup.config import PipelineConfig, resolve_data_root
from semisup.config.sources import SOURCES
from semisup.data.datasets import ImageSet, digest
from semisup.data.own_images.folders.listing import base_folder
from semisup.data.own_images.images import listing_of
from semisup.data.own_images.reading.decode import reader
from semisup.data.roles.split import Split
from semisup.delivery.names import safe_name
from semisup.errors import UserError
from semisup.pseudo_labels import LEDGER
from semisup.stages.support.files import DatasetFacts, pool_of

PSEUDO, LABELED = "pseudo_label", "labeled"
COLUMNS = ("path", "label", "role", "source", "confidence", "teacher", "id")


def choose(
    split_folder: Path, ledger_folder: Path, *, min_confidence: float = 0.0, with_labeled: bool = False
) -> pd.DataFrame:
    """The accepted pseudo-labels of at least this confidence, before them perhaps the labeled images.

    Columns: path (of one's own images relative to the data set's root, of others the id), label (the class's name),
    role ("labeled": what `data.manifest` calls an image to learn from), source ("pseudo_label" or "labeled"),
    confidence (calibrated where the ledger is, null for the labeled), teacher ("" for those), id; and index, the row
    in the pool. Validation, calibration and test images never go out.

    Raises:
        UserError: nothing is left.
    """
    facts = DatasetFacts.read(split_folder)
    ledger = pd.read_parquet(ledger_folder / LEDGER)
    kept = ledger[ledger["accepted"] & (ledger["confidence"] >= min_confidence)]
    parts = [kept[["id", "index", "label", "confidence", "teacher"]].assign(source=PSEUDO)]
    if with_labeled:
        table = Split.read(split_folder / "split.parquet").table
        labeled = table.loc[table["role"] == "labeled", ["id", "index", "label"]]
        parts.insert(0, labeled.assign(confidence=float("nan"), teacher="", source=LABELED))
    chosen = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    if not len(chosen):
        accepted = int(ledger["accepted"].sum())
        raise UserError(
            f"--min-confidence {min_confidence:g}: none of {accepted:,} pseudo-labels is so sure; use a lower one"
            if accepted
            else f"the run accepted none of {len(ledger):,} pseudo-labels; use a lower pseudo_label.threshold"
        )
    paths = chosen["id"].str.rpartition("@")[0] if SOURCES[facts.name].own_images else chosen["id"]
    labels = chosen["label"].map(dict(enumerate(facts.class_names)))
    return chosen.assign(path=paths, label=labels, role=LABELED)[[*COLUMNS, "index"]]


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
        if not self.config.data.facts.own_images or self.config.data.url is not None:
            return None
        return base_folder(resolve_data_root(self.config.data), self.config.data.manifest)

    @property
    def served_root(self) -> Path | None:
        """The root, where every image is a file below it that other programs can open."""
        return self.root if self.config.data.facts.files else None

    def __call__(self, chosen: pd.DataFrame) -> Iterator[Sent]:
        """One image after another; those that are gone are left out.

        Raises:
            UserError: the data set is another one than the run's, or all files are gone.
        """
        data, root = self.config.data, self.root
        if not data.facts.own_images:
            found = self._of_array(chosen)
        else:
            read = self._file_below(root) if root is not None and data.facts.files else self._listed()
            found = self._of_own(chosen, read)
        count = 0
        for sent in found:
            count += 1
            yield sent
        if not count:
            where = f"data.root={root}" if data.url is None else f"data.url={data.url}"
            raise UserError(
                f"{where}: of {len(chosen):,} files none is what it was when the run read it, such as "
                f"{self.gone[0]}; name the folder with --data-root"
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
