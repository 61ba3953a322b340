"""One's own images: files or objects in folders, or listed by a manifest."""

from semisup.config import resolve_base
from semisup.data.own_images.as_source import own_source
from semisup.data.own_images.folders.listing import list_images

SOURCE = own_source(lambda data: list_images(resolve_base(data), data.manifest), files=True, manifest=True, remote=True)
