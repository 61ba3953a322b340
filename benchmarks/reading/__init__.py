"""From files to batches: our first pass beside PIL, torchvision and the loaders of shards."""
