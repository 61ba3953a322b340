"""One file per method of pseudo-labelling."""
