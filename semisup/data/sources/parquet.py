"""Parquet files with a column of images, as Hugging Face's datasets writes them."""

from semisup.data.own_images.as_source import own_source
from semisup.data.own_images.containers.parquet import list_parquet

SOURCE = own_source(list_parquet, remote=True)
