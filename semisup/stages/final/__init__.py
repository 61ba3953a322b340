"""Stages after training, before any test image is looked at: which model is kept, and its labels."""
