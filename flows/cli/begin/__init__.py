"""The first commands: what there is, and from a folder of images to a result."""

CHAPTER = "Start here"
