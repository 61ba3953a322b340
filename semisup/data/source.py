"""A source of images as one value: what configs need to know of it, and how it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from semisup.config import DataConfig
from semisup.config.sources import SourceFacts
from semisup.data.datasets import ImageSet
from semisup.data.listing import Listing

Progress: TypeAlias = Callable[[int, int, str], None]
"""Is told how many of how many images are read, and what is done with them."""


@dataclass(frozen=True, kw_only=True)
class Source(SourceFacts):
    """Where images come from. A module below `sources`, or an entry point of the group `semisup.sources`, holds one.

    All of its functions raise a UserError for files that are missing or damaged.
    """

    pool: Callable[[DataConfig], ImageSet]
    """The images that may be trained on, in an order that never changes, with the labels that are known."""
    test: Callable[[DataConfig], ImageSet]
    """The test images, with their labels."""
    test_ids: Callable[[DataConfig], tuple[str, ...]] | None = None
    """Ids of the test images, in their order, without a look at a label; None: they come with the images."""
    prepare: Callable[[DataConfig, Progress], tuple[str, ...]] = lambda data, say: ()
    """Looks anew at what may have changed since it was read last, and gets ready whatever takes long; what was
    damaged and has been mended, one line each."""
    listing: Callable[[DataConfig], Listing] | None = None
    """Of one's own images: which there are, before any is decoded."""
    digest: Callable[[DataConfig], str] = lambda data: ""
    """That of the pool, where it may change while a pipeline runs; "": it never does."""

    def ids_for_test(self, data: DataConfig) -> tuple[str, ...]:
        """Ids of the test images, in their order."""
        return self.test(data).ids if self.test_ids is None else self.test_ids(data)
