"""One training loop, and the schedules, stopping rule and batches it is made of."""
