"""The same pipeline with several seeds, and the comparison of two configs."""
