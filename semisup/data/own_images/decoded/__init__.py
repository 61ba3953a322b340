"""The cache of decoded images, with its checksums."""
