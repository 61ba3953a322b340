"""Images of one's own: files of any kind and size in a folder, decoded once into one uint8 array."""

from semisup.data.own_images.decoded.building import Progress
from semisup.data.own_images.images import OwnImages, forget, own_images
from semisup.data.own_images.survey import Survey, survey, write_config

__all__ = ["OwnImages", "Progress", "Survey", "forget", "own_images", "survey", "write_config"]
