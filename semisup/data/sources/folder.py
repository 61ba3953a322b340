"""One's own images: files in folders, or listed by a manifest."""

from semisup.config import DataConfig
from semisup.data.own_images import forget, own_images
from semisup.data.source import Progress, Source


def _prepare(data: DataConfig, say: Progress) -> tuple[str, ...]:
    forget()  # files may have come since an earlier run of this process
    return own_images(data, say).repaired


SOURCE = Source(
    own_images=True,
    pool=lambda data: own_images(data).pool,
    test=lambda data: own_images(data).test,
    prepare=_prepare,
    digest=lambda data: own_images(data).pool_digest,
)
