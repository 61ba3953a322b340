"""What a pipeline is made of: its stages, their order, and where they say what they do."""
