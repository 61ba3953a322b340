"""One's own images: files in folders, or listed by a manifest."""

from semisup.config import DataConfig, resolve_data_root
from semisup.data.listing import Listing
from semisup.data.own_images.as_source import own_source
from semisup.data.own_images.folders.listing import list_images
from semisup.data.own_images.remote.folders import list_keys


def _listing(data: DataConfig) -> Listing:
    return list_images(resolve_data_root(data), data.manifest) if data.url is None else list_keys(data)


SOURCE = own_source(_listing, files=True, manifest=True, remote=True)
