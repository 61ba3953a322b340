"""What configs need to know of a source of images. Its code is :mod:`semisup.data.source`'s."""

from dataclasses import dataclass

from pydantic import BaseModel

from semisup.config.plugins import Plugins


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """What decides which configs make sense with a source."""

    own_images: bool = False
    """Are they files of one's own: of any size, in roles that copies may cross, and more of them tomorrow?"""
    files: bool = False
    """Is each of them a file of its own?"""
    manifest: bool = False
    """May `data.manifest` list them?"""
    remote: bool = False
    """May they lie in a bucket, at `data.url`?"""
    embedded: bool = False
    """Are the images installed with a package, so that there is nothing to find or to download?"""
    mirrored_is_another: bool = False
    """Is a mirrored image another class, or none?"""
    photographs: bool = False
    """Are they known to be no bright strokes on a black ground?"""
    options: type[BaseModel] | None = None
    """Options of its own, under `data.options`."""


SOURCES: Plugins[SourceFacts] = Plugins(
    SourceFacts,
    key="data.name",
    group="semisup.sources",
    package="semisup.data.sources",
    attribute="SOURCE",
    first=("digits", "mnist", "fashion_mnist", "kmnist", "cifar10", "svhn", "folder"),
)
"""By the names that `data.name` may have."""
