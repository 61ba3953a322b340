"""Which image is labeled, unlabeled, for validation or for the test, and how that lasts while a folder grows."""
