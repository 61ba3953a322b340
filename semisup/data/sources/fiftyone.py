"""Image files that FiftyOne's labels.json gives classes."""

from semisup.data.own_images.as_source import own_source
from semisup.data.own_images.containers.annotated import list_fiftyone

SOURCE = own_source(list_fiftyone, files=True, remote=True)
