"""The stages of an ensemble: its members, what combines them, and how good that is."""
