"""The flows: a whole pipeline, single stages, ensembles, regression, and what they record."""
