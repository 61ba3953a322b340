"""Networks between config, device and disk."""
