"""Tar files of images with their labels beside them, as WebDataset has them."""

from semisup.data.own_images.as_source import own_source
from semisup.data.own_images.containers.tars import list_tars

SOURCE = own_source(list_tars, remote=True)
