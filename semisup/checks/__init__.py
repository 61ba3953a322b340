"""What a config does not say well: warnings, and keys without effect."""
