"""Images of one's own: files of any kind and size in a folder, decoded once into one uint8 array."""

from semisup.data.own_images.building import Progress
from semisup.data.own_images.images import OwnImages, forget, own_images

__all__ = ["OwnImages", "Progress", "forget", "own_images"]
