"""Images in buckets: objects and their bytes, and what is kept of them in the cache."""
