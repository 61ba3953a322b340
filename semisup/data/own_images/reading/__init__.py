"""One image file: its pixels, its depth, its copies."""
