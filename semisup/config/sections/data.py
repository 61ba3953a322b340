"""Where the images come from."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, field_validator

from semisup.config.plugins import NameOf, Options, own_options
from semisup.config.sections.base import Fraction, Section, Side, rule
from semisup.config.sources import SOURCES, SourceFacts
from semisup.config.urls import fault_of, holds_credentials, is_url, without_credentials

SourceName: TypeAlias = Annotated[str, AfterValidator(NameOf(SOURCES)), NameOf(SOURCES)]
BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
VECTOR_FILES = (".parquet", ".pq", ".npy")
Shade: TypeAlias = Annotated[float, Field(ge=-1e9, le=1e9)]


def _in_either_spelling(channels: Any) -> Any:
    """Configs of before say grey; one channel is gray, and three are colors."""
    names = {"grey": "gray", 1: "gray", 3: "rgb"}
    return names.get(channels, channels) if isinstance(channels, str | int) else channels


def parse_bytes(text: str) -> int:
    """A number of bytes such as "20 GB", "500MB", "1.5 TB"; units are powers of 1,000.

    Raises:
        ValueError: it is not of this form, or not above 0.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)b?\s*", text, re.IGNORECASE)
    size = int(float(match[1]) * BYTES[match[2].lower()]) if match else 0
    if not size:
        raise ValueError(f"{text!r} is no size; write for example 20 GB or 500 MB")
    return size


def _a_size_in_bytes(text: Any) -> Any:
    try:
        parse_bytes(str(text))
    except ValueError as error:
        raise ValueError(f"is wrong: {error}") from None
    return str(text)


def _a_pair(size: Any) -> Any:
    """One number stands for both sides: a config holds the same either way."""
    return (size, size) if isinstance(size, int) else size


def _a_url(url: str) -> str:
    """Without a slash at its end, so that one place has one name."""
    scheme = url.partition("://")[0].lower()
    if fault := is_url(url) and fault_of(url):
        raise ValueError(
            f"holds {without_credentials(url)!r}, which {fault}; write the address of one place, such as "
            "s3://bucket/photos"
        )
    if not is_url(url) or scheme in {"file", "local"} or not urlsplit(url).netloc:
        raise ValueError(
            f"holds {url!r}, which is no URL of a bucket, such as s3://bucket/photos; name a folder here by data.root"
        )
    if holds_credentials(url):
        raise ValueError(
            f"holds {without_credentials(url)} with credentials, which would stand in every record; set them in the "
            "environment"
        )
    return url.rstrip("/")


def _a_manifest(manifest: Any) -> Any:
    """A URL is a text: a path would lose one of its two slashes."""
    if isinstance(manifest, str):
        return _a_url(manifest) if is_url(manifest) else Path(manifest)
    return manifest


def _no_url(root: Any) -> Any:
    """A path would lose one of the two slashes."""
    if isinstance(root, str) and re.match(r"[a-z][a-z0-9+.-]+:/", root):
        raise ValueError(f"holds {root!r}, which is a URL; write data.url: {root}")
    return root


class DataConfig(Section):
    """Where the images come from."""

    FORMERLY: ClassVar[Mapping[str, str]] = {"answers": "annotations"}
    name: SourceName = "digits"
    """Data set. `digits` is embedded; the others are read from `root`. Your own images: `folder`, or what they lie in,
    `webdataset`, `parquet`, `arrays`, `coco` or `fiftyone`; for them all keys below `download` are, but for
    `annotations`, and `manifest` for `folder` alone. Installed packages may bring more."""
    root: Annotated[Path | None, BeforeValidator(_no_url)] = None
    """Folder of the data files, or the one file that holds all; unset: the environment variable SEMISUP_DATA_ROOT."""
    url: Annotated[str, AfterValidator(_a_url)] | None = None
    """In place of `root`: a bucket or what lies below a prefix in it, such as `s3://bucket/photos`, `gs://` or `az://`,
    or a file at `https://`; for your own images of all kinds. Credentials are those of the environment."""
    download: bool = False
    """Fetch missing files into `root`. Nothing is ever downloaded without it."""
    manifest: Annotated[Path | str | None, BeforeValidator(_a_manifest)] = None
    """A CSV, Parquet or JSON Lines file, or its URL, with the columns `path` (an address such as `s3://…` or
    `https://…`, or relative to `root` or `url`, or to the file where both are unset), `label` (may be empty) and
    perhaps `role` (`labeled`, `unlabeled`, `validation`, `test`); unset: folders say it."""
    features: Path | None = None
    """Ready-made features of your own images in place of a network (`model.name: features`, which it stands for): a
    Parquet file with the columns `path` (relative to `root`) and `vector` (lists of equally many numbers), or with one
    column for each number; or, with a manifest, a .npy array whose rows are those of the manifest, in their order.
    Needs `recipe: graph`, or `model.train: probe`."""
    group: Annotated[str, Field(min_length=1)] | None = None
    """Of images that belong together, such as those of a patient, a video or a scene: a column of the manifest, or a
    pattern of what follows the folders of role and class, with one name in braces (`{patient}/…`, `{video}_…`). No
    group is in two of test, validation, calibration and training; for `folder`."""
    annotations: Path | None = None
    """Labels that people gave to single images, of any data set: a table that `semisup review --import` writes. They
    join the labeled images, correct them, or take images out of training; validation, calibration and test images
    stay what they are."""
    size: Annotated[tuple[Side, Side], BeforeValidator(_a_pair)] = (64, 64)
    """Height and width of all images, [H, W] or one number for both."""
    resize: Literal["crop", "pad"] = "crop"
    """`crop`: the shorter side fits and the middle is kept; `pad`: all of the image fits, on black."""
    channels: Annotated[
        Literal["rgb", "gray"] | Annotated[int, Field(ge=1, le=16)], BeforeValidator(_in_either_spelling)
    ] = "rgb"
    """Color or gray (`grey`, too); transparency lies on white. Or how many channels all images have, up to 16: of TIFF
    files (`pip install 'semisup[tiff]'`) and `arrays`."""
    range: tuple[Shade, Shade] | None = None
    """What is black and what white in files of more than 8 bits, [low, high], as `semisup init` finds it: one for all
    images, so that their brightness stays comparable. Unset: 0 and 65535, of floats 0 and 1."""
    test_share: Annotated[float, Field(ge=0.001, le=0.9)] = 0.2
    """Where nothing names test images: the share of the labeled ones that is set apart, by a hash of the file."""
    max_broken: Fraction = 0.01
    """Largest share of files that cannot be read; such files are left out and listed."""
    duplicates: Literal["remove", "warn", "ignore"] = "remove"
    """Equal or nearly equal images, also moved, zoomed or partly covered, in roles that must not know each other: in
    test and anywhere else, in validation or calibration and in training. `remove` takes them out of training."""
    cache: Path | None = None
    """Where decoded images are kept, of a folder with anything else in it in `semisup-cache`; unset: `semisup` in
    XDG_CACHE_HOME, or in ~/.cache."""
    options: Options = Field({})
    """Of a source that an installed package brings: the options that it documents."""
    cache_limit: Annotated[str, BeforeValidator(_a_size_in_bytes)] = "20 GB"
    """Largest size of all decoded images together; those unused for longest go first."""

    @property
    def facts(self) -> SourceFacts:
        """What is known of the source."""
        return SOURCES[self.name]

    @rule
    def _a_sources_own_options_are_its_own(self) -> None:
        self.own_options()

    def own_options(self) -> BaseModel | None:
        """What `options` says, as the source wants it; None where the source has no options of its own.

        Raises:
            ValueError: the source has none, or not these.
        """
        return own_options(SOURCES, self.name, self.options)

    @field_validator("range")
    @classmethod
    def _black_is_below_white(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError("is wrong: black must be a smaller number than white, such as [0, 4095]")
        return value

    @rule
    def _features_are_of_own_images(self) -> None:
        if self.features is None:
            return
        said = f"features={str(self.features)!r}"
        if not self.facts.own_images:
            raise ValueError(f"{said}, but name={self.name!r} has images of its own; use name: folder")
        if self.features.suffix not in VECTOR_FILES:
            raise ValueError(f"{said} has to end with {' or '.join(VECTOR_FILES)}")
        if self.features.suffix == ".npy" and self.manifest is None:
            raise ValueError(
                f"{said}, but a folder has no order that the rows of an array could follow; name a manifest with the "
                "same rows, or use Parquet with a column path"
            )

    @rule
    def _a_url_stands_for_the_root(self) -> None:
        if self.url is None:
            return
        if not self.facts.remote:
            raise ValueError(
                f"url={self.url!r}, but name={self.name!r} is read from a folder; your own images may lie in a bucket"
            )
        if self.root is not None:
            raise ValueError(f"url={self.url!r} and root are both set; keep one of them")

    @rule
    def _groups_are_of_files(self) -> None:
        if self.group is not None and not self.facts.manifest:
            raise ValueError(f"group={self.group!r}, but name={self.name!r} has no folders; use name: folder")

    @rule
    def _a_manifest_lists_own_images(self) -> None:
        if self.manifest is not None and not self.facts.manifest:
            raise ValueError(f"manifest={str(self.manifest)!r}, but name={self.name!r} has none; use name: folder")


def resolve_base(data: DataConfig) -> Path | str | None:
    """`data.url`, a text, or else what :func:`resolve_data_root` says."""
    return data.url or resolve_data_root(data)


def resolve_data_root(data: DataConfig) -> Path | None:
    """`data.root`, or else the environment variable SEMISUP_DATA_ROOT, or None; None where `data.url` is set."""
    if data.url is not None:
        return None
    from_environment = os.environ.get("SEMISUP_DATA_ROOT")
    return data.root or (Path(from_environment) if from_environment else None)
