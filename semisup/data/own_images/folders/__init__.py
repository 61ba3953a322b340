"""Which images there are: folders or a manifest, with their roles and classes."""
