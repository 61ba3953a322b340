"""What predictions are worth: metrics, comparisons, drift, ensembles, and which model is kept."""
