"""Pools unlike the labels: classes that nobody has labeled, and other shares of those that somebody has."""
