"""One's own images as a source: whatever lists them, they are decoded, split and compared in the same way."""

from collections.abc import Callable

from semisup.config import DataConfig
from semisup.data.listing import Listing
from semisup.data.own_images.images import forget, own_images
from semisup.data.source import Progress, Source


def own_source(
    listing: Callable[[DataConfig], Listing], *, files: bool = False, manifest: bool = False, remote: bool = False
) -> Source:
    """The source whose images `listing` finds; are they `files` of their own, may a `manifest` list them, and
    may they lie in a bucket?"""
    return Source(
        own_images=True,
        files=files,
        manifest=manifest,
        remote=remote,
        listing=listing,
        pool=lambda data: own_images(data).pool,
        test=lambda data: own_images(data).test,
        prepare=_prepare,
        digest=lambda data: own_images(data).pool_digest,
    )


def _prepare(data: DataConfig, say: Progress) -> tuple[str, ...]:
    forget()  # files may have come since an earlier run of this process
    return own_images(data, say).repaired
