"""Image files that COCO's JSON gives categories."""

from semisup.data.own_images.as_source import own_source
from semisup.data.own_images.containers.annotated import list_coco

SOURCE = own_source(list_coco, files=True, remote=True)
