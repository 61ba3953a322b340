"""The two stages of a regression."""
