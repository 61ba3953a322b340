"""What is looked at before the first stage runs, so that a mistake costs seconds."""
