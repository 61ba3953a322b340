"""Stages after training: which model is kept, what it labels, and then how it does on test images."""
