"""One file per section of a config."""
