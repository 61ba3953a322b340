"""Which finished run may stand for which work."""
