"""Images as one uint8 array: loading, splitting, batching and augmenting them."""
