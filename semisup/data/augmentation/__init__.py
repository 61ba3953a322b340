"""Random changes of images that leave their class as it is."""
