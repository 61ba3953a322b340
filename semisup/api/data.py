"""Images with the labels that are known, from arrays or from files: what a classifier and a pipeline take."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from semisup.api.inputs import read_images
from semisup.api.labels import read_labels
from semisup.config import DataConfig
from semisup.data.datasets import UNLABELED, ImageSet
from semisup.data.own_images import Survey, own_images, survey
from semisup.data.own_images.containers.recognized import recognize
from semisup.data.tables import write_csv
from semisup.errors import UserError
from semisup.system.own_files import temporary_folder
from semisup.wording import counted

FOLDER, TABLE = "images", "manifest.csv"


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images of one size, and the labels that are known.

    Examples:
        >>> import numpy as np
        >>> import semisup as ss
        >>> images = np.zeros((4, 8, 8), dtype=np.uint8)
        >>> ss.Dataset.from_arrays(images, ["cat", "dog", None, ""])
        Dataset(4 images of 1×8×8, 2 with a label, 2 classes: cat, dog)

    Attributes:
        images: uint8 (N, C, H, W), read-only.
        labels: object (N,), read-only: a class, or None.
        test: images with labels that nothing is learned from, or None.
        found: how the images lie on disk; None: they came as arrays.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.object_]
    test: "Dataset | None" = None
    found: Survey | None = None

    @classmethod
    def from_arrays(
        cls,
        images: ArrayLike,
        labels: ArrayLike,
        *,
        test_images: ArrayLike | None = None,
        test_labels: ArrayLike | None = None,
    ) -> "Dataset":
        """uint8 images (N, H, W), (N, C, H, W) or (N, H, W, C), with labels (N,).

        No label: -1 among whole numbers, otherwise NaN, None or "". Test images of the same size are perhaps given as
        well, every one with a label.

        Raises:
            UserError: images or labels are of another type or shape; there are not as many of the one as of the other.
        """
        pixels = read_images(images).numpy()
        pixels.flags.writeable = False
        said = read_labels(labels)
        if len(said.codes) != len(pixels):
            raise UserError(
                f"{counted(len(said.codes), 'label')} for {counted(len(pixels), 'image')}; one each is needed"
            )
        names = np.full(len(pixels), None, dtype=object)
        known = said.codes != UNLABELED
        names[known] = said.classes[said.codes[known]]
        names.flags.writeable = False
        test = None
        if test_images is not None and test_labels is not None:
            test = cls.from_arrays(test_images, test_labels)
            if test.images.shape[1:] != pixels.shape[1:]:
                raise UserError(f"test_images are {test.images.shape[1:]}, images {pixels.shape[1:]}; use one size")
            if None in test.labels:
                raise UserError("test_labels: an image has no label; give it one, or leave it out")
        elif test_images is not None or test_labels is not None:
            raise UserError("test_images and test_labels belong together; give both, or neither")
        return cls(pixels, names, test)

    @classmethod
    def from_folder(
        cls, folder: str | Path, *, size: tuple[int, int] | None = None, cache: str | Path | None = None
    ) -> "Dataset":
        """Images in a folder as `semisup init` reads it, decoded once into a cache.

        `labeled/<class>/` and `unlabeled/`, perhaps `test/<class>/`; or `<class>/`; or tars, Parquet, arrays, COCO.
        Where nothing names test images, a fifth of the labeled ones become such, drawn by their content.

        Args:
            folder: where they are.
            size: (height, width) that all are brought to; None: what suits the files.
            cache: folder for decoded images; None: the user's own.

        Raises:
            UserError: there is no such folder, no image in it, or a class that nothing can be learned of.
        """
        return cls._found(survey(Path(folder), None, _path(cache), _say_nothing), size)

    @classmethod
    def from_manifest(
        cls,
        table: str | Path,
        *,
        root: str | Path | None = None,
        size: tuple[int, int] | None = None,
        cache: str | Path | None = None,
    ) -> "Dataset":
        """Image files that a CSV or Parquet file lists: columns `path`, `label` (may be empty), perhaps `role`.

        Args:
            table: the file.
            root: what paths are relative to; None: the folder that the table is in.
            size, cache: as in :meth:`from_folder`.

        Raises:
            UserError: as in :meth:`from_folder`; or the table lacks a column.
        """
        where = Path(table).parent if root is None else Path(root)
        return cls._found(survey(where, Path(table), _path(cache), _say_nothing), size)

    @classmethod
    def from_shards(
        cls, folder: str | Path, *, size: tuple[int, int] | None = None, cache: str | Path | None = None
    ) -> "Dataset":
        """Images in tars, as WebDataset and `semisup export --format webdataset` write them: `.cls` beside each image.

        A word of a shard's name or folder is its role: `test-000.tar`, `unlabeled-000.tar`.

        Args:
            folder: where the tars are, or one tar.
            size, cache: as in :meth:`from_folder`.

        Raises:
            UserError: as in :meth:`from_folder`; or the folder holds other files.
        """
        return cls.from_folder(_of_kind(Path(folder), "webdataset", "tars of images"), size=size, cache=cache)

    @classmethod
    def from_hf(cls, data: Any, *, size: tuple[int, int] | None = None, cache: str | Path | None = None) -> "Dataset":
        """A data set of Hugging Face's `datasets`, with a column of images and one of classes.

        Splits called `test` and `unlabeled` keep these roles; without one, -1 or no label makes an image unlabeled.

        Args:
            data: a `Dataset` or `DatasetDict`; or a folder with Parquet files, or with what `save_to_disk` left.
            size: as in :meth:`from_folder`.
            cache: as there, of a folder. What is in memory stays in memory, and is written to a temporary folder once.

        Raises:
            UserError: as in :meth:`from_folder`; or `data` is nothing of the kind.
        """
        if isinstance(data, str | Path):
            return cls.from_folder(_of_kind(Path(data), "parquet", "Parquet or Arrow files"), size=size, cache=cache)
        if not hasattr(data, "save_to_disk"):
            raise UserError(
                f"Dataset.from_hf takes a Dataset or DatasetDict of `datasets`, or the folder of one, no "
                f"{type(data).__name__}; load it without streaming, or use Dataset.from_arrays"
            )
        with temporary_folder() as scratch:
            data.save_to_disk(str(scratch / "saved"))
            read = cls.from_folder(scratch / "saved", size=size, cache=scratch / "cache")
            return read._in_memory()

    def _in_memory(self) -> "Dataset":
        """The same, without any file."""
        pixels = self.images.copy()
        pixels.flags.writeable = False
        return Dataset(pixels, self.labels, None if self.test is None else self.test._in_memory())

    @classmethod
    def _found(cls, found: Survey, size: tuple[int, int] | None) -> "Dataset":
        if size is not None and size != found.data.size:
            data = DataConfig(**found.data.model_dump() | {"size": size})
            most = max(found.data.max_broken, found.most_broken)
            found = Survey(data, own_images(data.model_copy(update={"max_broken": most})), found.photographs)
        own = found.own
        pool, test = own.pool.images.numpy(), own.test.images.numpy()
        pool.flags.writeable = test.flags.writeable = False  # the cache is mapped: a write would end the process
        names = _names(own.pool, hidden=own.given == "unlabeled")
        return cls(pool, names, cls(test, _names(own.test)), found)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def classes(self) -> list[Any]:
        """All classes, sorted."""
        return sorted({label for label in self.labels if label is not None})

    def survey(self, folder: Path) -> Survey:
        """How a pipeline finds the images on disk. Those that came as arrays are written into the folder, as PNG.

        Raises:
            UserError: as in :meth:`from_folder`.
        """
        if self.found is not None:
            return self.found
        (folder / FOLDER).mkdir(parents=True)
        rows = [*_write(self, folder, "train")]
        if self.test is not None:
            rows += _write(self.test, folder, "test")
        write_csv(pd.DataFrame(rows, columns=["path", "label", "role"]), folder / TABLE)
        found = survey(folder, folder / TABLE, folder / "decoded", _say_nothing)
        height, breadth = self.images.shape[2:]
        channels: Literal["gray", "rgb"] = "gray" if self.images.shape[1] == 1 else "rgb"
        kept = {"size": (height, breadth), "channels": channels}  # the very pixels, whatever a survey would propose
        data = found.data.model_copy(update=kept)
        return Survey(data, own_images(data), found.photographs)

    def __repr__(self) -> str:
        channels, height, breadth = self.images.shape[1:]
        known = sum(label is not None for label in self.labels)
        names = self.classes
        shown = ", ".join(map(str, names[:10])) + (" …" if len(names) > 10 else "")
        apart = "" if self.test is None else f", {len(self.test):,} to test with"
        size = f"{channels}×{height}×{breadth}"
        return (
            f"Dataset({counted(len(self), 'image')} of {size}, {known:,} with a label, "
            f"{counted(len(names), 'class')}: {shown}{apart})"
        )


def _names(images: ImageSet, hidden: NDArray[np.bool_] | None = None) -> NDArray[np.object_]:
    """Classes of images (N,), None where there is none or it is `hidden`."""
    known = np.array([*images.class_names, None], dtype=object)
    names: NDArray[np.object_] = known[images.labels.numpy()]  # UNLABELED is the last
    if hidden is not None:
        names[hidden] = None
    names.flags.writeable = False
    return names


def _write(data: Dataset, folder: Path, part: Literal["train", "test"]) -> list[tuple[str, str, str]]:
    rows = []
    for number, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
        path = f"{FOLDER}/{part}-{number:07d}.png"
        Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(folder / path)
        role = "test" if part == "test" else "unlabeled" if label is None else ""
        rows.append((path, "" if label is None else str(label), role))
    return rows


def _of_kind(place: Path, kind: str, what: str) -> Path:
    """The folder, or file, that holds images of a kind.

    Raises:
        UserError: it is not there, or holds another.
    """
    if not place.exists():
        raise UserError(f"{str(place)!r} is not there; name a folder with {what}")
    if (found := recognize(place)) != kind:
        raise UserError(f"{str(place)!r} holds no {what} (it looks like data.name={found!r}); use Dataset.from_folder")
    return place


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _say_nothing(done: int, total: int, note: str) -> None:
    """Decoding is quick, and a data set has no screen."""
